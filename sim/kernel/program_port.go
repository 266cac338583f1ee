//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// listening is the state of TCP sockets that take connections, in /proc/net/tcp.
const listening = "0A"

// Bound implements sim.RunningHost. It asks the kernel for the sockets of the
// host, and sends nothing.
func (h *Host) Bound(protocol string, port uint16) (bool, error) {
	if protocol != "tcp" && protocol != "udp" {
		return false, h.errorf("look for sockets", fmt.Errorf("%q is neither tcp nor udp", protocol))
	}
	found := false
	err := h.node.ns.inside(func() error {
		for _, table := range []string{protocol, protocol + "6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + table)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a kernel without IPv6
			}
			if err != nil {
				return err
			}
			found = found || holds(string(text), protocol, port)
		}
		return nil
	})
	if err != nil {
		return false, h.errorf("look for sockets", err)
	}
	return found, nil
}

// holds looks for a port in a table of sockets: a heading, and then lines whose
// second field is the local address and port in hexadecimal digits, and the fourth
// the state.
func holds(table, protocol string, port uint16) bool {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		_, digits, _ := strings.Cut(fields[1], ":")
		number, err := strconv.ParseUint(digits, 16, 16)
		if err == nil && uint16(number) == port && (protocol == "udp" || fields[3] == listening) {
			return true
		}
	}
	return false
}
