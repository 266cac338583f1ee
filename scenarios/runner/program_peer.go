package runner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/adapter"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// startForeign starts the peers that are programs: all at once, since each may wait
// for another.
func (s *stage) startForeign(ctx context.Context) error {
	for _, p := range s.v.scenario.Peers {
		a := newActor(p, identity.ID{}, s.net)
		a.registered = true // where it registers, and whether, is its business
		s.actors[p.Name] = a
	}
	s.speaking = s.net.Now()
	for _, p := range s.v.scenario.Peers {
		if err := s.startProgram(ctx, p.Program, s.actors[p.Name]); err != nil {
			return err
		}
	}
	for _, p := range s.v.scenario.Peers {
		if err := s.awaitReady(ctx, s.programs.all[p.Name]); err != nil {
			return err
		}
	}
	return nil
}

// event takes a line of a program with an adapter; false: it is one of its log.
func (s *stage) event(p *program, a *actor, l sim.Line) bool {
	e, ok, err := adapter.Decode([]byte(l.Text))
	if !ok {
		return false
	}
	if err == nil && a != nil && e.Peer != "" && (e.Peer == a.name || s.actors[e.Peer] == nil) {
		err = fmt.Errorf("the event %q is about %q, which is no other peer", e.Kind, e.Peer)
	}
	if err != nil {
		if text, ok := p.out.add(l); ok {
			s.log.add(l.At, p.spec.Name, text+" ("+err.Error()+")")
		}
		return true
	}
	if e.Kind == adapter.Ready {
		select {
		case <-p.said:
		default:
			close(p.said)
		}
	}
	s.log.add(l.At, p.spec.Name, e.String())
	if a != nil {
		a.tell(l.At, e)
	}
	return true
}

// tell notes an event of a peer that is a program.
func (a *actor) tell(at time.Time, e adapter.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch e.Kind {
	case adapter.Introduced:
		if a.introduced[e.Peer].IsZero() {
			a.introduced[e.Peer] = at
		}
		a.settled[e.Peer] = time.Time{}
	case adapter.Settled:
		if a.introduced[e.Peer].IsZero() {
			a.introduced[e.Peer] = at
		}
		a.settled[e.Peer] = at
	case adapter.Lost:
		a.settled[e.Peer] = time.Time{}
	}
	a.stir()
}

// observed waits until the witness has seen what the path of each pair is read
// from; but not long, for programs without a path say nothing.
func (s *stage) observed(ctx context.Context, p *phase) error {
	limit := s.net.Now().Add(settleFloor + window*s.v.settings.Interval)
	scene := s.scene()
	for s.net.Now().Before(limit) {
		if err := s.sleep(ctx, s.grace()+s.rtt()); err != nil {
			return err
		}
		packets := s.net.Packets()
		enough := true
		for _, pair := range s.pairs() {
			all, err := witness.Deliveries(packets, scene, s.host(pair[0]), s.host(pair[1]))
			heard := map[string]int{}
			for _, d := range sentIn(all, p.since, s.net.Now().Add(-s.grace())) {
				heard[d.From]++
			}
			for _, peer := range pair {
				enough = enough && err == nil && heard[s.host(peer)] >= window/2
			}
		}
		if enough {
			return nil
		}
	}
	return nil
}

// scene is what the witness has to know of the run's lab.
func (s *stage) scene() (scene witness.Scene) {
	for _, h := range s.v.lab.Hosts {
		scene.Hosts = append(scene.Hosts, h.Name)
	}
	scene.Rendezvous = s.serverAddresses(s.v.scenario.RendezvousHosts())
	scene.Relay = s.serverAddresses(s.v.scenario.RelayHosts())
	return scene
}

// foreign reports whether the peers of the run are programs.
func (v *variant) foreign() bool { return v.scenario.Foreign() }

// withoutAdapter reports whether some peer says nothing of itself.
func (v *variant) withoutAdapter() bool {
	return slices.ContainsFunc(v.scenario.Peers, func(p scenarios.Peer) bool { return p.Program != nil && !p.Program.Adapter })
}
