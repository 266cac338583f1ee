package lease

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func seeded(seed uint64) func(int) int {
	r := rand.New(rand.NewPCG(seed, 1))
	return r.IntN
}

// TestNobodyHoldsWhatWasTakenOver runs random worlds; see world.check.
func TestNobodyHoldsWhatWasTakenOver(t *testing.T) {
	takeovers, held, length := 0, time.Duration(0), 40*time.Second
	const worlds = 1000
	for seed := range uint64(worlds) {
		w := newWorld(seeded(seed), defects{})
		if wrong := w.run(length); wrong != "" {
			t.Fatalf("seed %d, %d members: %s", seed, w.terms.Members, wrong)
		}
		takeovers += w.takeovers
		held += w.heldTime
	}
	t.Logf("%d worlds of %v: %d takeovers, the lease held %.0f %% of the time", worlds, length, takeovers, 100*float64(held)/float64(worlds*length))
	if takeovers < worlds || held < worlds*length/4 {
		t.Errorf("too little happened to prove anything")
	}
}

// TestShrunk is the same by rapid, which shrinks what fails.
func TestShrunk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "dice") }, defects{})
		if wrong := w.run(8 * time.Second); wrong != "" {
			t.Fatal(wrong)
		}
	})
}

// TestTheModelNoticesMistakes: without each precaution there is a world in which
// two own the same.
func TestTheModelNoticesMistakes(t *testing.T) {
	for name, d := range map[string]defects{
		"a member promises right after its start":            {noGuard: true},
		"a member grants what it may have promised before":   {noRecall: true},
		"clocks drift more than the holder allows for":       {noDrift: true},
		"a member grants what it has promised not to":        {grantsWhatItPromised: true},
		"the register is written whatever its revision is":   {blindWrite: true},
		"the holder counts from the answer, not the sending": {fromReceipt: true},
		"one member is enough":                               {minority: true},
	} {
		t.Run(name, func(t *testing.T) {
			const worlds = 20000
			for seed := range uint64(worlds) {
				if newWorld(seeded(seed), d).run(40*time.Second) != "" {
					t.Logf("noticed in world %d", seed)
					return
				}
			}
			t.Errorf("not noticed in %d worlds", worlds)
		})
	}
}
