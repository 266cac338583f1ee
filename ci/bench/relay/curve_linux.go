package relay

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"p2pmodel/ci/bench/load"
	"p2pmodel/ci/bench/network"
	"p2pmodel/ci/bench/packet"
)

// curveLoad is what is sent through each of many allocations in turn.
var curveLoad = Load{Size: 120, Burst: 1}

// curve measures all at more and more allocations, or clients of a forwarder.
func (r *Run) curve(ctx context.Context, pair *network.Pair, result *Result) error {
	if len(r.Curve) == 0 {
		return nil
	}
	for _, s := range r.Systems {
		g := Growth{System: s.Name}
		for _, n := range r.Curve {
			g.Points = append(g.Points, GrowthPoint{Allocations: n})
		}
		result.Growth = append(result.Growth, g)
	}
	for round := range r.Rounds {
		for i := range r.Systems {
			at := (i + round) % len(r.Systems)
			if err := ctx.Err(); err != nil {
				return err
			}
			r.Say(fmt.Sprintf("up to %d allocations, round %d of %d: %s", slices.Max(r.Curve), round+1, r.Rounds, r.Systems[at].Name))
			if err := r.grow(pair, r.Systems[at], &result.Growth[at]); err != nil {
				return fmt.Errorf("%s: %w", r.Systems[at].Name, err)
			}
		}
	}
	return nil
}

// grow is one system's turn in a round.
func (r *Run) grow(pair *network.Pair, s System, g *Growth) error {
	p, err := start(s, pair.System)
	if err != nil {
		return err
	}
	defer p.stop()
	var out int
	if err := pair.Load.Do(func() (err error) { out, err = packet.Listen(peer, true); return err }); err != nil {
		return err
	}
	defer unix.Close(out)
	var clients []client
	defer func() { closeAll(clients) }()
	for i := range g.Points {
		point := &g.Points[i]
		more, err := r.clients(pair, s, point.Allocations-len(clients))
		if err != nil {
			return fmt.Errorf("%d allocations: %w", point.Allocations, err)
		}
		clients = append(clients, more...)
		resident, err := p.resident()
		if err != nil {
			return err
		}
		err = pair.Load.Do(func() error {
			frames, err := packet.NewFrames(load.MostFrames, network.LoadInterface, pair.SystemHardware)
			if err != nil {
				return err
			}
			defer frames.Close()
			l, err := r.load(clients, out, frames, curveLoad)
			if err != nil {
				return err
			}
			l.Saturate(r.Each/5, r.Window) // warm
			most, used, err := r.during(p, func() *load.Result { return l.Saturate(r.Each, r.Window) })
			if err == nil && most.Received == 0 {
				err = fmt.Errorf("%d allocations: nothing of %d datagrams came out", point.Allocations, most.Sent)
			}
			if err == nil {
				point.Nanoseconds = append(point.Nanoseconds, float64(used)/float64(most.Received))
				point.Resident = append(point.Resident, resident)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
