package trial

import (
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios/grid"
)

// TestPathFinding: agents alone find what the oracle expects, for all pairs of
// mapping and filtering. What is relayed in a trial has no path here.
func TestPathFinding(t *testing.T) {
	for _, a := range grid.Axes() {
		for _, b := range grid.Axes() {
			expected, err := oracle.Expect(oracle.Chain{{NAT: &a.Behavior}}, oracle.Chain{{NAT: &b.Behavior}}, oracle.Options{SplitPaths: true})
			if err != nil {
				t.Fatal(err)
			}
			f, err := NewPathFinding(at(a.Behavior), at(b.Behavior))
			if err != nil {
				t.Fatal(err)
			}
			found, err := f.Run(1)
			if err != nil {
				t.Fatal(err)
			}
			if (found.Path == oracle.PathDirect) != (expected.Path == oracle.PathDirect) || found.Settled < 0 || found.Checks == 0 {
				t.Errorf("%s ↔ %s: %+v, the oracle expects %s", a.Name, b.Name, found, expected.Path)
			}
			if again, _ := f.Run(1); again != found {
				t.Errorf("%s ↔ %s: %+v, and once more %+v", a.Name, b.Name, found, again)
			}
		}
	}
}

func TestPathFindingWithoutAnEcho(t *testing.T) {
	blocked := nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{}}
	f, err := NewPathFinding(walled(blocked, at()), at(portRestricted))
	if err != nil {
		t.Fatal(err)
	}
	if found, err := f.Run(1); err != nil || found.Path != oracle.PathNone {
		t.Errorf("behind a firewall that lets nothing out: %+v, %v", found, err)
	}
}

// BenchmarkPathFinding is the search alone, of the pair of BenchmarkTrial.
func BenchmarkPathFinding(b *testing.B) {
	f, err := NewPathFinding(at(portRestricted), at(portRestricted))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	seed, used := uint64(0), cpuTime()
	for b.Loop() {
		found, err := f.Run(seed)
		if err != nil || found.Path != oracle.PathDirect || found.Settled > time.Second {
			b.Fatalf("seed %d: %+v, %v", seed, found, err)
		}
		seed++
	}
	b.ReportMetric(float64(seed)/(cpuTime()-used).Seconds(), "trials/s/core")
}
