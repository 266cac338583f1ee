package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// number gives each namespace of a lab a number in ours, which the kernel takes back when it
// begins to dismantle the namespace: so labs of ours know when they are gone, too.
func number(s system) (map[int]bool, error) {
	numbers := make(map[int]bool)
	for _, node := range s.nodes {
		path, err := s.path(node)
		if err != nil {
			return nil, err
		}
		handle, err := netns.GetFromPath(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		n := 1 + int(rand.Int32N(1<<31-1))
		err = netlink.SetNetNsIdByFd(int(handle), n)
		if err = errors.Join(err, handle.Close()); err != nil {
			return nil, fmt.Errorf("number %s: %w", path, err)
		}
		numbers[n] = true
	}
	return numbers, nil
}

// stillThere takes those numbers away that are not in use any more.
func stillThere(numbers map[int]bool) error {
	req := nl.NewNetlinkRequest(unix.RTM_GETNSID, unix.NLM_F_DUMP)
	req.AddData(nl.NewRtGenMsg())
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
	if errors.Is(err, nl.ErrDumpInterrupted) {
		return nil // it changed meanwhile: the next look tells
	}
	if err != nil {
		return fmt.Errorf("list the numbers of network namespaces: %w", err)
	}
	present := make(map[int]bool)
	for _, a := range answers {
		attrs, err := nl.ParseRouteAttr(a[(&nl.RtGenMsg{}).Len():])
		if err != nil {
			return fmt.Errorf("list the numbers of network namespaces: %w", err)
		}
		for _, attr := range attrs {
			if attr.Attr.Type == netlink.NETNSA_NSID && len(attr.Value) >= 4 {
				present[int(int32(binary.NativeEndian.Uint32(attr.Value)))] = true
			}
		}
	}
	for n := range numbers {
		if !present[n] {
			delete(numbers, n)
		}
	}
	return nil
}
