package analysis_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

var (
	a, b = netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	x, y = netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
)

// of gives the mappings of a host: inside port, external port, and so on.
func of(host netip.Addr, ports ...uint16) (all []analysis.Sample) {
	for i := 0; i+1 < len(ports); i += 2 {
		all = append(all, analysis.Sample{Inside: netip.AddrPortFrom(host, ports[i]), External: netip.AddrPortFrom(x, ports[i+1])})
	}
	return all
}

func TestJudgePorts(t *testing.T) {
	small := analysis.Assumptions{Range: nat.PortRange{Low: 40000, High: 40009}, Alone: true}
	full := analysis.Assumptions{Range: nat.DefaultPortRange, Alone: true}
	preserved := of(a, 5000, 5000, 6002, 6002, 7001, 7001, 8001, 8001, 9000, 9000)
	for _, c := range []struct {
		name    string
		samples []analysis.Sample
		known   analysis.Assumptions
		want    string // allocation fallback delta parity
	}{
		{"too few", of(a, 1, 2, 3, 4), full, "unreached  0 "},
		{"preserved", preserved, full, "preserve  0 "},
		{"fallback counts", slices.Concat(preserved, of(b, 5000, 1024, 6002, 1025, 7001, 1026)), full, "preserve sequential 1 ignore"},
		{"fallback counts by three", slices.Concat(preserved, of(b, 5000, 1024, 6002, 1027, 7001, 1030)), full, "preserve sequential 3 ignore"},
		{"fallback keeps parity", slices.Concat(preserved, of(b, 5000, 1024, 6002, 1026, 7001, 1025, 8001, 1027)), full, "preserve sequential 1 keep"},
		{"fallback is random", slices.Concat(preserved, of(b, 5000, 31001, 6002, 1025, 7001, 48123)), full, "preserve random 0 ignore"},
		{"counts", of(a, 50, 2000, 60, 2001, 71, 2002, 81, 2003, 90, 2004), full, "sequential  1 ignore"},
		{"counts by two, all even", of(a, 50, 2000, 60, 2002, 70, 2004, 80, 2006, 90, 2008), full, "sequential  2 "},
		{"counts backwards", of(a, 50, 2004, 60, 2003, 71, 2002, 81, 2001, 90, 2000), full, "random  0 ignore"},
		{"starts again", of(a, 50, 40008, 60, 40009, 71, 40000, 81, 40001, 90, 40002), small, "sequential  1 ignore"},
		{"leaves out what is taken", of(a, 40003, 40003, 50, 40000, 60, 40001, 71, 40002, 81, 40004, 90, 40005), small, "preserve sequential 1 ignore"},
		{"leaves out what is free", of(a, 50, 40000, 60, 40001, 71, 40003, 81, 40004, 90, 40005), small, "random  0 ignore"},
		{"shared", append(of(b, 5000, 5000), preserved...), full, "overloading  0 "},
	} {
		p := analysis.JudgePorts(c.samples, c.known)
		if got := fmt.Sprintf("%s %s %d %s", p.Allocation, p.Fallback, p.Delta, p.Parity); got != c.want {
			t.Errorf("%s: %q, want %q (%s)", c.name, got, c.want, p.Reason)
		}
	}
}

// TestBlocksAndChance: ports that lie together by chance are not taken for blocks,
// and real blocks are, after a second look.
func TestBlocksAndChance(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var taken map[int]bool // external ports, of all hosts
	draw := func(low, size, n int) (all []uint16) {
		for len(all) < 2*n {
			if port := low + r.IntN(size); !taken[port] {
				taken[port] = true
				all = append(all, uint16(10000+r.IntN(10000)), uint16(port))
			}
		}
		return all
	}
	known := analysis.Assumptions{Range: nat.DefaultPortRange, Alone: true}
	for range 1000 {
		taken = make(map[int]bool)
		few := append(of(a, draw(1024, 512, 6)...), of(b, draw(1536, 512, 5)...)...)
		if p := analysis.JudgePorts(few, known); p.Allocation == "block" || p.Allocation == "random" && !p.Clusters {
			t.Fatalf("of few samples: %+v", p)
		}
		taken = make(map[int]bool)
		many := append(of(a, draw(1024, 512, 12)...), of(b, draw(1536, 512, 12)...)...)
		if p := analysis.JudgePorts(many, known); p.Allocation != "block" {
			t.Fatalf("of many samples: %+v", p)
		}
		narrow := append(of(a, draw(40000, 1000, 12)...), of(b, draw(40000, 1000, 12)...)...)
		if p := analysis.JudgePorts(narrow, known); p.Allocation != "random" {
			t.Fatalf("of a narrow range: %+v", p)
		}
	}
}

func TestMappingAndFiltering(t *testing.T) {
	at := func(ports ...uint16) (all [4]netip.AddrPort) {
		for i, p := range ports {
			all[i] = netip.AddrPortFrom(y, p)
		}
		return all
	}
	for want, seen := range map[string][4]netip.AddrPort{
		"EIM": at(1, 1, 1, 1), "ADM": at(1, 1, 2, 2), "APDM": at(1, 2, 3, 4), analysis.Irregular: at(1, 2, 1, 2),
		analysis.Untranslated: {netip.AddrPortFrom(a, 1), netip.AddrPortFrom(a, 1), netip.AddrPortFrom(a, 1), netip.AddrPortFrom(a, 1)},
	} {
		if got := analysis.Mapping(a, seen); got != want {
			t.Errorf("%v is %s, want %s", seen, got, want)
		}
	}
	for want, entered := range map[string][2][2]bool{
		"EIF": {{true, true}, {true, true}}, "ADF": {{true, true}, {}}, "APDF": {{true, false}, {}},
		analysis.Closed: {}, analysis.Irregular: {{true, false}, {true, false}},
	} {
		if got := analysis.Filtering(entered); got != want {
			t.Errorf("%v is %s, want %s", entered, got, want)
		}
	}
}
