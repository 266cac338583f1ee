//go:build linux

package differential

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// Tally counts what schedules have covered. It is safe for concurrent use; a nil one
// counts nothing.
type Tally struct {
	mu      sync.Mutex
	counts  map[string]int
	reasons map[string]int
	// early, late and ends are how much earlier or later than by the model things ended
	// on the kernel at most, by its lists, and how many there were.
	early, late time.Duration
	ends        int
	// Schedules, Packets, Unjudged and Disagreements count.
	Schedules, Packets, Unjudged, Disagreements int
}

// NewTally makes an empty one.
func NewTally() *Tally { return &Tally{counts: make(map[string]int), reasons: make(map[string]int)} }

// covered are the axes whose values are words; of others it counts whether they are
// the default.
var covered = []nat.Axis{
	nat.AxisMapping, nat.AxisFiltering, nat.AxisPorts, nat.AxisFallback, nat.AxisParity, nat.AxisScope,
	nat.AxisPooling, nat.AxisRefresh, nat.AxisHairpin, nat.AxisFull, nat.AxisKind, nat.AxisEarly,
}

var numbers = []nat.Axis{
	nat.AxisDelta, nat.AxisBlock, nat.AxisRange, nat.AxisTimeout, nat.AxisStream, nat.AxisTimeoutTCP,
	nat.AxisTimeoutICMP, nat.AxisRotate, nat.AxisSize,
}

// count notes a packet that was judged.
func (t *Tally) count(b nat.Behavior, v table.Verdict, s Step) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Packets++
	for _, a := range covered {
		t.counts[fmt.Sprintf("%s=%s", a, b.Get(a))]++
	}
	for _, a := range numbers {
		if value, standard := b.Get(a), (nat.Behavior{Kind: b.Kind}).Get(a); value != standard {
			t.counts[fmt.Sprintf("%s=…", a)]++
		}
	}
	t.counts["packet "+s.Protocol.String()+" "+s.Do.String()]++
	if s.Same {
		t.counts["packet at the same instant"]++
	}
	if v.Hairpin {
		t.counts["packet hairpin "+b.Get(nat.AxisHairpin)+": "+v.Drop.String()]++
	}
	t.counts["verdict "+v.Drop.String()]++
}

// Add notes a schedule that was played.
func (t *Tally) Add(s Schedule, r Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Schedules++
	for _, step := range s.Steps[:min(r.Step, len(s.Steps))] {
		if step.Do > In {
			t.counts["step "+step.Do.String()]++
		}
	}
	switch {
	case r.Disagreement != "":
		t.Disagreements++
	case r.Unjudged != "":
		t.Unjudged++
		t.reasons[r.Unjudged]++
	}
}

// apart notes how much later than by the model something ends on the kernel.
func (t *Tally) apart(d time.Duration) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ends++
	t.early, t.late = min(t.early, d), max(t.late, d)
}

// Count gives how often something was met: "mapping=EIM", "verdict filtered".
func (t *Tally) Count(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[what]
}

// Played gives how many schedules were played.
func (t *Tally) Played() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Schedules
}

// Found gives how many schedules disagreed.
func (t *Tally) Found() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Disagreements
}

// Wanted is all that has to be met: every value of every axis, every reason for which
// the model drops, and every step. What rules cannot do is not among it.
func Wanted() []string {
	var all []string
	for _, a := range covered {
		for _, v := range a.Values() {
			if a != nat.AxisFull || v != "evict" {
				all = append(all, fmt.Sprintf("%s=%s", a, v))
			}
		}
	}
	for _, a := range numbers {
		all = append(all, fmt.Sprintf("%s=…", a))
	}
	for d := table.Passed; d <= table.HairpinRefused; d++ {
		all = append(all, "verdict "+d.String())
	}
	for k := Wait; k <= Swap; k++ {
		all = append(all, "step "+k.String())
	}
	all = append(all, "packet at the same instant")
	for p := table.UDP; p <= table.ICMPEcho; p++ {
		all = append(all, "packet "+p.String()+" out", "packet "+p.String()+" in")
	}
	return all
}

// String is a table of all that was met, and why what was not judged was not.
func (t *Tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := Wanted()
	for k := range t.counts {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "  %-40s %9d\n", k, t.counts[k])
	}
	fmt.Fprintf(&b, "  %d ends of mappings and filters' entries, by the kernel's lists: from %v to %v later than by the model\n",
		t.ends, t.early.Round(time.Microsecond), t.late.Round(time.Microsecond))
	for why, n := range t.reasons {
		fmt.Fprintf(&b, "  not judged: %-60s %6d\n", why, n)
	}
	return b.String()
}
