//go:build linux

package ruleset_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

var symmetric = nat.Behavior{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Random}

// A TCP connection carries data both ways, from an external address.
func TestTCP(t *testing.T) {
	for _, b := range []nat.Behavior{{}, symmetric, linux(nat.KindMasquerade, nat.EarlyDrop), linux(nat.KindMasqueradeRandom, nat.EarlyAccept)} {
		t.Run(b.String(), func(t *testing.T) {
			n := behind(t, b, 1)
			var l net.Listener
			n.outside.do(func() (err error) { l, err = net.Listen("tcp4", outsideA+":443"); return err })
			defer l.Close()
			var c net.Conn
			n.hosts[0].do(func() (err error) { c, err = net.DialTimeout("tcp4", outsideA+":443", patience); return err })
			defer c.Close()
			s, err := l.Accept()
			must(t, err)
			defer s.Close()
			if from := s.RemoteAddr().(*net.TCPAddr).AddrPort(); from.Addr() != externalAddrs[0] {
				t.Errorf("the connection comes from %v, want %v", from, externalAddrs[0])
			}
			data := bytes.Repeat([]byte("p2p"), 1<<18)
			for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
				go way[0].Write(data)
				got := make([]byte, len(data))
				must(t, way[1].SetReadDeadline(time.Now().Add(patience)))
				if _, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%v → %v: data came damaged or not at all: %v", way[0].LocalAddr(), way[1].LocalAddr(), err)
				}
			}
		})
	}
}

// Pings pass out with their replies, in the identifiers of the range. Two hosts
// with one identifier get one each.
func TestPing(t *testing.T) {
	for _, b := range []nat.Behavior{{}, symmetric, {Scope: nat.ScopeEndpoint, Filtering: nat.AddressDependent, Refresh: nat.RefreshBoth},
		linux(nat.KindMasquerade, nat.EarlyDrop), linux(nat.KindMasqueradeFullyRandom, nat.EarlyDrop)} {
		t.Run(b.String(), func(t *testing.T) {
			n := behind(t, b, 2)
			for i, host := range n.hosts {
				s := host.raw(hostAddr(i), unix.IPPROTO_ICMP)
				s.sendTo(outsideA, echo(8, 7777, uint16(i)))
				got := s.expectEcho(0, 7777, uint16(i))
				if got != netip.MustParseAddr(outsideA) {
					t.Errorf("host %d: reply from %v", i, got)
				}
			}
		})
	}
}

// Nobody outside can ping the router, or a host behind it.
func TestPingFromOutside(t *testing.T) {
	n := behind(t, nat.Behavior{}, 1)
	n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
	inside := n.hosts[0].raw(hostAddr(0), unix.IPPROTO_ICMP)
	inside.sendTo(outsideA, echo(8, 7777, 1)) // a mapping, so that its identifier is known
	inside.expectEcho(0, 7777, 1)
	s := n.outside.raw(outsideA, unix.IPPROTO_ICMP)
	for len(s.receiveRaw()) > 0 {
	}
	for _, to := range []string{externalAddrs[0].String(), hostAddr(0)} {
		s.sendTo(to, echo(8, 7777, 2))
		if got := s.receiveRaw(); len(got) > 0 {
			t.Errorf("ping to %v: an answer of %x", to, got)
		}
	}
	if got := inside.receiveRaw(); len(got) > 0 {
		t.Errorf("the inside host got %x", got)
	}
}

// Datagrams of three fragments pass in both directions.
func TestFragments(t *testing.T) {
	n := behind(t, portRestricted, 1)
	inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
	long := strings.Repeat("fragment ", 3000/9)
	inside.send(server.local(), long)
	ext := server.expect(long)
	server.send(ext, long)
	inside.expect(long)
	n.router.do(func() error {
		tracked, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err == nil && strings.TrimSpace(string(tracked)) != "0" {
			t.Errorf("conntrack follows %s flows, though it should only defragment", tracked)
		}
		return err
	})
}

// Fragments pass in whatever order they come, also those of a mapping's first
// packet, whose port is a sum.
func TestFragmentsInAnyOrder(t *testing.T) {
	n := behind(t, nat.Behavior{Ports: nat.Sequential, Delta: 3, Range: nat.PortRange{Low: 40000, High: 49999}}, 1)
	in, server := n.hosts[0].raw(hostAddr(0), unix.IPPROTO_RAW), n.outside.udp(outsideA+":3478")
	for i, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		text := strings.Repeat(fmt.Sprint("part ", i), 400)
		fragments := fragmented(hostAddr(0), outsideA, uint16(5000+i), 3478, uint16(100+i), text)
		for _, at := range order {
			in.sendTo(outsideA, fragments[at])
		}
		if got, want := server.expect(text).Port(), uint16(40000+3*i); got != want {
			t.Errorf("in the order %v: port %d, want %d", order, got, want)
		}
	}
}

// fragmented is a UDP datagram without checksum in three IPv4 fragments.
func fragmented(from, to string, sport, dport, id uint16, text string) [][]byte {
	datagram := binary.BigEndian.AppendUint16(nil, sport)
	datagram = binary.BigEndian.AppendUint16(datagram, dport)
	datagram = binary.BigEndian.AppendUint16(datagram, uint16(8+len(text)))
	datagram = append(append(datagram, 0, 0), text...)
	src, dst := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	const size = 1000 // of eights
	var all [][]byte
	for at := 0; at < len(datagram); at += size {
		part := datagram[at:min(at+size, len(datagram))]
		header := []byte{plainHeader, 0, 0, 0, byte(id >> 8), byte(id), 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
		binary.BigEndian.PutUint16(header[2:], uint16(20+len(part)))
		offset := uint16(at / 8)
		if at+size < len(datagram) {
			offset |= 1 << 13 // more follow
		}
		binary.BigEndian.PutUint16(header[6:], offset)
		all = append(all, slices.Concat(header, src[:], dst[:], part))
	}
	return all
}

const plainHeader = 0x45 // IPv4 without options

// A packet whose port is a sum leaves with the identifier that it had.
func TestSumsLeaveTheHeader(t *testing.T) {
	n := behind(t, nat.Behavior{Ports: nat.Sequential, Delta: 7}, 1)
	in, out := n.hosts[0].raw(hostAddr(0), unix.IPPROTO_RAW), n.outside.raw(outsideA, unix.IPPROTO_UDP)
	n.outside.udp(outsideA + ":3478")
	for i := range 3 {
		id := uint16(0x1234 + i)
		in.sendTo(outsideA, fragmented(hostAddr(0), outsideA, uint16(5000+i), 3478, id, "one fragment")[0])
		got := out.receiveRaw()
		if len(got) < 28 || binary.BigEndian.Uint16(got[4:]) != id || binary.BigEndian.Uint16(got[20:]) != uint16(1024+7*i) {
			t.Errorf("packet %d arrives as %x, want the id %x and port %d", i, got, id, 1024+7*i)
		}
	}
}

// Two hosts behind two NATs connect to each other at once (RFC 5382 REQ-2): the
// first SYN opens the way for the other one's.
func TestSimultaneousOpen(t *testing.T) {
	for _, b := range []nat.Behavior{portRestricted, {Filtering: nat.AddressAndPortDependent, Refresh: nat.RefreshBoth, Rotate: time.Hour, Parity: nat.ParityKeep}} {
		t.Run(b.String(), func(t *testing.T) {
			n := behind(t, b, 1)
			far := n.secondRouter(b)
			ends := [2]struct {
				node      *node
				local, to string
			}{
				{n.hosts[0], hostAddr(0) + ":5000", outsideA + ":6000"},
				{far, "192.168.2.10:6000", externalAddrs[0].String() + ":5000"},
			}
			var conns [2]net.Conn
			var wait sync.WaitGroup
			for i, end := range ends {
				wait.Go(func() {
					end.node.do(func() (err error) {
						local, err := net.ResolveTCPAddr("tcp4", end.local)
						if err != nil {
							return err
						}
						conns[i], err = (&net.Dialer{LocalAddr: local, Timeout: 2 * patience}).Dial("tcp4", end.to)
						return err
					})
				})
			}
			wait.Wait()
			for i, c := range conns {
				if c == nil {
					t.Fatalf("end %d has no connection\n%s", i, n.dump())
				}
				defer c.Close()
			}
			for i, c := range conns {
				_, err := c.Write([]byte("hello"))
				must(t, err)
				got := make([]byte, 5)
				must(t, conns[1-i].SetReadDeadline(time.Now().Add(patience)))
				if _, err := io.ReadFull(conns[1-i], got); err != nil || string(got) != "hello" {
					t.Errorf("from end %d: %q, %v", i, got, err)
				}
			}
		})
	}
}

// secondRouter makes the outside node a router with the NAT, external address
// outsideA, and gives a host behind it, 192.168.2.10.
func (n *network) secondRouter(b nat.Behavior) *node {
	n.t.Helper()
	n.outside.do(func() error {
		for path, value := range ruleset.Sysctls() {
			if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	h := newNode(n.t)
	connect(n.outside, "lan0", h, "eth0")
	n.outside.address("lan0", "192.168.2.1/24")
	h.address("eth0", "192.168.2.10/24")
	h.route("eth0", "0.0.0.0/0", "192.168.2.1")
	conn, err := nftables.New(nftables.WithNetNSFd(n.outside.ns))
	must(n.t, err)
	must(n.t, ruleset.Install(conn, ruleset.Config{Router: "far", Behavior: b, Outside: "eth0", External: []netip.Addr{netip.MustParseAddr(outsideA)}}))
	return h
}

// Datagrams without a checksum keep none: one that were mended would be wrong,
// and the receiver would drop them.
func TestNoChecksum(t *testing.T) {
	for _, hairpin := range []nat.Hairpin{nat.HairpinExternal, nat.HairpinInternal} {
		n := behind(t, nat.Behavior{Ports: nat.Random, Hairpin: hairpin}, 2)
		inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
		other := n.hosts[1].udp(hostAddr(1) + ":5000")
		for _, s := range []*socket{inside, server, other} {
			raw, err := s.SyscallConn()
			must(t, err)
			must(t, raw.Control(func(fd uintptr) {
				must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1))
			}))
		}
		ext := mapped(inside, server)
		if !reaches(server, ext, inside) || !reaches(other, ext, inside) {
			t.Errorf("hairpin %v: a datagram without checksum does not come in", hairpin)
		}
	}
}

// What matches no mapping is dropped, and the router answers nothing: no ICMP
// unreachable, no TCP reset.
func TestSilence(t *testing.T) {
	for _, b := range []nat.Behavior{{}, linux(nat.KindMasquerade, nat.EarlyDrop)} {
		n := behind(t, b, 1)
		icmp := n.outside.raw(outsideA, unix.IPPROTO_ICMP)
		stranger := n.outside.udp(outsideA + ":3478")
		stranger.send(netip.AddrPortFrom(externalAddrs[0], 9), "anyone?")
		if got := icmp.receiveRaw(); len(got) > 0 {
			t.Errorf("%v: the router answered a datagram with %x", b, got)
		}
		n.outside.do(func() error {
			_, err := net.DialTimeout("tcp4", externalAddrs[0].String()+":22", 50*time.Millisecond)
			if err == nil || !strings.Contains(err.Error(), "timeout") {
				t.Errorf("%v: TCP to the router: %v, want a timeout", b, err)
			}
			return nil
		})
	}
}

// Nothing leaves untranslated: protocols that the NAT does not know, and packets
// that claim an external source, are dropped. Nobody outside reaches an inside
// address.
func TestRealms(t *testing.T) {
	n := behind(t, nat.Behavior{}, 1)
	n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
	const unknown = 253 // for experiments, RFC 3692
	out, in := n.outside.raw(outsideA, unknown), n.hosts[0].raw(hostAddr(0), unknown)
	in.sendTo(outsideA, []byte("leak"))
	if got := out.receiveRaw(); len(got) > 0 {
		t.Errorf("an unknown protocol left: %x", got)
	}
	out.sendTo(hostAddr(0), []byte("leak"))
	out.sendTo(externalAddrs[0].String(), []byte("leak"))
	if got := in.receiveRaw(); len(got) > 0 {
		t.Errorf("an unknown protocol entered: %x", got)
	}
	inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
	mapped(inside, server)
	if reaches(server, inside.local(), inside) {
		t.Errorf("a datagram from outside to %v arrived", inside.local())
	}
	n.hosts[0].address("eth0", externalAddrs[0].String()+"/32")
	spoof := n.hosts[0].udp(externalAddrs[0].String() + ":6000")
	if reaches(spoof, server.local(), server) {
		t.Errorf("a datagram with a forged external source left")
	}
}

// raw is a raw IPv4 socket.
type raw struct {
	t  testing.TB
	fd int
}

func (n *node) raw(address string, protocol int) *raw {
	n.t.Helper()
	r := &raw{t: n.t}
	n.do(func() (err error) {
		if r.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol); err != nil {
			return err
		}
		return unix.Bind(r.fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(address).As4()})
	})
	n.t.Cleanup(func() { unix.Close(r.fd) })
	return r
}

func (r *raw) sendTo(address string, payload []byte) {
	r.t.Helper()
	must(r.t, unix.Sendto(r.fd, payload, 0, &unix.SockaddrInet4{Addr: netip.MustParseAddr(address).As4()}))
}

// receiveRaw gives the next packet with its IPv4 header, or nothing.
func (r *raw) receiveRaw() []byte {
	buf := make([]byte, 2048)
	n, _, err := unix.Recvfrom(r.fd, buf, unix.MSG_DONTWAIT)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// expectEcho waits for an ICMP echo message and gives its source.
func (r *raw) expectEcho(kind byte, id, sequence uint16) netip.Addr {
	r.t.Helper()
	want := fmt.Sprintf("type %d id %d sequence %d", kind, id, sequence)
	var seen []string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		p := r.receiveRaw()
		if len(p) < 28 {
			<-time.After(time.Millisecond)
			continue
		}
		m := p[20:]
		got := fmt.Sprintf("type %d id %d sequence %d", m[0], binary.BigEndian.Uint16(m[4:]), binary.BigEndian.Uint16(m[6:]))
		if got == want {
			return netip.AddrFrom4([4]byte(p[12:16]))
		}
		seen = append(seen, got)
	}
	r.t.Fatalf("no ICMP message with %s came, but %q", want, seen)
	return netip.Addr{}
}

// echo makes an ICMP echo message (RFC 792).
func echo(kind byte, id, sequence uint16) []byte {
	m := []byte{kind, 0, 0, 0}
	m = binary.BigEndian.AppendUint16(m, id)
	m = binary.BigEndian.AppendUint16(m, sequence)
	var sum uint32
	for i := 0; i < len(m); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(m[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(m[2:], ^uint16(sum+sum>>16))
	return m
}
