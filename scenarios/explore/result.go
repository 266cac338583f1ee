package explore

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// Report is what an exploration came to.
type Report struct {
	Scenario string `json:"scenario"`
	Fabric   string `json:"fabric"`
	Seed     uint64 `json:"seed"`
	Version  string `json:"version,omitempty"`
	// Runs are those that were done, of Planned; Broken of them broke an invariant.
	Runs    int `json:"runs"`
	Planned int `json:"planned"`
	Broken  int `json:"broken"`
	// Tries are runs that shrinking took besides.
	Tries int `json:"tries"`
	// By counts the runs by the invariant that they broke first.
	By map[Invariant]int `json:"by,omitempty"`
	// Recovered says how long after the end of their schedules runs were well again,
	// for half of them, for all but one in a hundred, and at most, in ms.
	Recovered struct {
		P50  float64 `json:"p50_ms"`
		P99  float64 `json:"p99_ms"`
		Most float64 `json:"most_ms"`
	} `json:"recovered"`
	Cases  []*Case `json:"cases,omitempty"`
	TookMS float64 `json:"took_ms"`
}

// Case is a run that broke an invariant.
type Case struct {
	Run  int    `json:"run"`
	Seed uint64 `json:"seed"` // with which it is run again
	// Findings are those of the shrunk schedule, or of the drawn one where it was not
	// shrunk.
	Findings []Finding `json:"findings"`
	// Drawn is how many disturbances were drawn, Entries those that are left, in words.
	Drawn   int      `json:"drawn"`
	Entries []string `json:"entries"`
	// Shrunk tells a case that was shrunk, and has a file, from one of which the seed
	// is told only.
	Shrunk bool `json:"shrunk"`
	// Found is the time from the beginning of the exploration until the run had ended.
	Found time.Duration `json:"found_ns"`
	// File is where the case was written; empty: nowhere.
	File string `json:"file,omitempty"`

	schedule Schedule
	shrinks  bool
	text     []byte
}

// Text is the case as a scenario file; nil where it was not shrunk.
func (c *Case) Text() []byte { return c.text }

// words are the entries in a line each.
func (s Schedule) words() (lines []string) {
	for _, e := range s.sorted() {
		lines = append(lines, e.String())
	}
	return lines
}

// String is one line: "at 1.2s: cut link=a for=1s".
func (e Entry) String() string {
	switch {
	case e.Quiet:
		return fmt.Sprintf("at %v: quiet for=%v", e.At, e.For)
	case e.Server != "":
		if name, ok := e.restarted(); ok {
			return fmt.Sprintf("at %v: %s starts anew", e.At, name)
		}
		return fmt.Sprintf("at %v: %s down for=%v", e.At, e.Server, e.For)
	}
	return fmt.Sprintf("at %v: %s", e.At, e.Event)
}

// report gives what was found so far, cases in the order of their runs.
func (e *exploration) report(took time.Duration) *Report {
	r := &Report{
		Scenario: e.Scenario.ID, Fabric: e.Fabric.Name(), Seed: e.Seed, Runs: e.ended, Planned: e.Runs,
		Broken: e.broken, Tries: e.tries, By: map[Invariant]int{}, Cases: e.cases, TookMS: milliseconds(took),
	}
	slices.SortFunc(r.Cases, func(a, b *Case) int { return a.Run - b.Run })
	for _, c := range r.Cases {
		r.By[c.Findings[0].Invariant]++
		c.Entries = c.schedule.words()
	}
	if all := slices.Sorted(slices.Values(e.recovery)); len(all) > 0 {
		at := func(q float64) float64 { return milliseconds(all[int(q*float64(len(all)-1))]) }
		r.Recovered.P50, r.Recovered.P99, r.Recovered.Most = at(0.5), at(0.99), at(1)
	}
	return r
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// String tells people what came of it.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d schedules in %v, seed %d: ", r.Scenario, r.Runs, r.Planned,
		(time.Duration(r.TookMS) * time.Millisecond).Round(100*time.Millisecond), r.Seed)
	if r.Broken == 0 {
		b.WriteString("no invariant was broken\n")
	} else {
		fmt.Fprintf(&b, "%d broke an invariant\n", r.Broken)
	}
	if r.Runs > 0 {
		fmt.Fprintf(&b, "well again after %.0f ms for half of them, %.0f ms for all but one in a hundred, %.0f ms at most\n",
			r.Recovered.P50, r.Recovered.P99, r.Recovered.Most)
	}
	others := map[Invariant][]string{}
	var order []Invariant
	for _, c := range r.Cases {
		if !c.Shrunk {
			kind := c.Findings[0].Invariant
			if others[kind] == nil {
				order = append(order, kind)
			}
			others[kind] = append(others[kind], fmt.Sprint(c.Seed))
			continue
		}
		fmt.Fprintf(&b, "\n✗ run %d, seed %d\n", c.Run, c.Seed)
		for _, f := range c.Findings {
			fmt.Fprintf(&b, "    %s\n", strings.ReplaceAll(f.String(), "\n", "\n      "))
		}
		fmt.Fprintf(&b, "  %d of %d disturbances are enough:\n", len(c.Entries), c.Drawn)
		for _, line := range c.Entries {
			fmt.Fprintf(&b, "    %s\n", line)
		}
		if c.File != "" {
			fmt.Fprintf(&b, "  natlab run --fabric %s --seed %d %s\n", r.Fabric, c.Seed, c.File)
		}
	}
	for _, kind := range order {
		seeds := others[kind]
		more := ""
		if len(seeds) > 5 {
			seeds, more = seeds[:5], " …"
		}
		fmt.Fprintf(&b, "\n%d more broke %s, which were not shrunk: seeds %s%s\n", len(others[kind]), kind, strings.Join(seeds, ", "), more)
	}
	return b.String()
}

// lookBack is how long before the end of a schedule payload is looked at: beyond it
// nothing is on its way any more.
const lookBack = 5 * time.Second

// recovered is how long after the end of the schedule payload last did not arrive by
// the path that it took in the end, at worst over all pairs.
func (o *outcome) recovered() (worst time.Duration) {
	run := o.res.Run
	if len(run.Phases) == 0 {
		return 0
	}
	end := run.Phases[0].Begin.Add(o.schedule.end())
	scene := witness.Scene{Rendezvous: run.Plan.Addresses(o.sc.Rendezvous, sim.DefaultUplink)}
	for _, host := range o.sc.RelayHosts() {
		scene.Relay = append(scene.Relay, run.Plan.Addresses(host, sim.DefaultUplink)...)
	}
	for _, h := range o.sc.Lab.Hosts {
		scene.Hosts = append(scene.Hosts, h.Name)
	}
	host := map[string]string{}
	for _, p := range o.sc.Peers {
		host[p.Name] = p.Host
	}
	var pairs [][2]string
	for _, pair := range o.sc.Pairs() {
		pairs = append(pairs, [2]string{host[pair[0]], host[pair[1]]})
	}
	// What was sent long before the end says nothing of it.
	from, _ := slices.BinarySearchFunc(run.Packets, end.Add(-lookBack), func(p witness.Packet, at time.Time) int { return p.At.Compare(at) })
	deliveries, err := witness.DeliveriesOf(run.Packets[from:], scene, pairs)
	if err != nil {
		return 0
	}
	for _, all := range deliveries {
		arrived := slices.DeleteFunc(all, witness.Delivery.Lost)
		if len(arrived) == 0 {
			continue
		}
		final := arrived[len(arrived)-1].Path
		for _, d := range slices.Backward(arrived) {
			if d.Path != final {
				worst = max(worst, d.Sent.Sub(end))
				break
			}
		}
		// Before the first that arrived after the end, nothing did.
		for i, d := range arrived {
			if !d.Arrived.Before(end) {
				if i > 0 && arrived[i-1].Arrived.Before(end) {
					worst = max(worst, d.Arrived.Sub(end))
				}
				break
			}
		}
	}
	return worst
}
