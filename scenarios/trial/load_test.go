package trial

import (
	"flag"
	"math"
	"testing"

	"p2pmodel/core/traits"
	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios/wilson"
)

// loadRuns is how many trials a line of the table has.
var loadRuns = flag.Int("load-runs", 40/min(slower, 10), "trials of each line of TestPredictionUnderLoad")

// TestPredictionUnderLoad holds predictions against theory while others make mappings at
// the same NATs. A guess is bracketed by questions that leave with it, so that no load
// matters. In a meeting a side's counter runs on from its own question to its first
// probe; of its sockets one has the port that was named while no more than MeetSockets-1
// others have come in between, which is Poisson's sum.
func TestPredictionUnderLoad(t *testing.T) {
	const guesses = 3
	way := line.Delay.Seconds()
	for _, row := range []struct {
		name string
		easy nat.Behavior
		// windows are from question to probe, of each side that counts.
		windows []float64
	}{
		{"counts, port-restricted", portRestricted, nil},
		// The one that answers sends when its question is answered; the one that begins
		// when it has been told so: its question, the hint, the other's question, the hint.
		{"both count", counting, []float64{8 * way, 2 * way}},
	} {
		for _, load := range []float64{0, 10, 50, 100, 200} {
			one := 1.0
			for _, w := range row.windows {
				one *= poisson(load*w, traits.MeetSockets-1)
			}
			theory := 1 - math.Pow(1-one, guesses)
			tr, err := New(Setting{Players: []Player{at(counting), at(row.easy)}, Split: true, Prediction: true, Birthday: true, Load: load})
			if err != nil {
				t.Fatal(err)
			}
			hits := 0
			for seed := range uint64(*loadRuns) {
				o, err := tr.Run(seed + 1)
				if err != nil {
					t.Fatal(err)
				}
				if o.Pairs[0].Path == oracle.PathDirect && o.Pairs[0].Predicted {
					hits++
				}
			}
			found := wilson.Of(hits, *loadRuns)
			t.Logf("%-24s %3.0f/s: %5.1f %% direct (%.1f to %.1f), theory %.1f", row.name, load, 100*found.Share, 100*found.Low, 100*found.High, 100*theory)
			if found.High < theory-0.03 || found.Low > theory+0.03 {
				t.Errorf("%s, %.0f mappings a second: %.3f to %.3f are direct, theory says %.3f", row.name, load, found.Low, found.High, theory)
			}
		}
	}
}

// poisson is the probability of at most so many events where so many are expected.
func poisson(expected float64, most int) (p float64) {
	term := math.Exp(-expected)
	for i := range most + 1 {
		p += term
		term *= expected / float64(i+1)
	}
	return p
}
