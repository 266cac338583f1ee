//go:build linux

package ruleset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"

	"p2pmodel/nat"
)

// isTracked says whether the namespace's NAT is one of conntrack's.
func isTracked(conn *nftables.Conn) (bool, error) {
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, fmt.Errorf("list chains: %w", err)
	}
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		return c.Table.Name == natTable && c.Type == nftables.ChainTypeNAT
	}), nil
}

// conntrackSettings are the timeouts of the namespace's conntrack, by name of
// the file below /proc/sys/net/netfilter, in whole seconds.
func conntrackSettings(b nat.Behavior) map[string]time.Duration {
	return map[string]time.Duration{
		"nf_conntrack_udp_timeout":             b.Timeout,
		"nf_conntrack_udp_timeout_stream":      b.Stream,
		"nf_conntrack_icmp_timeout":            b.TimeoutICMP,
		"nf_conntrack_tcp_timeout_established": b.TimeoutTCP,
	}
}

const conntrackFolder = "/proc/sys/net/netfilter"

// writeTimeouts sets the timeouts of conntrack in the namespace. The files are
// there once a rule uses conntrack.
func writeTimeouts(namespace int, b nat.Behavior) error {
	return inNamespace(namespace, func() error {
		for name, value := range conntrackSettings(b) {
			path := filepath.Join(conntrackFolder, name)
			err := os.WriteFile(path, []byte(strconv.Itoa(int(value/time.Second))), 0)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("set a timeout of conntrack: %w (the kernel has no nf_conntrack, or it is a module that is not loaded: modprobe nf_conntrack)", err)
			case err != nil:
				return fmt.Errorf("set a timeout of conntrack: %w (is /proc/sys mounted read-only, as in a container?)", err)
			}
		}
		return nil
	})
}

// readTimeouts gives them as text, for the fingerprint.
func readTimeouts(namespace int) (string, error) {
	var lines []string
	err := inNamespace(namespace, func() error {
		for name := range conntrackSettings(nat.Behavior{}) {
			value, err := os.ReadFile(filepath.Join(conntrackFolder, name))
			if err != nil {
				return fmt.Errorf("read a timeout of conntrack: %w", err)
			}
			lines = append(lines, name+" "+strings.TrimSpace(string(value)))
		}
		return nil
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n"), err
}
