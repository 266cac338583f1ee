package runner

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// changeSystem does the actions that are about servers of a system.
func (s *stage) changeSystem(ctx context.Context, p *phase, a scenarios.Action) (string, error) {
	y := s.system
	switch a.Kind {
	case scenarios.ActKill:
		text, err := y.kill(a)
		p.facts = append(p.facts, text)
		return text, err
	case scenarios.ActStart:
		wanted := y.serversOf(a)
		if err := y.start(ctx, func(v *server) bool { return slices.Contains(wanted, v) }); err != nil {
			return "", err
		}
		return "started: " + names(wanted), nil
	}
	return y.drain(ctx, a)
}

func names(list []*server) string {
	var all []string
	for _, v := range list {
		all = append(all, v.name)
	}
	return strings.Join(all, ", ")
}

// settleSystem waits until what the phase expects of the system has come, or until
// it is late.
func (s *stage) settleSystem(ctx context.Context, p *phase) error {
	e := p.spec.Expect
	if s.system == nil {
		return nil
	}
	if err := s.until(ctx, p.done.Add(max(e.Moved, systemPatience)), func() bool { return s.allMoved(e.Rooms) }); err != nil {
		return err
	}
	if e.Resumed > 0 {
		if err := s.until(ctx, p.done.Add(max(e.Resumed, systemPatience)), func() bool { return s.allBack(p.begin) }); err != nil {
			return err
		}
	}
	for _, r := range s.v.scenario.Rooms {
		if shard, err := s.system.shardOf(r.Name); err == nil {
			s.shards[r.Name] = shard
		}
	}
	return nil
}

// systemPatience is how long a phase waits for what it expects of a system, at
// least: where it expects it sooner, it is told how late it came.
const systemPatience = 15 * time.Second

// until waits until a condition holds or the limit is over.
func (s *stage) until(ctx context.Context, limit time.Time, cond func() bool) error {
	for s.net.Now().Before(limit) && !cond() {
		if err := s.sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// allMoved reports whether the players of all rooms that have to move are at
// another shard than in the phase before.
func (s *stage) allMoved(rooms map[string]string) bool {
	for room, fate := range rooms {
		shard, err := s.system.shardOf(room)
		if fate == scenarios.RoomMoved && (err != nil || shard == s.shards[room]) {
			return false
		}
	}
	return true
}

// allBack reports whether players lost their Agent since a time, and all have one.
func (s *stage) allBack(since time.Time) bool {
	some := false
	for _, a := range s.cast() {
		for _, o := range a.outages(since, s.net.Now()) {
			some = true
			if o.until.IsZero() {
				return false
			}
		}
	}
	return some
}

// drain has an operator's command drain a shard, on the host of a directory.
func (y *system) drain(ctx context.Context, a scenarios.Action) (string, error) {
	host := y.spec.Directories[0]
	args, err := y.credentials(y.spec, layout.OperatorUser(operatorName), y.s.address)
	if err != nil {
		return "", err
	}
	args = append([]string{"drain", a.Shard, "--operator", operatorName}, args...)
	if a.For > 0 {
		args = append(args, "--deadline", a.For.String())
	}
	h, err := y.s.net.Host(host)
	if err != nil {
		return "", err
	}
	output := &lines{take: func(text string) { y.s.log.add(y.s.net.Now(), "operator", text) }}
	running, err := h.Start(ctx, sim.Program{Path: y.s.binary, Args: args, Dir: y.dir, Env: os.Environ(), Stdout: output, Stderr: output})
	if err != nil {
		return "", err
	}
	if err := running.Wait(); err != nil {
		return "", fmt.Errorf("p2pmodel drain: %w: %s", err, output.tail())
	}
	return "drain of shard " + a.Shard, nil
}
