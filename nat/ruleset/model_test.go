//go:build linux

package ruleset_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// The kernel's rules and the model agree on every packet of random traffic: who
// gets it, and from where. Ports are few, so that hosts contend for them and run
// out.
func TestModel(t *testing.T) {
	for _, mapping := range dependences {
		for _, filtering := range dependences {
			for _, ports := range []nat.Allocation{nat.Preserve, nat.Sequential} {
				for _, scope := range []nat.Scope{nat.ScopeMapping, nat.ScopeEndpoint} {
					for _, hairpin := range []nat.Hairpin{nat.HairpinNone, nat.HairpinInternal, nat.HairpinExternal} {
						b := nat.Behavior{
							Mapping: mapping, Filtering: filtering, Ports: ports, Scope: scope, Hairpin: hairpin,
							Range: nat.PortRange{Low: 40000, High: 40006},
						}
						t.Run(b.String(), func(t *testing.T) {
							t.Parallel()
							compare(t, b)
						})
					}
				}
			}
		}
	}
}

func compare(t *testing.T, b nat.Behavior) {
	const packets = 60
	n := behind(t, b, 2)
	model, err := table.New(b, externalAddrs[:1], nil)
	must(t, err)
	var inside, outside []*socket
	for h, host := range n.hosts {
		for port := 40001; port <= 40003; port++ {
			inside = append(inside, host.udp(fmt.Sprintf("%s:%d", hostAddr(h), port)))
		}
	}
	for _, a := range []string{outsideA, outsideB} {
		for _, port := range []int{3478, 3479} {
			outside = append(outside, n.outside.udp(fmt.Sprintf("%s:%d", a, port)))
		}
	}

	r := rand.New(rand.NewPCG(4787, 1))
	pick := func(of []*socket) *socket { return of[r.IntN(len(of))] }
	external := func() netip.AddrPort { return netip.AddrPortFrom(externalAddrs[0], uint16(40000+r.IntN(7))) }
	now := time.Time{}
	history := ""
	for i := range packets {
		var from *socket
		var to netip.AddrPort
		var v table.Verdict
		switch kind := r.IntN(10); {
		case kind < 4:
			from, to = pick(inside), pick(outside).local()
			v = model.Outbound(now, table.Packet{Src: from.local(), Dst: to})
		case kind < 6:
			from, to = pick(inside), external()
			v = model.Outbound(now, table.Packet{Src: from.local(), Dst: to})
			if v.Drop == table.Passed && v.Packet.Src.Addr() == v.Packet.Dst.Addr() {
				v.Drop = table.Filtered // a host takes no packet that comes from itself
			}
		default:
			from, to = pick(outside), external()
			v = model.Inbound(now, table.Packet{Src: from.local(), Dst: to})
		}
		history += fmt.Sprintf("%3d: %v > %v: %v\n", i, from.local(), to, v)
		from.send(to, fmt.Sprint(i))
		if v.Drop == table.Passed && !arrives(v.Packet, fmt.Sprint(i), inside, outside) {
			t.Fatalf("packet %d: the model says %v, but it does not arrive so\n%s\n%s", i, v, history, n.dump())
		}
		for _, s := range append(inside[:len(inside):len(inside)], outside...) {
			if src, text, ok := s.poll(); ok {
				t.Fatalf("packet %d: the model says %v, but %v got %q from %v\n%s\n%s", i, v, s.local(), text, src, history, n.dump())
			}
		}
	}
}

// arrives waits for the packet.
func arrives(p table.Packet, text string, sockets ...[]*socket) bool {
	for _, list := range sockets {
		for _, s := range list {
			if s.local() == p.Dst {
				from, got := s.receive()
				return from == p.Src && got == text
			}
		}
	}
	return false
}
