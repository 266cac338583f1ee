//go:build linux

package ruleset_test

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// reexecuted marks the child that TestMain starts when it is not root.
const reexecuted = "P2PMODEL_RULESET_TEST_CHILD"

// TestMain gives the tests a place where they may make network namespaces: as
// root right here, else in a user namespace of their own.
func TestMain(m *testing.M) {
	if os.Geteuid() == 0 || os.Getenv(reexecuted) != "" {
		// Parallel tests wait for timeouts more than they work.
		flag.Parse()
		if err := flag.Set("test.parallel", "16"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), reexecuted+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintf(os.Stderr, "these tests make network namespaces: run them as root (sudo), or permit user namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0): %v\n", err)
		os.Exit(1)
	}
}

// node is a network namespace.
type node struct {
	t  testing.TB
	ns int
	h  *netlink.Handle
}

func newNode(t testing.TB) *node {
	t.Helper()
	type made struct {
		fd  int
		err error
	}
	c := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- made{err: fmt.Errorf("unshare: %w (run as root)", err)}
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		c <- made{fd, err}
	}()
	m := <-c
	must(t, m.err)
	h, err := netlink.NewHandleAt(netns.NsHandle(m.fd))
	must(t, err)
	n := &node{t: t, ns: m.fd, h: h}
	t.Cleanup(func() { h.Close(); unix.Close(m.fd) })
	n.up("lo")
	return n
}

// do calls f on a thread that is in the namespace.
func (n *node) do(f func() error) {
	n.t.Helper()
	c := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			c <- err
			return
		}
		defer unix.Close(home)
		if err := unix.Setns(n.ns, unix.CLONE_NEWNET); err != nil {
			c <- err
			return
		}
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread ends here
		}
		c <- err
	}()
	must(n.t, <-c)
}

func (n *node) up(name string) {
	l, err := n.h.LinkByName(name)
	must(n.t, err)
	must(n.t, n.h.LinkSetUp(l))
}

func (n *node) address(dev string, prefixes ...string) {
	l, err := n.h.LinkByName(dev)
	must(n.t, err)
	for _, p := range prefixes {
		a, err := netlink.ParseAddr(p)
		must(n.t, err)
		must(n.t, n.h.AddrAdd(l, a))
	}
}

func (n *node) route(dev, to, via string) {
	l, err := n.h.LinkByName(dev)
	must(n.t, err)
	_, dst, err := net.ParseCIDR(to)
	must(n.t, err)
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}
	if via != "" {
		r.Gw, r.Flags, r.Scope = net.ParseIP(via), int(netlink.FLAG_ONLINK), netlink.SCOPE_UNIVERSE
	}
	must(n.t, n.h.RouteAdd(r))
}

// connect makes a veth between two nodes.
func connect(a *node, aName string, b *node, bName string) {
	a.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aName
	must(a.t, a.h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(b.ns)}))
	a.up(aName)
	b.up(bName)
}

// network is the same for all tests: a router with hosts behind it, each on a
// link of its own, and one node outside with two addresses.
//
//	hosts[i] 192.168.1.(10+i) — lan(i) router wan — outside 198.18.0.10, .11
//
// The router has the addresses 198.18.0.1, .2 and .3 outside.
type network struct {
	t       testing.TB
	router  *node
	outside *node
	hosts   []*node
	conn    *nftables.Conn
}

const (
	outsideA = "198.18.0.10"
	outsideB = "198.18.0.11"
)

var externalAddrs = []netip.Addr{
	netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("198.18.0.3"),
}

func hostAddr(i int) string { return fmt.Sprintf("192.168.1.%d", 10+i) }

func newNetwork(t testing.TB, hosts int) *network {
	t.Helper()
	n := &network{t: t, router: newNode(t), outside: newNode(t)}
	n.router.do(func() error {
		for path, value := range ruleset.Sysctls() {
			if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	connect(n.router, "wan", n.outside, "eth0")
	n.router.address("wan", "198.18.0.1/24", "198.18.0.2/24", "198.18.0.3/24")
	n.outside.address("eth0", outsideA+"/24", outsideB+"/24")
	for i := range hosts {
		h := newNode(t)
		lan := fmt.Sprintf("lan%d", i)
		connect(n.router, lan, h, "eth0")
		n.router.address(lan, "192.168.1.1/32")
		n.router.route(lan, hostAddr(i)+"/32", "")
		h.address("eth0", hostAddr(i)+"/32")
		h.route("eth0", "0.0.0.0/0", "192.168.1.1")
		n.hosts = append(n.hosts, h)
	}
	conn, err := nftables.New(nftables.WithNetNSFd(n.router.ns))
	must(t, err)
	n.conn = conn
	return n
}

func (n *network) config(b nat.Behavior, external int) ruleset.Config {
	return ruleset.Config{Router: "r", Behavior: b, Outside: "wan", External: slices.Clone(externalAddrs[:external])}
}

func (n *network) install(b nat.Behavior) {
	n.t.Helper()
	must(n.t, ruleset.Install(n.conn, n.config(b, 1)))
}

// behind makes a network whose router has the behaviour.
func behind(t testing.TB, b nat.Behavior, hosts int) *network {
	t.Helper()
	n := newNetwork(t, hosts)
	n.install(b)
	return n
}

// dump is what a failing test shows.
func (n *network) dump() string {
	text, err := ruleset.Render(n.conn)
	if err != nil {
		return err.Error()
	}
	return text
}

// socket is a UDP socket in a node.
type socket struct {
	*net.UDPConn
	t testing.TB
}

// udp opens a UDP socket at "address:port"; port 0 is any.
func (n *node) udp(address string) *socket {
	n.t.Helper()
	var s *socket
	n.do(func() error {
		a, err := net.ResolveUDPAddr("udp4", address)
		if err != nil {
			return err
		}
		c, err := net.ListenUDP("udp4", a)
		s = &socket{c, n.t}
		return err
	})
	n.t.Cleanup(func() { s.Close() })
	return s
}

func (s *socket) local() netip.AddrPort { return s.LocalAddr().(*net.UDPAddr).AddrPort() }

func (s *socket) send(to netip.AddrPort, text string) {
	s.t.Helper()
	_, err := s.WriteToUDPAddrPort([]byte(text), to)
	must(s.t, err)
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// receive waits for a datagram.
func (s *socket) receive() (netip.AddrPort, string) {
	s.t.Helper()
	must(s.t, s.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 65536)
	size, from, err := s.ReadFromUDPAddrPort(buf)
	if err != nil {
		s.t.Fatalf("socket %v: waiting for a datagram: %v", s.local(), err)
	}
	return from, string(buf[:size])
}

// expect waits for a datagram with the text and gives its source.
func (s *socket) expect(text string) netip.AddrPort {
	s.t.Helper()
	from, got := s.receive()
	if got != text {
		s.t.Fatalf("socket %v: got %q from %v, want %q", s.local(), got, from, text)
	}
	return from
}

// poll gives a datagram that is there already. What is sent through the lab is
// delivered while it is sent: it is there afterwards, or lost.
func (s *socket) poll() (from netip.AddrPort, text string, ok bool) {
	s.t.Helper()
	raw, err := s.SyscallConn()
	must(s.t, err)
	buf := make([]byte, 65536)
	must(s.t, raw.Control(func(fd uintptr) {
		size, sa, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		in4 := sa.(*unix.SockaddrInet4)
		from, ok = netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port)), true
		text = string(buf[:size])
	}))
	return from, text, ok
}

// empty says whether nothing is there. The moment of grace is for a machine that
// is so busy that the kernel put the delivery off.
func (s *socket) empty() bool {
	s.t.Helper()
	if _, _, ok := s.poll(); ok {
		return false
	}
	<-time.After(time.Millisecond)
	_, _, ok := s.poll()
	return !ok
}

// mapped sends from inside to outside and gives the external side.
func mapped(from, to *socket) netip.AddrPort {
	from.t.Helper()
	from.send(to.local(), "map")
	return to.expect("map")
}

// reaches says whether a datagram that is sent to an address arrives at a socket.
func reaches(from *socket, to netip.AddrPort, at *socket) bool {
	from.t.Helper()
	from.send(to, "probe")
	return !at.empty()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
