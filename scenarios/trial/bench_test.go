package trial

import (
	"testing"

	"p2pmodel/nat/oracle"
)

// pair is the pair of the benchmarks: port-restricted NATs, links of 20 ms.
func benchmarkTrial(b *testing.B, s Setting) {
	t, err := New(s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	seed := uint64(0)
	used := cpuTime()
	for b.Loop() {
		o, err := t.Run(seed)
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range o.Pairs {
			if p.Path != oracle.PathDirect {
				b.Fatalf("seed %d: %+v", seed, p)
			}
		}
		seed++
	}
	b.ReportMetric(float64(seed)/(cpuTime()-used).Seconds(), "trials/s/core")
}

// BenchmarkTrial is a whole connection of two players.
func BenchmarkTrial(b *testing.B) {
	pair := Setting{Players: []Player{at(portRestricted), at(portRestricted)}}
	b.Run("known", func(b *testing.B) { benchmarkTrial(b, pair) })
	pair.Strangers = true
	b.Run("strangers", func(b *testing.B) { benchmarkTrial(b, pair) })
}

// BenchmarkRoom8 is a room of eight, with 28 pairs.
func BenchmarkRoom8(b *testing.B) {
	room := Setting{Room: true}
	for range 8 {
		room.Players = append(room.Players, at(portRestricted))
	}
	benchmarkTrial(b, room)
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
