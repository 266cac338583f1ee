package trial

import (
	"testing"

	birthday "p2pmodel/core/search"
	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios/wilson"
)

var counting = nat.Behavior{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Sequential}

// TestSearchAgainstTheory: of many searches, the share that has hit after so many
// probes is that of the birthday formula, within what chance leaves open.
func TestSearchAgainstTheory(t *testing.T) {
	tr, err := New(Setting{Players: []Player{at(symmetric), at(portRestricted)}, Split: true, Prediction: true, Birthday: true})
	if err != nil {
		t.Fatal(err)
	}
	const runs = 300 / slower // make unit has the 300 without the race detector
	var hits []int
	direct := 0
	for seed := range uint64(runs) {
		o, err := tr.Run(seed + 1)
		if err != nil {
			t.Fatal(err)
		}
		if p := o.Pairs[0]; p.Path == oracle.PathDirect && p.Searched {
			direct++
			hits = append(hits, p.Hit)
			if late := p.Probes - p.Hit; p.Hit < 1 || late < 0 || late > 40 {
				t.Errorf("seed %d: probe %d hit, of %d; what leaves until it is known is a round trip's worth", seed+1, p.Hit, p.Probes)
			}
		} else {
			t.Logf("seed %d: %s, found %v, after %d probes, settled %v", seed+1, p.Path, p.Searched, p.Probes, p.Settled)
		}
	}
	if direct < runs-1 {
		t.Errorf("%d of %d searches ended with a direct path; 99.97 %% should", direct, runs)
	}
	for _, within := range []int{100, 174, 256, 512, 1024} {
		n := 0
		for _, hit := range hits {
			if hit <= within {
				n++
			}
		}
		found, theory := wilson.Of(n, runs), birthday.Chance(birthday.Sockets, within, birthday.Ports)
		t.Logf("%4d probes: %.1f %% hit (%.1f to %.1f), theory %.1f", within, 100*found.Share, 100*found.Low, 100*found.High, 100*theory)
		if theory < found.Low || theory > found.High {
			t.Errorf("%d probes: %.3f to %.3f hit, theory says %.3f", within, found.Low, found.High, theory)
		}
	}
}

// TestPredictionAgainstTheory: a NAT that counts is foretold always, one that draws is
// searched, and of two that draw nobody probes anything.
func TestPredictionAgainstTheory(t *testing.T) {
	by := func(delta int) nat.Behavior { b := counting; b.Delta = delta; return b }
	for _, row := range []struct {
		name   string
		a, b   nat.Behavior
		path   oracle.Path
		probes int // at most
	}{
		{"counts, port-restricted", counting, portRestricted, oracle.PathDirect, 24},
		{"counts by 2, port-restricted", by(2), portRestricted, oracle.PathDirect, 24},
		{"both count", counting, counting, oracle.PathDirect, 24},
		{"counts, draws", counting, symmetric, oracle.PathRelay, 0},
		{"both draw", symmetric, symmetric, oracle.PathRelay, 0},
	} {
		tr, err := New(Setting{Players: []Player{at(row.a), at(row.b)}, Split: true, Prediction: true, Birthday: true})
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(20) {
			o, err := tr.Run(seed + 1)
			if err != nil {
				t.Fatal(err)
			}
			if p := o.Pairs[0]; p.Path != row.path || p.Predicted != (row.path == oracle.PathDirect) || p.Probes > row.probes {
				t.Errorf("%s, seed %d: %s, foretold %v, %d probes; want %s and %d at most", row.name, seed+1, p.Path, p.Predicted, p.Probes, row.path, row.probes)
			}
		}
	}
}
