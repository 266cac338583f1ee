package virtual_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim"
)

const impaired = `
lab:
  routers: {home: {nat: full-cone}}
  hosts: {a: {behind: home}, b: {}, plain: {}}
  links:
    a: {delay: 20ms, jitter: 5ms, loss: 10%, duplicate: 5%}
    home: {up: {rate: 1Mbit/s, delay: 3ms}}
    b: {delay: 7ms}
    plain: {}
`

func TestLinksAreMeasured(t *testing.T) {
	n := stand(t, impaired, sim.Options{Seed: 1})
	all, err := n.Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range all {
		got = append(got, m.Link.String()+" "+string(m.Direction))
		if m.Achieved != m.Expected {
			t.Errorf("%v: what the model gives is not what packets meet", m)
		}
	}
	if want := "a up,a down,b up,b down,home up"; sorted(got) != sorted(strings.Split(want, ",")) {
		t.Errorf("measured were %q, want %s", got, want)
	}
	if err := sim.Kept(all); err != nil {
		t.Error(err)
	}
	for _, m := range all {
		switch m.Link.Node {
		case "a":
			if m.Sent != 100 || m.Lost < 2 || m.Lost > 25 || m.Achieved < 15*time.Millisecond || m.Achieved > 25*time.Millisecond {
				t.Errorf("%v", m)
			}
		case "b":
			if m.Sent != 100 || m.Lost != 0 || m.Achieved != 7*time.Millisecond {
				t.Errorf("%v", m)
			}
		}
	}
	if len(n.Packets()) > 0 {
		t.Error("probes were captured")
	}
	if drops, err := n.Drops(); err != nil || len(drops) > 0 {
		t.Errorf("probes were told as drops: %v (%v)", drops, err)
	}
	if l, err := n.Link(sim.LinkID{Node: "b"}); err != nil {
		t.Fatal(err)
	} else if err := l.Cut(); err != nil {
		t.Fatal(err)
	}
	if again, err := n.Measure(t.Context()); err != nil || len(again) != 3 {
		t.Errorf("with one link cut %d directions were measured, want 3 (%v)", len(again), err)
	}
}

func sorted(list []string) string { return strings.Join(slices.Sorted(slices.Values(list)), ",") }

// What becomes of packets does not depend on whether links were measured.
func TestMeasuringLeavesNoTrace(t *testing.T) {
	play := func(measure bool) (arrived []string) {
		n := stand(t, impaired, sim.Options{Seed: 5})
		echo := server(t, n, "b")
		c := client(t, n, "a")
		for i := range 200 {
			if measure && i%50 == 0 {
				if _, err := n.Measure(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			began := n.Now()
			c.heard = nil
			c.say(echo, "x")
			pass(t, n, 200*time.Millisecond)
			for _, s := range c.heard {
				arrived = append(arrived, s.at.Sub(began).String())
			}
			arrived = append(arrived, ".")
		}
		l, err := n.Link(sim.LinkID{Node: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if up, _ := l.Counts(); up.Offered != 200 {
			t.Errorf("the link counts %d packets, want 200", up.Offered)
		}
		return arrived
	}
	with, without := play(true), play(false)
	if !slices.Equal(with, without) {
		t.Errorf("with measurements\n%v\nwithout\n%v", with, without)
	}
}
