package trial

import (
	"runtime/debug"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
)

func benchmarkTrial(b *testing.B, s Setting, want oracle.Path) {
	t, err := New(s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	defer debug.SetGCPercent(debug.SetGCPercent(GarbagePercent)) // as campaigns have it
	seed := uint64(0)
	used := cpuTime()
	for b.Loop() {
		o, err := t.Run(seed)
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range o.Pairs {
			if p.Path != want {
				b.Fatalf("seed %d: %+v", seed, p)
			}
		}
		seed++
	}
	b.ReportMetric(float64(seed)/b.Elapsed().Seconds(), "trials/s")
	b.ReportMetric(float64(seed)/(cpuTime()-used).Seconds(), "trials/s/core")
}

// connection is a pair behind port-restricted NATs, on lines of 20 ms: what counts is
// the first payload both ways on the direct path, so that there is little else.
func connection() Setting {
	return Setting{Players: []Player{at(portRestricted), at(portRestricted)}, Interval: time.Second}
}

// BenchmarkTrial is a whole connection of two players: of such that have met before,
// and of strangers.
func BenchmarkTrial(b *testing.B) {
	pair := connection()
	b.Run("known", func(b *testing.B) { benchmarkTrial(b, pair, oracle.PathDirect) })
	pair.Strangers = true
	b.Run("strangers", func(b *testing.B) { benchmarkTrial(b, pair, oracle.PathDirect) })
}

// BenchmarkPairs is strangers behind pairs of NATs, as scenarios/foreign/pion-vnet has
// them for pion/ice, by the same names.
func BenchmarkPairs(b *testing.B) {
	full, restricted := nat.Behavior{}, nat.Behavior{Filtering: nat.AddressDependent}
	for _, pair := range []struct {
		name string
		a, b nat.Behavior
		path oracle.Path
	}{
		{"full-cone+full-cone", full, full, oracle.PathDirect},
		{"restricted+port-restricted", restricted, portRestricted, oracle.PathDirect},
		{"port-restricted+port-restricted", portRestricted, portRestricted, oracle.PathDirect},
		{"symmetric+symmetric", symmetric, symmetric, oracle.PathRelay},
	} {
		s := connection()
		s.Players, s.Strangers = []Player{at(pair.a), at(pair.b)}, true
		b.Run(pair.name, func(b *testing.B) { benchmarkTrial(b, s, pair.path) })
	}
}

// BenchmarkRoom8 is a room of eight, with 28 pairs.
func BenchmarkRoom8(b *testing.B) {
	room := Setting{Room: true, Interval: time.Second}
	for range 8 {
		room.Players = append(room.Players, at(portRestricted))
	}
	benchmarkTrial(b, room, oracle.PathDirect)
}

// BenchmarkNew makes a setting ready whose shape is known, as a campaign does for
// each draw.
func BenchmarkNew(b *testing.B) {
	pair := Setting{Players: []Player{at(portRestricted, symmetric), at(portRestricted)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(pair); err != nil {
			b.Fatal(err)
		}
	}
}
