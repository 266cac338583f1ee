//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var pid = os.Getpid()

const (
	// takedownPatience is how long Close waits for the kernel to take
	// namespaces down. It does so in the background, one batch after another,
	// in 12 to 219 ms (measured, up to 1002 namespaces); labs that end at once
	// wait in line.
	takedownPatience = 15 * time.Second
	takedownPoll     = time.Millisecond
)

// takeDown closes all namespaces and waits until the kernel says that nothing
// holds them, TCP connections neither. For that each gets a number in our own namespace beforehand,
// which the kernel takes back when it begins to dismantle the namespace. The
// number is no name: nothing is found by it but by asking our namespace.
func (n *Network) takeDown() error {
	nodes := slices.Collect(maps.Values(n.nodes))
	for _, r := range n.routers {
		if r.prober != nil {
			nodes = append(nodes, r.prober)
		}
	}
	names := make(map[int]string)
	var errs []error
	errs = append(errs, onThread(func() error {
		here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("number network namespaces: %w", err)
		}
		defer here.Close()
		for _, node := range nodes {
			errs = append(errs, node.ns.use(func(fd int) error {
				id, err := number(here, fd)
				if err != nil {
					return fmt.Errorf("node %s: %w", node.name, err)
				}
				names[id] = node.name
				return nil
			}))
		}
		for _, node := range nodes {
			if err := errors.Join(node.ns.enter(), dropConnections()); err != nil {
				errs = append(errs, fmt.Errorf("node %s: %w", node.name, err))
			}
		}
		return nil
	}))
	for _, node := range nodes {
		node.close()
	}
	errs = append(errs, onThread(func() error { return awaitDeparture(names) }))
	return errors.Join(errs...)
}

// number gives a namespace a number in another one, here, if it has none. Numbers are drawn from a wide range, so that one that was given
// back is not soon another namespace's.
func number(here *netlink.Handle, fd int) (int, error) {
	for range 8 {
		// What has a number, or a number that is taken, is refused; what counts
		// is the one that it has then.
		err := here.SetNetNsIdByFd(fd, 1+int(rand.Int32N(1<<31-1)))
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOSPC) {
			return 0, fmt.Errorf("number a network namespace: %w", err)
		}
		id, err := here.GetNetNsIdByFd(fd)
		if err != nil {
			return 0, fmt.Errorf("read the number of a network namespace: %w", err)
		}
		if id >= 0 {
			return id, nil
		}
	}
	return 0, errors.New("number a network namespace: all numbers tried are taken")
}

// awaitDeparture waits until none of the numbers is in use any more.
func awaitDeparture(names map[int]string) error {
	for deadline := time.Now().Add(takedownPatience); len(names) > 0; {
		present, err := numbers()
		if err != nil {
			return err
		}
		for id := range names {
			if !present[id] {
				delete(names, id)
			}
		}
		if time.Now().After(deadline) {
			var left []string
			for _, name := range names {
				left = append(left, name)
			}
			slices.Sort(left)
			return fmt.Errorf("the network namespaces of %s are still held after %v: close the sockets that were opened there, and end what was started in them by other means than Start",
				strings.Join(left, ", "), takedownPatience)
		}
		if len(names) > 0 {
			time.Sleep(takedownPoll)
		}
	}
	return nil
}

// numbers are those in use in the namespace of the calling thread.
func numbers() (map[int]bool, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNSID, unix.NLM_F_DUMP)
	req.AddData(nl.NewRtGenMsg())
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
	// A dump that changed under way is read again by the caller anyway.
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the numbers of network namespaces: %w", err)
	}
	present := make(map[int]bool)
	for _, a := range answers {
		attrs, err := nl.ParseRouteAttr(a[(&nl.RtGenMsg{}).Len():])
		if err != nil {
			return nil, fmt.Errorf("list the numbers of network namespaces: %w", err)
		}
		for _, attr := range attrs {
			if attr.Attr.Type == netlink.NETNSA_NSID && len(attr.Value) >= 4 {
				present[int(int32(binary.NativeEndian.Uint32(attr.Value)))] = true
			}
		}
	}
	return present, nil
}
