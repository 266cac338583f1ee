package explore

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

func catalogue(tb testing.TB, id string) *scenarios.Scenario {
	tb.Helper()
	all, err := scenarios.Catalogue()
	if err != nil {
		tb.Fatal(err)
	}
	for _, sc := range all {
		if sc.ID == id {
			return sc
		}
	}
	tb.Fatalf("no scenario %s", id)
	return nil
}

// What is drawn is within its bounds, can be played, is the same for the same
// numbers, and can be said by a scenario file: of each that has peers of our own.
func TestDrawnSchedulesAreScenarios(t *testing.T) {
	all, err := scenarios.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[sim.EventKind]int{}
	explored := 0
	for _, sc := range all {
		x := &Explorer{Scenario: sc, Bounds: scenarios.DefaultBounds()}
		if x.Check() != nil {
			continue
		}
		explored++
		tp := newTemplate(sc)
		g := groundOf(sc, tp.lab, tp.stranger)
		for seed := range uint64(60) {
			b := scenarios.DefaultBounds()
			b.Most = 12
			s := draw(g, b, rand.New(rand.NewPCG(seed, 1)))
			if again := draw(g, b, rand.New(rand.NewPCG(seed, 1))); !slices.Equal(again.words(), s.words()) {
				t.Fatalf("%s, seed %d: drawn twice:\n%v\n%v", sc.ID, seed, s.words(), again.words())
			}
			if len(s) == 0 || len(s) > b.Most || !s.playable() || !s.moves(tp.lab) {
				t.Errorf("%s, seed %d: %d entries, playable %v, moves %v: %v", sc.ID, seed, len(s), s.playable(), s.moves(tp.lab), s.words())
			}
			for _, e := range s {
				kinds[e.Event.Kind]++
				if e.At < 0 || e.At >= b.Last || e.lasting() > b.Outage+10*tick || e.At%tick != 0 {
					t.Errorf("%s, seed %d: out of bounds: %v", sc.ID, seed, e)
				}
				for _, i := range []link.Impairment{e.Event.Impairments.Up, e.Event.Impairments.Down} {
					if i.Loss > max(b.Loss, 0.02) || i.Corrupt > b.Loss || i.Burst.P > b.Loss {
						t.Errorf("%s, seed %d: more loss than allowed: %v", sc.ID, seed, e)
					}
				}
			}
			if _, err := tp.scenario(s, time.Second); err != nil {
				t.Errorf("%s, seed %d: %v\n%s", sc.ID, seed, err, tp.text(s, time.Second, scenarios.Mixed, ""))
			}
		}
	}
	if explored < 10 {
		t.Errorf("only %d scenarios of the catalogue can be explored", explored)
	}
	for _, k := range []sim.EventKind{
		"", sim.EventCut, sim.EventBlackhole, sim.EventFlap, sim.EventFlush, sim.EventRebind, sim.EventReboot, sim.EventMove,
		sim.EventPartition, sim.EventRestrict, sim.EventInject, sim.EventImpair,
	} {
		if kinds[k] == 0 {
			t.Errorf("no schedule has a %q", k)
		}
	}
}

// A schedule is written as what a person would write, and means the same.
func TestScheduleAsAFile(t *testing.T) {
	tp := newTemplate(catalogue(t, "TC-05"))
	nat := sim.LinkID{Node: "nat-i", Uplink: sim.DefaultUplink}
	relay := sim.LinkID{Node: "relay", Uplink: sim.DefaultUplink}
	s := Schedule{
		{At: 4 * time.Second, Server: scenarios.ServerRelay, For: 2 * time.Second},
		{At: time.Second, Quiet: true, For: 1500 * time.Millisecond},
		{At: 2 * time.Second, Event: sim.Event{Kind: sim.EventCut, Link: nat, For: time.Second}},
		{At: 500 * time.Millisecond, Event: sim.Event{Kind: sim.EventImpair, Link: relay, For: time.Second, Impairments: sim.Impairments{Up: link.Impairment{Loss: 0.2}, Down: link.Impairment{Loss: 0.2}}}},
		{Event: sim.Event{Kind: sim.EventInject, Host: tp.stranger, Every: 10 * time.Millisecond, For: time.Second, Seed: 3}},
	}
	text := tp.text(s, 10*time.Second, scenarios.Direct, "one line\nanother")
	for _, want := range []string{
		"# one line\n# another\nid: TC-05-explored\n",
		"    relay: {}\n    stranger: {}\n",
		"timeout=2s", // as its scale has it
		"keepalive: 500ms",
		"do:\n      - wait: 1s\n      - quiet: 1.5s\n      - wait: 1.5s\n      - stop: relay\n      - wait: 2s\n      - restart: relay\n      - wait: 10s\n",
		"events:\n  - {at: 0s, inject: {host: \"stranger\", every: 10ms, for: 1s, seed: 3}}\n  - {at: 500ms, impair: {link: \"relay\", loss: 20%, for: 1s}}\n  - {at: 2s, cut: {link: \"nat-i\", for: 1s}}\n",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the file has no %q:\n%s", want, text)
		}
	}
	sc, err := scenarios.Parse("x.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if got := scheduleOf(sc); len(got) != 6 || got.changes() != 0 { // stop and restart are two
		t.Errorf("the file is read as %v", got.words())
	}
}

// What would leave the network impaired, or do two things at once that cannot be,
// is no schedule.
func TestPlayable(t *testing.T) {
	impair := func(at, last time.Duration, node string) Entry {
		return Entry{At: at, Event: sim.Event{Kind: sim.EventImpair, Link: sim.LinkID{Node: node}, For: last}}
	}
	move := func(at, gap time.Duration, uplink string) Entry {
		return Entry{At: at, Event: sim.Event{Kind: sim.EventMove, Host: "mobile", Uplink: uplink, Gap: gap}}
	}
	for _, test := range []struct {
		name string
		s    Schedule
		want bool
	}{
		{"one link after the other", Schedule{impair(0, 1, "a"), impair(2, 1, "a")}, true},
		{"two links at once", Schedule{impair(0, 5, "a"), impair(2, 1, "b")}, true},
		{"one link at once", Schedule{impair(0, 5, "a"), impair(2, 1, "a")}, false},
		{"one link, back to back", Schedule{impair(0, 2, "a"), impair(2, 1, "a")}, false},
		{"two servers at once", Schedule{{At: 0, Server: "relay", For: 3}, {At: 1, Server: "rendezvous", For: 1}}, false},
		{"a server that dies in silence", Schedule{{At: 0, Quiet: true, For: 3}, {At: 1, Server: "relay", For: 1}}, false},
		{"a handover in another", Schedule{move(0, 5, "wifi"), move(2, 0, "4g")}, false},
		{"there and back", Schedule{move(0, 1, "wifi"), move(2, 0, "4g")}, true},
	} {
		if got := test.s.playable(); got != test.want {
			t.Errorf("%s: playable %v, want %v", test.name, got, test.want)
		}
	}
	lab := catalogue(t, "TC-06").Lab
	for _, test := range []struct {
		name string
		s    Schedule
		want bool
	}{
		{"to where it is", Schedule{move(0, 0, "4g")}, false},
		{"there and back", Schedule{move(2, 0, "4g"), move(0, 0, "wifi")}, true},
		{"there and there", Schedule{move(2, 0, "wifi"), move(0, 0, "wifi")}, false},
	} {
		if got := test.s.moves(lab); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// Shrinking finds the two entries of twelve that matter, and the roundest times at
// which they still do.
func TestShrinkingLeavesWhatMatters(t *testing.T) {
	s := draw(groundOf(catalogue(t, "TC-05"), catalogue(t, "TC-05").Lab, "x"), scenarios.Bounds{
		Last: 20 * time.Second, Most: 1, Outage: time.Second, Kinds: []scenarios.Disturbance{scenarios.DisturbQuiet},
	}, rand.New(rand.NewPCG(1, 1)))
	for i := range 12 {
		s = append(s, Entry{At: time.Duration(i) * 1370 * time.Millisecond, Event: sim.Event{Kind: sim.EventCut, Link: sim.LinkID{Node: "a"}, For: 870 * time.Millisecond}})
	}
	s[4].Event.Link.Node, s[9].Event.Link.Node = "first", "second"
	runs := 0
	var last Schedule
	breaks := func(s Schedule) bool {
		runs++
		first := slices.IndexFunc(s, func(e Entry) bool { return e.Event.Link.Node == "first" && e.lasting() >= 300*time.Millisecond })
		second := slices.IndexFunc(s, func(e Entry) bool { return e.Event.Link.Node == "second" && e.At >= 2*time.Second })
		if first < 0 || second < 0 {
			return false
		}
		last = s
		return true
	}
	last = s
	for again := true; again; {
		again = fewer(last, breaks)
		again = simpler(&last, breaks) || again
	}
	want := "at 0s: cut link=first for=500ms\nat 2s: cut link=second for=10ms"
	if got := strings.Join(last.words(), "\n"); got != want {
		t.Errorf("after %d runs:\n%s\nwant\n%s", runs, got, want)
	}
	if runs > 100 {
		t.Errorf("it took %d runs", runs)
	}
}
