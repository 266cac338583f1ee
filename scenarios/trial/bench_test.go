package trial

import (
	"runtime/debug"
	"testing"
	"time"

	"p2pmodel/nat/oracle"
)

func benchmarkTrial(b *testing.B, s Setting) {
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
			if p.Path != oracle.PathDirect {
				b.Fatalf("seed %d: %+v", seed, p)
			}
		}
		seed++
	}
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
	b.Run("known", func(b *testing.B) { benchmarkTrial(b, pair) })
	pair.Strangers = true
	b.Run("strangers", func(b *testing.B) { benchmarkTrial(b, pair) })
}

// BenchmarkRoom8 is a room of eight, with 28 pairs.
func BenchmarkRoom8(b *testing.B) {
	room := Setting{Room: true, Interval: time.Second}
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
