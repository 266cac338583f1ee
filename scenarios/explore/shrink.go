package explore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

// shrink looks for the smallest schedule that breaks the same invariant, with the
// same seed: first with fewer entries, then with simpler ones, as long as something
// helps. It gives the runs that it took.
func (e *exploration) shrink(ctx context.Context, c *Case) (tried int) {
	most := e.Tries
	if most == 0 {
		most = DefaultTries
	}
	kind := c.Findings[0].Invariant
	breaks := func(s Schedule) bool {
		if tried >= most || ctx.Err() != nil || !s.playable() || !s.moves(e.t.lab) {
			return false
		}
		tried++
		found, _, err := e.try(ctx, s, c.Seed)
		if err != nil || ctx.Err() != nil {
			return false
		}
		// It is enough that the invariant is among those that are broken.
		at := slices.IndexFunc(found, func(f Finding) bool { return f.Invariant == kind })
		if at < 0 {
			return false
		}
		found[0], found[at] = found[at], found[0]
		c.schedule, c.Findings = s, found
		return true
	}
	for again := true; again; {
		again = fewer(c.schedule, breaks)
		again = simpler(&c.schedule, breaks) || again
	}
	c.Shrunk = true
	c.text = e.write(c)
	return tried
}

// fewer leaves out entries: halves, quarters, and so on (Zeller's ddmin).
func fewer(s Schedule, breaks func(Schedule) bool) (any bool) {
	for size := (len(s) + 1) / 2; size >= 1; {
		removed := false
		for at := 0; at < len(s); {
			less := slices.Delete(slices.Clone(s), at, min(at+size, len(s)))
			if breaks(less) {
				s, removed, any = less, true, true
				continue
			}
			at += size
		}
		if !removed || size > len(s) {
			size /= 2
		}
	}
	return any
}

// simpler tries for each entry what would be easier to understand.
func simpler(s *Schedule, breaks func(Schedule) bool) (any bool) {
	for i := 0; i < len(*s); i++ {
		for helped := true; helped; {
			helped = false
			for _, e := range (*s)[i].simpler() {
				next := slices.Clone(*s)
				next[i] = e
				if breaks(next) {
					*s, helped, any = next, true, true
					break
				}
			}
		}
	}
	return any
}

// simpler are entries that say less, the simplest first.
func (e Entry) simpler() (all []Entry) {
	add := func(change func(*Entry)) {
		next := e
		change(&next)
		all = append(all, next)
	}
	for _, d := range rounder(e.At, 0) {
		add(func(n *Entry) { n.At = d })
	}
	for _, d := range rounder(e.For, tick) {
		add(func(n *Entry) { n.For = d })
	}
	v := e.Event
	for _, f := range []struct {
		now  time.Duration
		low  time.Duration
		set  func(*sim.Event, time.Duration)
		none bool // it may be left out
	}{
		{v.For, tick, func(v *sim.Event, d time.Duration) { v.For = d }, false},
		{v.Gap, tick, func(v *sim.Event, d time.Duration) { v.Gap = d }, true},
		{v.Overlap, tick, func(v *sim.Event, d time.Duration) { v.Overlap = d }, true},
		{v.Down, tick, func(v *sim.Event, d time.Duration) { v.Down = d }, false},
		{v.Up, tick, func(v *sim.Event, d time.Duration) { v.Up = d }, false},
	} {
		if f.now == 0 {
			continue
		}
		if f.none {
			add(func(n *Entry) { f.set(&n.Event, 0) })
		}
		for _, d := range rounder(f.now, f.low) {
			add(func(n *Entry) { f.set(&n.Event, d) })
		}
	}
	switch v.Kind {
	case sim.EventFlap:
		add(func(n *Entry) { n.Event = sim.Event{Kind: sim.EventCut, Link: v.Link, For: e.lasting()} })
		if v.Times > 2 {
			add(func(n *Entry) { n.Event.Times = v.Times / 2 })
		}
	case sim.EventReboot:
		if v.NewAddress {
			add(func(n *Entry) { n.Event.NewAddress = false })
		}
		add(func(n *Entry) { n.Event = sim.Event{Kind: sim.EventFlush, Router: v.Router} })
	case sim.EventRebind:
		if v.Host != "" {
			add(func(n *Entry) { n.Event.Host = "" })
		}
	case sim.EventInject:
		if v.Seed > 1 {
			add(func(n *Entry) { n.Event.Seed = 1 })
		}
		if slower := 2 * v.Every; slower < v.For {
			add(func(n *Entry) { n.Event.Every = slower })
		}
	case sim.EventImpair:
		for _, i := range simplerImpairments(v.Impairments) {
			add(func(n *Entry) { n.Event.Impairments = i })
		}
	}
	return slices.DeleteFunc(all, func(n Entry) bool { return n.String() == e.String() })
}

// rounder are times below d that are shorter to say, down to low.
func rounder(d, low time.Duration) (all []time.Duration) {
	if d <= low {
		return nil
	}
	for _, unit := range []time.Duration{time.Second, 500 * time.Millisecond, 100 * time.Millisecond} {
		if r := d.Truncate(unit); r != d && r >= low && !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	if half := (d / 2).Truncate(tick); half >= low && half < d {
		all = append(all, half)
	}
	return all
}

// simplerImpairments leave out what is done to one direction, or all but losses.
func simplerImpairments(i sim.Impairments) (all []sim.Impairments) {
	if i.Up != i.Down {
		all = append(all, sim.Impairments{Up: i.Up, Down: i.Up}, sim.Impairments{Up: i.Down, Down: i.Down})
	}
	less := func(change func(*link.Impairment)) {
		next := i
		change(&next.Up)
		change(&next.Down)
		if next != i {
			all = append(all, next)
		}
	}
	less(func(k *link.Impairment) {
		if !k.Reorder {
			k.Jitter = 0
		}
	})
	less(func(k *link.Impairment) {
		if k.Loss > 0 {
			k.Loss = float64(int(k.Loss*10)) / 10
		}
	})
	return all
}

// write gives the case as a scenario file.
func (e *exploration) write(c *Case) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "Found by natlab explore %s --seed %d, in run %d. What is broken:\n", e.Scenario.ID, e.Seed, c.Run)
	for _, f := range c.Findings {
		for line := range strings.Lines(f.String()) {
			fmt.Fprintf(&b, "  %s\n", strings.TrimRight(line, "\n"))
		}
	}
	fmt.Fprintf(&b, "Again, packet by packet: natlab run --fabric %s --skip-controls --seed %d FILE\n", e.Fabric.Name(), c.Seed)
	fmt.Fprintf(&b, "The invariants of it:     natlab explore --as-is --seed %d FILE\n", c.Seed)
	path := e.t.pathOf(c.schedule)
	return e.t.text(c.schedule, e.tail(c.schedule), path, b.String())
}
