package trial

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"

	"p2pmodel/nat/oracle"
)

// TestManyTrials: ten thousand trials one after another take no more memory than the
// first thousand, and a core plays at least a fifth as many in a second as it ought
// to: 1,500 connections, 8,000 searches.
func TestManyTrials(t *testing.T) {
	const connections, searches = 10_000 / slower, 20_000 / slower
	pair, err := New(connection())
	if err != nil {
		t.Fatal(err)
	}
	alone, err := NewPathFinding(at(portRestricted), at(portRestricted))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		count int
		least float64 // a second
		run   func(seed uint64) (oracle.Path, error)
	}{
		{"connections", connections, 1500.0 / 5 / slower, func(seed uint64) (oracle.Path, error) {
			o, err := pair.Run(seed)
			if err != nil {
				return "", err
			}
			return o.Pairs[0].Path, nil
		}},
		{"searches", searches, 8000.0 / 5 / slower, func(seed uint64) (oracle.Path, error) {
			found, err := alone.Run(seed)
			return found.Path, err
		}},
	} {
		began, first := cpuTime(), uint64(0)
		for seed := range c.count {
			if path, err := c.run(uint64(seed)); err != nil || path != oracle.PathDirect {
				t.Fatalf("%s: seed %d: %s, %v", c.name, seed, path, err)
			}
			if seed == c.count/10 {
				first = inUse()
			}
		}
		rate := float64(c.count) / (cpuTime() - began).Seconds()
		if rate < c.least {
			t.Errorf("%s: %.0f a second and core, want at least %.0f", c.name, rate, c.least)
		}
		const slack = 512 << 10
		if last := inUse(); last > first+slack {
			t.Errorf("%s: %d bytes in use after %d, %d after %d", c.name, first, c.count/10, last, c.count)
		}
	}
}

// inUse is how much memory is in use.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLinear plays many trials of strangers one after another: the time for each
// and the memory in use do not depend on how many there were. TRIALS=1000000 plays a
// million besides, which takes a quarter of an hour.
func BenchmarkLinear(b *testing.B) {
	counts := []int{1_000, 10_000}
	if more, err := strconv.Atoi(os.Getenv("TRIALS")); err == nil && !slices.Contains(counts, more) {
		counts = append(counts, more)
	}
	for _, count := range counts {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			s := connection()
			s.Strangers = true
			t, err := New(s)
			if err != nil {
				b.Fatal(err)
			}
			defer debug.SetGCPercent(debug.SetGCPercent(GarbagePercent)) // as campaigns have it
			used := cpuTime()
			for range b.N {
				for seed := range count {
					if _, err := t.Run(uint64(seed)); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric((cpuTime()-used).Seconds()/float64(b.N)/float64(count)*1e6, "µs/trial")
			b.ReportMetric(float64(inUse())/1024, "kB-in-use")
		})
	}
}
