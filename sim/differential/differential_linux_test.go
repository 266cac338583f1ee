package differential_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"p2pmodel/nat/table"
	"p2pmodel/sim/differential"
)

var (
	flagSchedules = flag.Int("differential.schedules", 0, "how many random schedules TestSchedules plays; 0: as many as fit into -differential.time")
	flagTime      = flag.Duration("differential.time", 20*time.Second, "for how long TestSchedules plays, where no number is given")
	flagSeed      = flag.Uint64("differential.seed", 0, "the first schedule's seed, the next ones count up; 0: of the time")
	flagRigs      = flag.Int("differential.rigs", 64, "how many routers play at once")
	flagStop      = flag.Int("differential.stop", 5, "after how many disagreements to stop")
)

func needRig(tb testing.TB) *differential.Rig {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("LEFT OUT: needs root to make network namespaces: run `sudo make test`")
	}
	r, err := differential.NewRig()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// fleet is rigs that play side by side: most of the time they wait.
type fleet struct {
	rigs chan *differential.Rig
	n    int
	pair table.Pairing
}

func newFleet(tb testing.TB, n int) *fleet {
	f := &fleet{rigs: make(chan *differential.Rig, n), n: n}
	for range n {
		r := needRig(tb)
		if f.pair == nil {
			pair, err := r.Pairing()
			if err != nil {
				tb.Fatal(err)
			}
			f.pair = pair
		}
		f.rigs <- r
	}
	return f
}

func (f *fleet) play(tb testing.TB, s differential.Schedule, tally *differential.Tally) differential.Result {
	r := <-f.rigs
	defer func() { f.rigs <- r }()
	result, err := differential.Play(r, s, f.pair, tally)
	if err != nil {
		tb.Errorf("%v\n%s", err, s)
	}
	return result
}

// tries is how often a schedule is played to see whether it fails: a NAT that draws
// ports does not do the same each time.
const tries = 6

// fails reports whether a schedule disagrees any of several times, which are played
// side by side, and gives one such time.
func (f *fleet) fails(tb testing.TB, s differential.Schedule) (differential.Result, bool) {
	var wait sync.WaitGroup
	var mu sync.Mutex
	var found []differential.Result
	for range tries {
		wait.Go(func() {
			if r := f.play(tb, s, nil); r.Disagreement != "" {
				mu.Lock()
				found = append(found, r)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(found) == 0 {
		return differential.Result{}, false
	}
	return found[0], true
}

const shrinkBudget = 600

// replays is how often a schedule is played again that could not be judged to its end.
const replays = 2

// The kernel's rules and the model agree on what becomes of every packet of random
// schedules, why it is dropped, and when what they know ends.
func TestSchedules(t *testing.T) {
	f := newFleet(t, *flagRigs)
	tally := differential.NewTally()
	seed := *flagSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) & (1<<40 - 1)
	}
	began := time.Now()
	t.Logf("seeds from %d on; replay one with -run TestSchedules -differential.schedules=1 -differential.seed=N", seed)
	var next atomic.Int64
	var mu sync.Mutex
	var found []string
	more := func() bool {
		mu.Lock()
		defer mu.Unlock()
		if len(found) >= *flagStop {
			return false
		}
		if *flagSchedules > 0 {
			return next.Load() < int64(*flagSchedules)
		}
		return time.Since(began) < *flagTime
	}
	var wait sync.WaitGroup
	for range f.n {
		wait.Go(func() {
			for more() {
				i := next.Add(1) - 1
				if *flagSchedules > 0 && i >= int64(*flagSchedules) {
					return
				}
				s := draw(seed + uint64(i))
				if i%2000 == 1999 {
					fmt.Printf("differential: %d schedules, %.0f a second, %d disagreements\n", i+1, float64(i+1)/time.Since(began).Seconds(), tally.Found())
				}
				result := f.play(t, s, tally)
				for again := 0; again < replays && result.Unjudged != ""; again++ {
					result = f.play(t, s, tally)
				}
				if tally.Add(s, result); result.Disagreement == "" {
					continue
				}
				after, at := tally.Played(), time.Since(began)
				mu.Lock()
				first := len(found) < *flagStop
				found = append(found, "") // the others may end
				place := len(found) - 1
				mu.Unlock()
				if !first {
					continue
				}
				text, small := report(t, f, seed+uint64(i), s, result)
				fmt.Printf("differential: found after %d schedules, %.1f s; shrunk to %d steps, %d packets\n",
					after, at.Seconds(), len(small.Steps), small.Packets())
				mu.Lock()
				found[place] = text
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	took := time.Since(began)
	for _, text := range found {
		if text != "" {
			t.Error(text)
		}
	}
	t.Logf("%d schedules, %d packets, in %v: %.0f schedules a second on %d routers; %d not judged to the end, %d disagreements\n%s",
		tally.Schedules, tally.Packets, took.Round(time.Millisecond), float64(tally.Schedules)/took.Seconds(), f.n, tally.Unjudged, tally.Disagreements, tally)
	t.Log("more of them: sudo make differential N=100000")
	if len(found) == 0 && tally.Schedules >= enough {
		complete(t, tally)
	}
}

// enough is from how many schedules on all has to be covered, once for each so many.
const enough = 1000

// complete fails where something was not met, or too much not judged.
func complete(tb testing.TB, tally *differential.Tally) {
	for _, what := range differential.Wanted() {
		if n := tally.Count(what); n < tally.Schedules/enough {
			tb.Errorf("%s was met %d times only", what, n)
		}
	}
	if tally.Unjudged*4 > tally.Schedules {
		tb.Errorf("%d of %d schedules were not judged to the end: is the machine too busy?", tally.Unjudged, tally.Schedules)
	}
}

// report shrinks a disagreement and says it.
func report(tb testing.TB, f *fleet, seed uint64, s differential.Schedule, first differential.Result) (string, differential.Schedule) {
	fmt.Printf("differential: seed %d: the kernel and the model disagree:\n%s\n%s\n", seed, s, indent(first.String()))
	began := time.Now()
	small, last := s, first
	differential.Shrink(s, shrinkBudget, func(s differential.Schedule) bool {
		r, failed := f.fails(tb, s)
		if failed {
			small, last = s, r
		}
		return failed
	})
	return fmt.Sprintf("seed %d: the kernel and the model disagree, with %d steps (of %d; shrunk in %v):\n%s\n%s",
		seed, len(small.Steps), len(s.Steps), time.Since(began).Round(time.Millisecond), small, indent(last.String())), small
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }

// What was found once stays mended.
func TestCases(t *testing.T) {
	f := newFleet(t, 8)
	for name, s := range cases(t) {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				r := f.play(t, s, nil)
				if r.Disagreement == "" && r.Unjudged == "" {
					return
				}
				if r.Disagreement != "" {
					t.Fatalf("%s\n%s", s, indent(r.String()))
				}
				t.Log(r)
			}
			t.Error("three times it could not be judged")
		})
	}
}
