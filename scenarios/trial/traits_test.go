package trial

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2pmodel/core/traits"
	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// surveyed is a socket behind a NAT table with neighbours who make mappings, too.
type surveyed struct {
	t      *testing.T
	nat    *table.Table
	rand   *rand.Rand
	others uint16
}

var (
	surveyedHost = netip.MustParseAddr("192.168.1.2")
	neighbour    = netip.MustParseAddr("192.168.1.3")
	external     = netip.MustParseAddr("198.51.100.1")
)

// send gives where a packet of a socket of ours leaves.
func (s *surveyed) send(port uint16, to string) traits.Observation {
	s.t.Helper()
	o := traits.Observation{To: netip.MustParseAddrPort(to)}
	v := s.nat.Outbound(time.Unix(0, 0), table.Packet{Src: netip.AddrPortFrom(surveyedHost, port), Dst: o.To})
	if v.Drop != table.Passed {
		s.t.Fatalf("%v: dropped, %v", s.nat.Behavior(), v.Drop)
	}
	o.Mapped = v.Packet.Src
	return o
}

// load has neighbours make up to so many mappings.
func (s *surveyed) load(most int) (made int) {
	for range s.rand.IntN(most + 1) {
		s.others++
		v := s.nat.Outbound(time.Unix(0, 0), table.Packet{Src: netip.AddrPortFrom(neighbour, 20000+s.others), Dst: netip.MustParseAddrPort("203.0.113.99:53")})
		if v.Drop == table.Passed {
			made++
		}
	}
	return made
}

// TestInferenceOfTables: what peers conclude from the answers of servers is what the NAT is
// declared to be, whatever neighbours do meanwhile; and the port that is foretold for
// a fresh socket's mapping to a peer is among those that are probed.
func TestInferenceOfTables(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	chanced, drawn, foretold := 0, 0, 0
	for range 3000 {
		b := nat.Behavior{
			Mapping: []nat.Dependence{nat.EndpointIndependent, nat.AddressDependent, nat.AddressAndPortDependent}[random.IntN(3)],
			Ports:   []nat.Allocation{nat.Preserve, nat.Sequential, nat.Random}[random.IntN(3)],
		}
		if b.Ports == nat.Sequential {
			b.Delta = 1 + random.IntN(4)
		}
		n, err := table.New(b, []netip.Addr{external}, random)
		if err != nil {
			t.Fatal(err)
		}
		s := &surveyed{t: t, nat: n, rand: random}
		noise := random.IntN(4)
		s.load(300)
		local := uint16(40000 + random.IntN(1000))
		var seen []traits.Observation
		between := 0
		for _, server := range []string{"203.0.113.1:3478", "203.0.113.2:3478", "203.0.113.1:3479", "203.0.113.2:3479"} {
			seen = append(seen, s.send(local, server))
			between = max(between, s.load(noise))
		}
		got := traits.Infer(local, seen)
		want := map[nat.Dependence]traits.Dependence{
			nat.EndpointIndependent: traits.EndpointIndependent, nat.AddressDependent: traits.AddressDependent,
			nat.AddressAndPortDependent: traits.AddressAndPortDependent,
		}[b.Mapping]
		if got.Mapping != want || got.Pooled || got.Preserves != (b.Ports == nat.Preserve) && b.Ports != nat.Random {
			t.Fatalf("%v: taken for %v", b, got)
		}
		if !got.Hard() {
			continue
		}
		switch b.Ports {
		case nat.Random:
			if drawn++; got.Foreseeable() {
				chanced++ // two ports that are close by chance
			}
			continue
		case nat.Sequential:
			if got.Allocation != traits.Sequential || got.Delta%b.Delta != 0 || between == 0 && got.Delta != b.Delta {
				t.Fatalf("%v, at most %d of others in between: taken for %v", b, between, got)
			}
		case nat.Preserve:
			if !got.Foreseeable() {
				t.Fatalf("%v: taken for %v", b, got)
			}
		}
		fresh := uint16(50000 + random.IntN(1000))
		if got.Preserves {
			if o := s.send(fresh, "203.0.113.50:7000"); o.Mapped.Port() != fresh {
				t.Fatalf("%v: the first mapping of port %d is %v", b, fresh, o.Mapped)
			}
			foretold++
			continue
		}
		before := s.send(fresh, "203.0.113.1:3478")
		s.load(noise)
		peer := s.send(fresh, "203.0.113.50:7000")
		s.load(noise)
		after := s.send(fresh, "203.0.113.2:3478")
		ports := traits.Bracket{Before: before.Mapped.Port(), After: after.Mapped.Port(), Opened: 1, Delta: got.Delta}.Ports()
		if slices.Contains(ports, peer.Mapped.Port()) {
			foretold++
		} else if got.Delta == b.Delta {
			t.Fatalf("%v, taken for %v: %d lies between %d and %d, but is none of %v", b, got, peer.Mapped.Port(), before.Mapped.Port(), after.Mapped.Port(), ports)
		}
	}
	// Of two ports of 64,512 one is within 64 of the other once in 500 times.
	if chanced*100 > drawn {
		t.Errorf("%d of %d NATs that draw are taken for ones that count", chanced, drawn)
	}
	t.Logf("%d ports foretold; %d of %d NATs that draw taken for others", foretold, chanced, drawn)
	if foretold < 1000 {
		t.Errorf("%d ports were foretold", foretold)
	}
}
