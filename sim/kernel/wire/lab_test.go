//go:build linux

package wire_test

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/wire"
	"p2pmodel/sim/link"
)

// cable is a wire between two nodes, each in a namespace of its own.
type cable struct {
	scheduler *wire.Scheduler
	link      carried
	nodes     [2]netns.NsHandle
	middle    netns.NsHandle // of the inner ends
	inner     [2]netlink.Link
}

// carried is a link, in this process or in another.
type carried interface {
	Set(up, down link.Impairment) error
	Cut(cut bool) error
	Counters() (up, down wire.Counters)
	Drops() ([]link.Drop, uint64)
	Late() (up, down link.Lateness)
	Probe(seed uint64) error
	EndProbe() error
	Err() error
	Close() error
}

// patience is how long a test waits for what must come. A busy machine may need
// seconds; only a failure takes it whole.
const patience = 20 * time.Second

var (
	addrs = [2]netip.Addr{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")}
	macs  = [2]net.HardwareAddr{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
)

// newNamespace makes a namespace that nothing but its descriptor holds.
func newNamespace(tb testing.TB) netns.NsHandle {
	tb.Helper()
	type result struct {
		ns  netns.NsHandle
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{err: err}
			return
		}
		ns, err := netns.Get()
		made <- result{ns, err}
	}()
	r := <-made
	if r.err != nil {
		tb.Fatalf("new network namespace: %v", r.err)
	}
	tb.Cleanup(func() { r.ns.Close() })
	return r.ns
}

// inside calls f on a thread in a namespace.
func inside(tb testing.TB, ns netns.NsHandle, f func() error) {
	tb.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

// must ends the test on an error.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// newCable joins two nodes by a link of a scheduler in this process.
func newCable(tb testing.TB, up, down link.Impairment) *cable {
	tb.Helper()
	c, ends := newEnds(tb)
	s, err := wire.NewScheduler()
	must(tb, err)
	tb.Cleanup(func() { must(tb, s.Close()) })
	c.scheduler = s
	c.link, err = s.Add(ends[0], ends[1], up, down, 42)
	must(tb, err)
	return c
}

// newEnds makes two nodes, and the ends of a link between them.
func newEnds(tb testing.TB) (*cable, [2]wire.End) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root to make network namespaces: run as root, or with `unshare -rn`")
	}
	c := &cable{}
	middle := newNamespace(tb)
	c.middle = middle
	inside(tb, middle, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0)
	})
	var ends [2]wire.End
	for i := range ends {
		node := newNamespace(tb)
		c.nodes[i] = node
		inner := []string{"inner0", "inner1"}[i]
		inside(tb, middle, func() error {
			veth := &netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: inner}, PeerName: "uplink",
				PeerNamespace: netlink.NsFd(int(node)), PeerHardwareAddr: macs[i],
			}
			if err := netlink.LinkAdd(veth); err != nil {
				return err
			}
			l, err := netlink.LinkByName(inner)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
			c.inner[i] = l
			ends[i].Socket, err = wire.Open(l.Attrs().Index)
			return err
		})
		inside(tb, node, func() error {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
				return err
			}
			l, err := netlink.LinkByName("uplink")
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: addrs[i].AsSlice(), Mask: net.CIDRMask(24, 32)}}); err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
			if err := netlink.NeighAdd(&netlink.Neigh{
				LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addrs[1-i].AsSlice(), HardwareAddr: macs[1-i],
			}); err != nil {
				return err
			}
			ends[i].Offload, err = wire.OpenOffload("uplink")
			return err
		})
	}
	return c, ends
}

// udp opens a UDP socket on a node.
func (c *cable) udp(tb testing.TB, node int) *net.UDPConn {
	tb.Helper()
	var conn *net.UDPConn
	inside(tb, c.nodes[node], func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: addrs[node].AsSlice()})
		return err
	})
	tb.Cleanup(func() { conn.Close() })
	// All that a test sends must fit, should the reader not run meanwhile; the
	// plain size is cut to net.core.rmem_max.
	raw, err := conn.SyscallConn()
	must(tb, err)
	must(tb, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	}))
	if err != nil {
		must(tb, conn.SetReadBuffer(16<<20))
	}
	return conn
}

// dial opens a UDP socket on node from, connected to a socket of the other.
func (c *cable) dial(tb testing.TB, from int, to *net.UDPConn) *net.UDPConn {
	tb.Helper()
	var conn *net.UDPConn
	inside(tb, c.nodes[from], func() (err error) {
		conn, err = net.DialUDP("udp4", nil, to.LocalAddr().(*net.UDPAddr))
		return err
	})
	tb.Cleanup(func() { conn.Close() })
	return conn
}

// waitFor waits until the counters of the first direction fulfil a condition.
func (c *cable) waitFor(tb testing.TB, what string, condition func(wire.Counters) bool) wire.Counters {
	tb.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		up, _ := c.link.Counters()
		if condition(up) {
			return up
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within %v: %+v", what, patience, up)
		}
	}
}

// read reads one datagram, or returns nil if none comes within a time.
func read(tb testing.TB, c *net.UDPConn, within time.Duration) []byte {
	tb.Helper()
	must(tb, c.SetReadDeadline(time.Now().Add(within)))
	b := make([]byte, 65536)
	n, err := c.Read(b)
	if err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			return nil
		}
		tb.Fatal(err)
	}
	return b[:n]
}
