package explore

import (
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
	"p2pmodel/sim/link"
	"p2pmodel/sim/virtual"
)

// Some schedules of each of the first scenarios, on the virtual fabric: nothing is
// broken. `natlab explore` does the same with as many as one likes.
func TestNothingIsBroken(t *testing.T) {
	for _, id := range []string{"TC-01", "TC-02", "TC-03", "TC-04", "TC-05", "TC-06"} {
		x := &Explorer{Scenario: catalogue(t, id), Fabric: virtual.Fabric{}, Bounds: scenarios.DefaultBounds(), Runs: 8, Seed: 1}
		r, err := x.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Broken > 0 || r.Runs != 8 {
			t.Errorf("%s", r)
		}
	}
}

// A report, whatever the number of workers and processors, but for the times of
// this machine.
func TestRunsAreTheSameWhateverTheWorkers(t *testing.T) {
	text := func(workers, processors int) string {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		x := &Explorer{Scenario: catalogue(t, "TC-02"), Fabric: virtual.Fabric{}, Bounds: scenarios.DefaultBounds(), Runs: 6, Seed: 7, Workers: workers}
		r, err := x.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.TookMS = 0
		for _, c := range r.Cases {
			c.Found = 0
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	one := text(1, 1)
	if two := text(3, 2); one != two {
		t.Errorf("one worker:\n%s\nthree:\n%s", one, two)
	}
}

// A case is written as a file, and the file is run again packet by packet: by the
// runner, with the case's seed, and as it stands.
func TestACaseReplays(t *testing.T) {
	tp := newTemplate(catalogue(t, "TC-06"))
	e := &exploration{Explorer: &Explorer{Scenario: tp.sc, Fabric: virtual.Fabric{}, Bounds: scenarios.DefaultBounds(), Seed: 5}, t: tp}
	e.ground = groundOf(tp.sc, tp.lab, tp.stranger)
	s := Schedule{
		{At: 300 * time.Millisecond, Event: e.entryOf(t, scenarios.DisturbMove)},
		{At: time.Second, Server: scenarios.ServerRelay, For: time.Second},
		{At: 2 * time.Second, Event: e.entryOf(t, scenarios.DisturbRebind)},
	}
	c := &Case{Seed: 99, schedule: s, Findings: []Finding{{WrongPath, "nothing"}}}
	first, err := e.play(t.Context(), s, c.Seed, e.tail(s))
	if err != nil {
		t.Fatal(err)
	}
	sc, err := scenarios.Parse("case.yaml", e.write(c))
	if err != nil {
		t.Fatal(err)
	}
	again, err := (&runner.Runner{Fabric: virtual.Fabric{}, Seed: c.Seed, SkipControls: true}).Run(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	want, got := first.res.Run.Packets, again.Run.Packets
	if len(want) < 1000 || len(got) != len(want) {
		t.Fatalf("%d packets at first, %d when run again: %s", len(want), len(got), again.Reason)
	}
	for i := range want {
		if !want[i].At.Equal(got[i].At) || want[i].Point != got[i].Point || !slices.Equal(want[i].Data, got[i].Data) {
			t.Fatalf("packet %d differs: %v %v, and %v %v", i, want[i].At, want[i].Point, got[i].At, got[i].Point)
		}
	}
	x := &Explorer{Scenario: sc, Fabric: virtual.Fabric{}, Bounds: scenarios.DefaultBounds(), Seed: c.Seed}
	found, res, err := x.AsIs(t.Context())
	if err != nil || len(found) > 0 || len(res.Run.Packets) != len(want) {
		t.Errorf("as it stands: found %v, %v", found, err)
	}
}

// entryOf draws an event of a kind.
func (e *exploration) entryOf(t *testing.T, k scenarios.Disturbance) sim.Event {
	t.Helper()
	d := &drawing{ground: e.ground, bounds: e.Bounds, random: rand.New(rand.NewPCG(1, 1)), active: map[string]string{}}
	return d.entry(k).Event
}

// Schedules that once broke something.
func TestCasesThatWereFound(t *testing.T) {
	far := sim.LinkID{Node: "nat-d", Uplink: sim.DefaultUplink}
	for _, c := range []struct {
		name, scenario string
		seed           uint64
		schedule       Schedule
	}{
		{"a session settled on the relay for good", "TC-02", 1, Schedule{
			{Event: sim.Event{Kind: sim.EventRestrict, Host: "d", To: []string{"rendezvous", "relay"}, For: time.Second}},
		}},
		{"a NAT was blamed for a router behind it that had another address", "TC-06", 3326063637157130545, Schedule{
			{At: 200 * time.Millisecond, Event: sim.Event{Kind: sim.EventReboot, Router: "modem", NewAddress: true}},
		}},
		{"a packet and a reboot at one time", "EV-03", 639460058129437699, Schedule{
			{Server: scenarios.ServerRelay, For: 4530 * time.Millisecond},
			{Event: sim.Event{Kind: sim.EventMove, Host: "phone", Uplink: "4g"}},
			{At: 13730 * time.Millisecond, Event: sim.Event{Kind: sim.EventReboot, Router: "cell", NewAddress: true}},
		}},
		{"mappings were not made in the order of the survey's questions", "TC-08", 6241249135906932455, Schedule{
			{At: 50 * time.Millisecond, Event: sim.Event{Kind: sim.EventReboot, Router: "nat-o", NewAddress: true}},
		}},
		{"a search went to a port that was another one by then", "TC-09", 3841484257245004623, Schedule{
			{At: 200 * time.Millisecond, Event: sim.Event{Kind: sim.EventRebind, Router: "nat-r"}},
		}},
		{"nobody searched a second time", "TC-09", 1646660463928798448, Schedule{
			{At: 14700 * time.Millisecond, Event: sim.Event{Kind: sim.EventReboot, Router: "nat-r", NewAddress: true}},
		}},
		{"an introduction came late, and the older of two sessions was chosen", "TC-02", 7919404567743227533, Schedule{
			{At: 3780 * time.Millisecond, Server: scenarios.OnPeer("d")},
			{At: 4980 * time.Millisecond, Event: sim.Event{Kind: sim.EventImpair, Link: sim.LinkID{Node: "d", Uplink: sim.DefaultUplink},
				Impairments: sim.Impairments{Up: link.Impairment{Rate: 147_000}, Down: link.Impairment{Rate: 147_000}}, For: 1140 * time.Millisecond}},
		}},
		{"a relayed address was another peer's after the relay's restart", "MESH-8", 5474953768550175646, Schedule{
			{At: 1500 * time.Millisecond, Server: scenarios.ServerRelay, For: 10 * time.Millisecond},
			{At: 4 * time.Second, Server: scenarios.ServerRendezvous, For: 100 * time.Millisecond},
		}},
		{"a peer of a mesh started anew, and each of the others replaced its session", "MESH-8", 4913191833713684844, Schedule{
			{Server: scenarios.OnPeer("p5")},
		}},
		{"checks got lost both ways", "TC-02", 1, Schedule{{Event: sim.Event{Kind: sim.EventCut, Link: far, For: 20 * time.Millisecond}}}},
	} {
		tp := newTemplate(catalogue(t, c.scenario))
		e := &exploration{Explorer: &Explorer{Scenario: tp.sc, Fabric: virtual.Fabric{}, Bounds: scenarios.DefaultBounds()}, t: tp}
		found, _, err := e.try(t.Context(), c.schedule, c.seed)
		if err != nil || len(found) > 0 {
			t.Errorf("%s: %v %v", c.name, found, err)
		}
	}
}
