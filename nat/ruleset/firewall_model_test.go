//go:build linux

package ruleset_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/nat/table"
)

// The kernel's firewall and the model agree on random packets of UDP, TCP and
// ICMP echo, in and out and between hosts, and on what the sender of a dropped
// one is told; on a router and on a host.
func TestFirewallModel(t *testing.T) {
	for _, text := range []string{
		"stateful", "stateful,reject=in", "udp-blocked", "udp-blocked,reject=out", "tcp-443-only", "tcp-443-only,reject=both",
		"tcp-443-only,reject=out,tcp-reject=reset", "open,udp=3478,tcp=443+3478,reject=out,tcp-reject=reset", "open,other=none",
		"stateful,tcp=none,reject=both,tcp-reject=reset", "captive-portal", "captive-portal,reject=both", "tcp-443-only,portal=on,reject=out,tcp-reject=reset",
		"open,portal=1h",
	} {
		policy, err := nat.ParseFirewall(text)
		must(t, err)
		t.Run(text+" on a router", func(t *testing.T) {
			t.Parallel()
			compareFirewall(t, policy, access{}, false)
		})
		if policy.Portal.On {
			continue
		}
		t.Run(text+" on a host", func(t *testing.T) {
			t.Parallel()
			compareFirewall(t, policy, access{}, true)
		})
	}
	lists := access{
		Allow:    []nat.Rule[[]netip.Addr]{{From: addrs(outsideA), To: addrs(hostAddr(0)), UDP: []nat.PortRange{{Low: 3478, High: 3478}}, TCP: []nat.PortRange{{Low: 443, High: 443}}}},
		Outbound: nat.Passage[[]netip.Addr]{Closed: true, Rules: []nat.Rule[[]netip.Addr]{{To: addrs(outsideB), TCP: []nat.PortRange{nat.AllPorts}}}},
	}
	policy := nat.Firewall{Inbound: nat.InboundReplies, Reject: nat.RejectBoth, ResetTCP: true}
	t.Run("lists on a host", func(t *testing.T) {
		t.Parallel()
		compareFirewall(t, policy, lists, true)
	})
	more := lists
	more.Between = nat.Passage[[]netip.Addr]{Closed: true, Rules: []nat.Rule[[]netip.Addr]{{From: addrs(hostAddr(1)), UDP: []nat.PortRange{nat.AllPorts}}}}
	t.Run("lists on a router", func(t *testing.T) {
		t.Parallel()
		compareFirewall(t, policy, more, false)
	})
}

// station is all the raw sockets of an address.
type station struct {
	addr string
	by   map[table.Protocol]*raw
}

func newStation(n *node, addr string) *station {
	s := &station{addr, map[table.Protocol]*raw{}}
	for p, number := range map[table.Protocol]int{table.UDP: unix.IPPROTO_UDP, table.TCP: unix.IPPROTO_TCP, table.ICMPEcho: unix.IPPROTO_ICMP} {
		s.by[p] = n.raw(addr, number)
	}
	return s
}

// send sends a packet with a number that tells it apart. A host's own firewall
// that drops it says so at once.
func (s *station) send(p table.Packet, number uint32) {
	var payload []byte
	switch p.Protocol {
	case table.UDP:
		payload = binary.BigEndian.AppendUint16(payload, p.Src.Port())
		payload = binary.BigEndian.AppendUint16(payload, p.Dst.Port())
		payload = append(payload, 0, 12, 0, 0) // no checksum
		payload = binary.BigEndian.AppendUint32(payload, number)
	case table.TCP:
		payload = syn(p.Src, p.Dst, number)
	case table.ICMPEcho:
		payload = echo(8, p.Src.Port(), uint16(number))
	}
	err := unix.Sendto(s.by[p.Protocol].fd, payload, 0, &unix.SockaddrInet4{Addr: p.Dst.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EPERM) {
		must(s.by[p.Protocol].t, err)
	}
}

// syn is a segment that asks for a connection.
func syn(from, to netip.AddrPort, sequence uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, sequence)
	b = append(b, 0, 0, 0, 0, 5<<4, 2, 0x40, 0, 0, 0, 0, 0)
	pseudo := append(append(append([]byte{}, from.Addr().AsSlice()...), to.Addr().AsSlice()...), 0, unix.IPPROTO_TCP, 0, byte(len(b)))
	var sum uint32
	for _, part := range [][]byte{pseudo, b} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	return b
}

// got reads all that has come: whether the packet with the number is there, and
// whether somebody forbids or resets.
func (s *station) got(p table.Protocol, number uint32) (packet bool, told table.Answer) {
	for kind, socket := range s.by {
		for b := socket.receiveRaw(); len(b) >= 28; b = socket.receiveRaw() {
			m := b[20:]
			switch {
			case kind == table.ICMPEcho && m[0] == 3 && m[1] == 13:
				told = table.Prohibited
			case kind == table.TCP && len(m) >= 20 && m[13]&4 != 0 && binary.BigEndian.Uint32(m[8:]) == number+1:
				told = table.Reset
			case kind != p:
			case kind == table.UDP:
				packet = packet || binary.BigEndian.Uint32(m[8:]) == number
			case kind == table.TCP:
				packet = packet || m[13] == 2 && binary.BigEndian.Uint32(m[4:]) == number
			case kind == table.ICMPEcho:
				packet = packet || m[0] == 8 && binary.BigEndian.Uint16(m[6:]) == uint16(number)
			}
		}
	}
	return packet, told
}

func compareFirewall(t *testing.T, policy nat.Firewall, lists access, onHost bool) {
	const packets = 200
	n := newNetwork(t, 2)
	n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
	cfg, conn := ruleset.FirewallConfig{Router: "r", Outside: "wan", Policy: policy, Access: lists}, n.conn
	inside := []*station{newStation(n.hosts[0], hostAddr(0)), newStation(n.hosts[1], hostAddr(1))}
	outside := []*station{newStation(n.outside, outsideA), newStation(n.outside, outsideB)}
	if onHost {
		cfg.Outside, cfg.Host = "", true
		outside, inside = append(outside, inside[1]), inside[:1]
		n.hosts[0].do(func() error { return ratemask() })
		var err error
		conn, err = nftables.New(nftables.WithNetNSFd(n.hosts[0].ns))
		must(t, err)
	}
	if policy.Portal.On {
		n.router.portalRoute()
	}
	must(t, ruleset.InstallFirewall(conn, cfg))
	model, err := table.NewFirewall(policy, lists)
	must(t, err)

	r := rand.New(rand.NewPCG(6092, 1))
	ports := []uint16{80, 443, 3478}
	now, history, passed, refused := time.Time{}, "", 0, 0
	for i := range packets {
		if policy.Portal.On && i == packets/2 {
			model.Login(now, netip.MustParseAddr(hostAddr(0)))
			must(t, ruleset.Admit(conn, netip.MustParseAddr(hostAddr(0))))
		}
		var from, to *station
		var judge func(time.Time, table.Packet) table.Verdict
		identifier := uint16(7)
		switch r.IntN(4) {
		case 0, 1:
			from, to, judge = inside[r.IntN(len(inside))], outside[r.IntN(len(outside))], model.Outbound
		case 2:
			// Replies to pings are no pings: those of each side have a number of
			// their own, so that none is an answer to the other's.
			from, to, judge, identifier = outside[r.IntN(len(outside))], inside[r.IntN(len(inside))], model.Inbound, 9
		default:
			if onHost {
				continue
			}
			k := r.IntN(2)
			from, to, judge = inside[k], inside[1-k], model.Between
		}
		p := table.Packet{
			Protocol: table.Protocol(r.IntN(3)),
			Src:      netip.AddrPortFrom(netip.MustParseAddr(from.addr), ports[r.IntN(3)]),
			Dst:      netip.AddrPortFrom(netip.MustParseAddr(to.addr), ports[r.IntN(3)]),
		}
		if p.Protocol == table.ICMPEcho {
			p.Src, p.Dst = netip.AddrPortFrom(p.Src.Addr(), identifier), netip.AddrPortFrom(p.Dst.Addr(), 0)
		}
		v := judge(now, p)
		history += fmt.Sprintf("%3d: %v, answer %d\n", i, v, v.Answer)
		number := uint32(i + 1)
		from.send(p, number)
		arrived, _ := to.got(p.Protocol, number)
		_, told := from.got(p.Protocol, number)
		if want := v.Drop == table.Passed; arrived != want || !arrived && told != v.Answer {
			t.Fatalf("%sin the kernel it arrives: %v, and its sender is told: %d\n%s", history, arrived, told, render(conn))
		}
		if arrived {
			passed++
		} else {
			refused++
		}
	}
	if passed == 0 || refused == 0 {
		t.Errorf("%d packets passed and %d were refused: the test tells nothing", passed, refused)
	}
}

// portalRoute has the node take marked packets for its own.
func (n *node) portalRoute() {
	n.t.Helper()
	const table = 100
	rule := netlink.NewRule()
	rule.Family, rule.Mark, rule.Table = unix.AF_INET, ruleset.PortalMark, table
	must(n.t, n.h.RuleAdd(rule))
	_, everything, _ := net.ParseCIDR("0.0.0.0/0")
	must(n.t, n.h.RouteAdd(&netlink.Route{LinkIndex: 1, Dst: everything, Table: table, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST}))
}

func render(conn *nftables.Conn) string {
	text, err := ruleset.Render(conn)
	if err != nil {
		return err.Error()
	}
	return text
}
