package runner

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// logbook collects the lines of a run's log, from any goroutine.
type logbook struct {
	mu    sync.Mutex
	lines []scenarios.LogLine
}

func (l *logbook) add(at time.Time, from, text string) {
	if text == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, scenarios.LogLine{At: at, From: from, Text: text})
}

// sorted gives the lines by time.
func (l *logbook) sorted() []scenarios.LogLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.lines)
	slices.SortStableFunc(out, func(a, b scenarios.LogLine) int { return a.At.Compare(b.At) })
	return out
}

// observe notes what a peer says. It runs in the goroutine of the peer's machine.
// Nothing here decides on a path: that is for the witness.
func (s *stage) observe(a *actor, at time.Time, e sansio.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch e := e.(type) {
	case heard:
		switch {
		case e.Confused:
			a.confused++
		case e.Again:
			a.duplicates++
		}
		return
	case stood:
		a.stood = append(a.stood, witness.Span(e))
		return
	case peer.RelayFailed:
		if a.relayFailed.IsZero() {
			a.relayFailed = at
		}
	case peer.Registered:
		a.registered = true
	case peer.Introduced:
		other := s.byID[e.Peer]
		if a.introduced[other].IsZero() {
			a.introduced[other] = at
		}
		session := hex.EncodeToString(e.Session[:])
		if !slices.ContainsFunc(a.sessions[other], func(m met) bool { return m.session == session }) {
			a.sessions[other] = append(a.sessions[other], met{session, at})
		}
		a.settled[other] = time.Time{}
	case peer.Settled:
		a.settled[s.byID[e.Peer]] = at
	case peer.Attempted:
		if e.Technique == peer.Birthday && e.Sockets == 0 {
			a.searches = append(a.searches, scenarios.SearchResult{By: a.name, For: s.byID[e.Peer], Probes: e.Probes, Hit: e.Hit})
		}
	case peer.PathLost:
		a.settled[s.byID[e.Peer]] = time.Time{}
	}
	s.log.add(at, a.name, describe(e, s.byID))
	a.stir()
}

func (a *actor) isRegistered() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.registered
}

// stood are the times in which either peer of a pair was to speak, and the machine
// did not let it. Who does not speak does not answer either: no path can be found
// then that needs both.
func (s *stage) stood(pair [2]string) (all []witness.Span) {
	for _, peer := range pair {
		if a := s.actors[peer]; a != nil {
			a.mu.Lock()
			all = append(all, a.stood...)
			a.mu.Unlock()
		}
	}
	return all
}

// searches are those that were made for ports, by peer.
func (s *stage) searches() (all []scenarios.SearchResult) {
	for _, name := range slices.Sorted(maps.Keys(s.actors)) {
		a := s.actors[name]
		a.mu.Lock()
		all = append(all, a.searches...)
		a.mu.Unlock()
	}
	return all
}

// relayFailed is when a peer first gave up on an allocation; zero: never.
func (s *stage) relayFailed(peer string) time.Time {
	a := s.actors[peer]
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.relayFailed
}

// wait waits until cond holds, which is called with the actor locked and again
// after each of its events; false when ctx ends or the time is over.
func (a *actor) wait(ctx context.Context, limit time.Duration, cond func() bool) bool {
	deadline := a.clock.Now().Add(limit)
	for {
		a.mu.Lock()
		ok, changed := cond(), a.changed
		a.mu.Unlock()
		if ok {
			return true
		}
		if a.clock.Wait(ctx, changed, max(deadline.Sub(a.clock.Now()), 0)) != nil {
			return false
		}
	}
}

// describe puts an event of a machine into words.
func describe(e sansio.Event, names map[identity.ID]string) string {
	if s, ok := e.(fmt.Stringer); ok {
		return s.String()
	}
	name := func(id identity.ID) string {
		if n, known := names[id]; known {
			return n
		}
		return id.Short()
	}
	switch e := e.(type) {
	case peer.Registered:
		return fmt.Sprintf("registered, seen as %v", e.Reflexive)
	case peer.RelayReady:
		return fmt.Sprintf("allocated %v on the relay", e.Relayed)
	case peer.KeepaliveLearned:
		return fmt.Sprintf("keeps paths alive each %v: idle mappings lived for %v, and were dead after %v (0: none was)", e.Interval, e.Alive, e.Dead)
	case peer.RelayFailed:
		return fmt.Sprintf("no relay: %v", e.Err)
	case peer.Introduced:
		return fmt.Sprintf("introduced to %s, session %x", name(e.Peer), e.Session[:4])
	case peer.PathChanged:
		return fmt.Sprintf("path to %s: %v → %v", name(e.Peer), e.Old, e.New)
	case peer.Settled:
		return fmt.Sprintf("checks with %s settled on %v", name(e.Peer), e.Path)
	case peer.PathLost:
		return fmt.Sprintf("path to %s lost after %v of silence", name(e.Peer), e.After.Round(time.Millisecond))
	}
	return fmt.Sprintf("%T %+v", e, e)
}
