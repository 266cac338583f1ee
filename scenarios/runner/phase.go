package runner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// window is how many payload datagrams of a pair the observed path is read from,
// half of them each way.
const window = 20

// phase is what happened in one phase.
type phase struct {
	spec scenarios.Phase
	// The phase began; the last action that changes the network began, and was
	// done; from since on payload counts for the observed path; the phase ended.
	begin, changed, done, since, end time.Time
	flaps                            []time.Time // when a link went down, one after another
	deeds                            []*deed     // its actions, those before the start with the first phase's
	disrupted                        bool        // some action may have interrupted payload
	unsettled                        bool        // some action may have changed the paths that there are
	quieted                          bool
	sender                           string // the only peer that spoke; "" when all did
	settled                          bool   // all peers said so before the deadline
	facts                            []string
	duplicates                       int
	// said is how many datagrams each peer had sent to each other at since, and heard
	// how many of the later ones had arrived by the end, as the applications say.
	said, heard map[[2]string]uint64
	scans       []sim.ScanResult // in the order of Expect.Scans
	printed     map[string]int   // how much each program had printed when it began
	endings     map[string]ending
	matched     map[string]bool // of Expect.Output, by program
}

// perform runs one phase to its end. An error means that the laboratory failed.
func (s *stage) perform(ctx context.Context, p *phase, spec scenarios.Phase, number int) error {
	p.spec, p.begin, p.disrupted, p.unsettled = spec, s.net.Now(), false, false
	p.changed, p.done = p.begin, p.begin
	if s.streams != nil {
		p.said = s.sent()
	}
	// The phase lasts for as long as the timeline has something to do in it; the
	// last one for as long as there is anything.
	awaited := []<-chan struct{}{s.timeline.begin(spec.Name)}
	if number == 0 {
		s.whole = s.timeline.begin("")
	}
	if number == len(s.v.phases)-1 {
		awaited = append(awaited, s.whole)
	}
	for _, action := range spec.Actions {
		if err := s.act(ctx, p, action); err != nil {
			return fmt.Errorf("phase %q: %s: %w", spec.Name, action.Kind, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := s.comeToRest(ctx, p, awaited); err != nil {
		return err
	}
	if err := s.awaitPrograms(ctx, p); err != nil {
		return err
	}
	if err := s.scan(ctx, p); err != nil {
		return err
	}
	if err := s.sleep(ctx, s.grace()+s.rtt()); err != nil {
		return err
	}
	p.heard = s.heard(p.said)
	p.end = s.net.Now()
	return nil
}

// comeToRest waits until the peers have settled after the phase's last change, and
// have spoken since; with whatever the timeline does, again.
func (s *stage) comeToRest(ctx context.Context, p *phase, awaited []<-chan struct{}) error {
	if p.sender != "" {
		// What was sent may take a while on the way; nothing else is to be seen.
		p.since = p.changed
		return s.timeline.await(ctx, p, awaited)
	}
	s.quiet(false)
	for again := 0; ; {
		if err := s.timeline.merge(p); err != nil {
			return err
		}
		if err := s.settleSystem(ctx, p); err != nil {
			return err
		}
		p.settled = s.settle(ctx, p)
		p.since = s.net.Now()
		if s.streams != nil {
			p.said = s.sent()
		}
		if err := s.converse(ctx, p); err != nil {
			return err
		}
		before := p.done
		if err := s.timeline.await(ctx, p, awaited); err != nil {
			return err
		}
		switch {
		// What is endless never comes to rest: paths are what they are under it.
		case s.v.endless():
			return nil
		case p.done.After(before):
		case again < mostAgain && s.stoodStill(p.since):
			again++
		default:
			return nil
		}
	}
}

const (
	// longStand is how long a peer may stand still without doubts about its path: what
	// it had asked before is answered late then, by its clock (core/punch has 300 ms).
	longStand = 200 * time.Millisecond
	// mostAgain is how often peers are listened to anew for it.
	mostAgain = 3
)

// stoodStill reports whether the machine let a peer stand still since a time for so long
// that it doubts its path, and uses others for a moment, too: that says nothing of NATs.
func (s *stage) stoodStill(since time.Time) bool {
	for _, a := range s.cast() {
		a.mu.Lock()
		still := slices.ContainsFunc(a.stood, func(x witness.Span) bool { return x.End.After(since) && x.End.Sub(x.Begin) >= longStand })
		a.mu.Unlock()
		if still {
			return true
		}
	}
	return false
}

// settle waits until every pair's checks have settled after the phase's last
// change, or until the deadline.
func (s *stage) settle(ctx context.Context, p *phase) bool {
	limit := p.done.Add(s.patience())
	// A change that no peer notices needs no checks; but a peer has to be given
	// the time in which it would notice.
	noticed := p.done
	if p.unsettled {
		noticed = p.done.Add(s.detection())
	}
	settled := true
	for _, pair := range s.pairs() {
		if !s.actors[pair[0]].isRegistered() || !s.actors[pair[1]].isRegistered() {
			settled = false // nobody introduces them
			continue
		}
		for _, end := range both(pair) {
			a, other := s.actors[end[0]], end[1]
			fresh := func() bool { return a.settled[other].After(p.done) }
			standing := func() bool { return !a.settled[other].IsZero() }
			if p.unsettled && a.wait(ctx, until(s.net.Now(), noticed), fresh) {
				continue
			}
			if !a.wait(ctx, until(s.net.Now(), limit), standing) {
				return false
			}
		}
	}
	return settled
}

// converse lets the peers speak until each has sent the window to every other:
// twice what the path is read from. On a busy machine they stutter, and are
// waited for; but not long, for a peer without a path says nothing.
func (s *stage) converse(ctx context.Context, p *phase) error {
	if len(s.pairs()) == 0 {
		return nil
	}
	if s.v.foreign() {
		return s.observed(ctx, p)
	}
	said := s.sent()
	limit := s.net.Now().Add(settleFloor)
	if err := s.sleep(ctx, window*s.v.settings.Interval); err != nil {
		return err
	}
	if p.spec.Expect.Path == scenarios.None {
		return nil
	}
	for s.net.Now().Before(limit) {
		enough := true
		for way, n := range s.sent() {
			enough = enough && n >= said[way]+window
		}
		if enough && s.heardEnough(said) {
			return nil
		}
		if err := s.sleep(ctx, s.v.settings.Interval); err != nil {
			return err
		}
	}
	return nil
}

// sent is how many datagrams each peer has sent, by peer and destination.
func (s *stage) sent() map[[2]string]uint64 {
	all := map[[2]string]uint64{}
	for _, pair := range s.pairs() {
		for _, way := range both(pair) {
			from, to := s.actors[way[0]], s.actors[way[1]].id
			from.machine.Do(func(time.Time) { all[way] = from.agent.sent(to) })
		}
	}
	return all
}

// both gives a pair from either end.
func both(pair [2]string) [2][2]string { return [2][2]string{pair, {pair[1], pair[0]}} }

// quiet stops or starts all payload.
func (s *stage) quiet(quiet bool) {
	for _, a := range s.cast() {
		if a.machine != nil {
			a.machine.Do(func(now time.Time) { a.agent.setQuiet(now, quiet) })
		}
	}
}

func (s *stage) duplicates() (n int) {
	for _, a := range s.cast() {
		a.mu.Lock()
		n += a.duplicates
		a.mu.Unlock()
	}
	return n
}
