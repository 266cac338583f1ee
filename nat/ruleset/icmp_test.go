//go:build linux

package ruleset_test

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// Sockets get an ICMP error only if the packet that it quotes is theirs to the
// last address and port; so these tests prove the translation of both headers.

var errorBehaviors = []nat.Behavior{
	{Ports: nat.Sequential, Hairpin: nat.HairpinExternal},
	{Mapping: nat.AddressDependent, Filtering: nat.AddressDependent, Ports: nat.Sequential},
	{Filtering: nat.AddressDependent, Ports: nat.Sequential, Delta: 5, Parity: nat.ParityKeep, Rotate: time.Hour, Stream: time.Hour},
	{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Random, Scope: nat.ScopeEndpoint},
	linux(nat.KindMasquerade, nat.EarlyDrop), linux(nat.KindMasqueradeRandom, nat.EarlyDrop),
}

// connected opens a UDP socket that talks to one address, and gets its errors.
func (n *node) connected(from, to string) *net.UDPConn {
	n.t.Helper()
	var c *net.UDPConn
	n.do(func() error {
		local, err := net.ResolveUDPAddr("udp4", from)
		if err != nil {
			return err
		}
		remote, err := net.ResolveUDPAddr("udp4", to)
		if err != nil {
			return err
		}
		c, err = net.DialUDP("udp4", local, remote)
		return err
	})
	option(n.t, c, unix.IP_RECVERR, 1)
	n.t.Cleanup(func() { c.Close() })
	return c
}

func option(t testing.TB, c *net.UDPConn, name, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		must(t, os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, name, value)))
	}))
}

// fails sends on the socket and waits for the error.
func fails(t *testing.T, c *net.UDPConn, want unix.Errno) {
	t.Helper()
	_, err := c.Write([]byte("probe"))
	must(t, err)
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	if _, err = c.Read(make([]byte, 100)); !errors.Is(err, want) {
		t.Errorf("%v → %v: got %v, want %v", c.LocalAddr(), c.RemoteAddr(), err, want)
	}
}

func TestErrorFromOutside(t *testing.T) {
	for _, b := range errorBehaviors {
		t.Run(b.String(), func(t *testing.T) {
			n := behind(t, b, 1)
			fails(t, n.hosts[0].connected(hostAddr(0)+":5000", outsideA+":9"), unix.ECONNREFUSED)
		})
	}
}

func TestErrorFromInside(t *testing.T) {
	for _, b := range errorBehaviors {
		t.Run(b.String(), func(t *testing.T) {
			n := behind(t, b, 1)
			server, inside := n.outside.udp(outsideA+":3478"), n.hosts[0].udp(hostAddr(0)+":5000")
			ext := mapped(inside, server)
			inside.Close()
			server.Close()
			fails(t, n.outside.connected(outsideA+":3478", ext.String()), unix.ECONNREFUSED)
		})
	}
}

// An inside host refuses a hairpinned packet: the error hairpins too (RFC 5508
// REQ-7).
func TestErrorHairpins(t *testing.T) {
	n := behind(t, errorBehaviors[0], 2)
	server, target := n.outside.udp(outsideA+":3478"), n.hosts[1].udp(hostAddr(1)+":6000")
	ext := mapped(target, server)
	target.Close()
	fails(t, n.hosts[0].connected(hostAddr(0)+":5000", ext.String()), unix.ECONNREFUSED)
}

// The router itself makes these errors.
func TestErrorTimeExceeded(t *testing.T) {
	for _, b := range errorBehaviors {
		t.Run(b.String(), func(t *testing.T) {
			n := behind(t, b, 1)
			server := n.outside.udp(outsideA + ":3478")
			ext := mapped(n.hosts[0].udp(hostAddr(0)+":5000"), server)
			server.Close()
			inbound := n.outside.connected(outsideA+":3478", ext.String())
			option(t, inbound, unix.IP_TTL, 1)
			fails(t, inbound, unix.EHOSTUNREACH)
			outbound := n.hosts[0].connected(hostAddr(0)+":5001", outsideA+":3478")
			option(t, outbound, unix.IP_TTL, 1)
			fails(t, outbound, unix.EHOSTUNREACH)
			if b.Hairpin == nat.HairpinExternal {
				hairpin := n.hosts[0].connected(hostAddr(0)+":5002", ext.String())
				option(t, hairpin, unix.IP_TTL, 1)
				fails(t, hairpin, unix.EHOSTUNREACH)
			}
		})
	}
}

func TestErrorFragmentationNeeded(t *testing.T) {
	for _, b := range errorBehaviors {
		t.Run(b.String(), func(t *testing.T) {
			n := behind(t, b, 1)
			server := n.outside.udp(outsideA + ":3478")
			ext := mapped(n.hosts[0].udp(hostAddr(0)+":5000"), server)
			server.Close()
			inbound := n.outside.connected(outsideA+":3478", ext.String())
			n.mtu("lan0", 1000)
			learns(t, inbound, 1000)
			n.mtu("lan0", 1500)
			outbound := n.hosts[0].connected(hostAddr(0)+":5001", outsideA+":3478")
			n.mtu("wan", 900)
			learns(t, outbound, 900)
		})
	}
}

func (n *network) mtu(dev string, mtu int) {
	n.t.Helper()
	l, err := n.router.h.LinkByName(dev)
	must(n.t, err)
	must(n.t, n.router.h.LinkSetMTU(l, mtu))
}

// learns sends a datagram that may not be fragmented, and waits until the socket
// knows the path's MTU.
func learns(t *testing.T, c *net.UDPConn, mtu int) {
	t.Helper()
	option(t, c, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	_, err := c.Write(make([]byte, 1400))
	must(t, err)
	raw, err := c.SyscallConn()
	must(t, err)
	got := 0
	for end := time.Now().Add(patience); got != mtu && time.Now().Before(end); <-time.After(time.Millisecond) {
		must(t, raw.Control(func(fd uintptr) {
			got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU)
			must(t, err)
		}))
	}
	if got != mtu {
		t.Errorf("%v → %v: the path's MTU is %d, want %d", c.LocalAddr(), c.RemoteAddr(), got, mtu)
	}
}

// An error about a ping reaches the host that pinged, with its identifier.
func TestErrorAboutPing(t *testing.T) {
	n := behind(t, nat.Behavior{Ports: nat.Sequential, Range: nat.PortRange{Low: 100, High: 200}}, 1)
	n.outside.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) })
	n.router.route("wan", "203.0.113.0/24", outsideA)
	s := n.hosts[0].raw(hostAddr(0), unix.IPPROTO_ICMP)
	s.sendTo("203.0.113.1", echo(8, 7777, 5))
	for end := time.Now().Add(patience); time.Now().Before(end); {
		p := s.receiveRaw()
		if len(p) < 20+8+20+8 || p[20] != 3 {
			<-time.After(time.Millisecond)
			continue
		}
		quoted := p[28:]
		source, id := netip.AddrFrom4([4]byte(quoted[12:16])), binary.BigEndian.Uint16(quoted[24:])
		if source.String() != hostAddr(0) || id != 7777 {
			t.Errorf("the error quotes %v id %d, want %s id 7777", source, id, hostAddr(0))
		}
		return
	}
	t.Errorf("no error came\n%s", n.dump())
}
