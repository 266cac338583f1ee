//go:build linux

package kernel

import (
	"fmt"
	"net"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// node is what the Internet, routers and hosts have in common: a namespace with
// interfaces.
type node struct {
	name string
	ns   *namespace
	rt   *rtnetlink

	// Filled while the lab is laid out, not changed afterwards.
	ifaces []*iface
	taken  map[string]bool // names of interfaces
}

// iface is one end of a veth pair, in a node or in the namespace of the wires.
type iface struct {
	index int // chosen by us: loopback is 1, ours count from 2
	name  string
	mac   net.HardwareAddr
	// point is how the witness calls it; the interface's own name is limited
	// to 15 bytes.
	point witness.Point
}

// newNode makes the namespace of a node, with loopback up. What settings gives
// is asked and written inside of it.
func newNode(name string, settings func() []setting) (*node, error) {
	n := &node{name: name, taken: map[string]bool{"lo": true}}
	ns, err := newNamespace(func() error {
		if err := apply(settings()); err != nil {
			return err
		}
		rt, err := openRtnetlink()
		if err != nil {
			return err
		}
		n.rt = rt
		var b batch
		b.state(&iface{index: 1, name: "lo"}, true)
		return rt.do(&b)
	})
	if err != nil {
		if n.rt != nil {
			n.rt.close()
		}
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	n.ns = ns
	return n, nil
}

// do sends a batch in the node's namespace.
func (n *node) do(b *batch) error {
	if err := n.rt.do(b); err != nil {
		return fmt.Errorf("node %s: %w", n.name, err)
	}
	return nil
}

func (n *node) close() {
	n.rt.close()
	n.ns.close()
}

// addIface names the node's next interface. It gets the wanted name where the
// kernel would take it, and else one that is made of its index.
func (n *node) addIface(want, point string, mac net.HardwareAddr) *iface {
	i := &iface{index: len(n.ifaces) + 2, name: want, mac: mac, point: witness.Point{Node: n.name, Interface: point}}
	if len(want) >= unix.IFNAMSIZ || want == "" || want[0] == '.' || strings.ContainsAny(want, "/: \t\n%") || n.taken[want] {
		i.name = fmt.Sprintf("if%d", i.index)
	}
	n.taken[i.name] = true
	n.ifaces = append(n.ifaces, i)
	return i
}

// awaitCarrier makes the kernel do now what it otherwise does in the background
// after an interface came to life: let packets out. Without it the first
// packets of a lab may be lost.
func (n *node) awaitCarrier(i *iface) error {
	const getLink = 0x0a // ETHTOOL_GLINK
	value := struct{ command, data uint32 }{command: getLink}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], i.name)
	n.rt.mu.Lock()
	defer n.rt.mu.Unlock()
	if n.rt.fd < 0 {
		return errClosed
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(n.rt.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("node %s: ask for the carrier of interface %s: %w", n.name, i.name, errno)
	}
	if value.data == 0 {
		return fmt.Errorf("node %s: interface %s has no carrier although both of its ends are up", n.name, i.name)
	}
	return nil
}

// pointOf is how the witness calls the parent's end of a link.
func pointOf(id sim.LinkID) string {
	if id.Uplink == sim.DefaultUplink || id.Uplink == "" {
		return "to " + id.Node
	}
	return "to " + id.Node + "/" + id.Uplink
}

// macOf makes an address that is administered locally and unique in a lab.
func macOf(link int, end byte) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x4c, byte(link >> 16), byte(link >> 8), byte(link), end}
}
