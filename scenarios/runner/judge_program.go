package runner

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// programsPoll is how often it is looked whether what is expected of programs has
// come.
const programsPoll = 50 * time.Millisecond

// ending is how a program ended by itself.
type ending struct {
	ended  bool
	status int
}

// printed is how much each program has printed so far.
func (s *stage) printed() map[string]int {
	sizes := map[string]int{}
	for name, p := range s.programs.all {
		sizes[name] = p.out.size()
	}
	return sizes
}

// awaitPrograms waits until what the phase expects of programs has come, or until
// the time for it is over, and notes how things are then.
func (s *stage) awaitPrograms(ctx context.Context, p *phase) error {
	if s.programs == nil {
		return nil
	}
	e := p.spec.Expect
	limit := s.net.Now().Add(e.Within)
	for {
		s.note(p)
		if s.came(p) || !s.net.Now().Before(limit) {
			return nil
		}
		if err := s.sleep(ctx, programsPoll); err != nil {
			return err
		}
	}
}

// note notes how programs have ended, and what of their output matches.
func (s *stage) note(p *phase) {
	p.endings, p.matched = map[string]ending{}, map[string]bool{}
	for name, k := range s.programs.all {
		select {
		case <-k.running.Done():
			k.ended = ending{true, k.running.State().Code}
		default:
			k.ended = ending{}
		}
		p.endings[name] = k.ended
	}
	for name, pattern := range p.spec.Expect.Output {
		re, err := regexp.Compile(pattern) // it was compiled when the file was read
		p.matched[name] = err == nil && s.programs.all[name].out.matches(re, p.printed[name])
	}
}

// came reports whether there is nothing more to wait for. That nothing arrives is
// waited for to the end, unless the end of programs is told as well.
func (s *stage) came(p *phase) bool {
	e := p.spec.Expect
	for name := range e.Exits {
		if !p.endings[name].ended {
			return false
		}
	}
	for name := range e.Output {
		if !p.matched[name] && !p.endings[name].ended {
			return false
		}
	}
	some := slices.ContainsFunc(e.Delivered, func(d scenarios.DeliveredExpect) bool { return d.Bytes > 0 })
	if !some {
		return len(e.Delivered) == 0 || len(e.Exits) > 0
	}
	packets, scene := s.net.Packets(), s.scene()
	for _, d := range e.Delivered {
		if witness.Volumes(packets, scene, d.From, d.To, p.from(), time.Time{}).Total() < uint64(d.Bytes) {
			return false
		}
	}
	return true
}

// from is when what programs send begins to count for a phase: programs start
// before the first one does.
func (p *phase) from() time.Time {
	if p.printed == nil {
		return time.Time{}
	}
	return p.begin
}

// ofPrograms judges what a phase expects of programs.
func (j *judgement) ofPrograms(p, before *phase, res *scenarios.PhaseResult) {
	e := p.spec.Expect
	for _, name := range slices.Sorted(maps.Keys(e.Exits)) {
		k := j.s.programs.all[name]
		switch is, want := p.endings[name], e.Exits[name]; {
		case !is.ended:
			j.against(p, "%s still ran after %v, expected that it ends with status %d; %s", name, e.Within, want, k.out.last())
		case is.status != want:
			j.against(p, "%s ended with status %d, expected %d; %s", name, is.status, want, k.out.last())
		default:
			res.Facts = append(res.Facts, fmt.Sprintf("%s ended with status %d", name, is.status))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Output)) {
		if !p.matched[name] {
			j.against(p, "nothing that %s printed matches %q; %s", name, e.Output[name], j.s.programs.all[name].out.last())
			continue
		}
		res.Facts = append(res.Facts, fmt.Sprintf("what %s printed matches %q", name, e.Output[name]))
	}
	for _, d := range e.Delivered {
		j.delivered(p, d, res)
	}
}

// delivered judges payload between two hosts.
func (j *judgement) delivered(p *phase, d scenarios.DeliveredExpect, res *scenarios.PhaseResult) {
	to := p.end
	if p == j.last {
		to = time.Time{}
	}
	v := witness.Volumes(j.o.run.Packets, j.scene, d.From, d.To, p.from(), to)
	fact := fmt.Sprintf("%s → %s: %v", d.From, d.To, v)
	switch sent := v.Sent + witness.Volumes(j.o.run.Packets, j.scene, d.To, d.From, p.from(), to).Sent; {
	case d.Bytes == 0 && v.Total() > 0:
		j.against(p, "%s; expected that nothing arrives", fact)
	case d.Bytes == 0 && sent == 0:
		j.proveNothing(p, "neither %s nor %s sent a packet, so that it is no wonder that nothing arrived", d.From, d.To)
	case v.Total() < uint64(d.Bytes):
		j.against(p, "%s; expected %d bytes at least", fact, d.Bytes)
	case d.Over == scenarios.Direct && v.Relay > 0, d.Over == scenarios.Relay && v.Direct > 0:
		j.against(p, "%s; expected that all of it goes %s", fact, d.Over)
	default:
		res.Facts = append(res.Facts, fact)
	}
}

// fellPrograms notes programs that ended badly although nobody expected it.
func (j *judgement) fellPrograms(phases []*phase) {
	if j.s.programs == nil {
		return
	}
	for _, k := range j.s.programs.order {
		name := k.spec.Name
		told := slices.ContainsFunc(phases, func(p *phase) bool {
			_, is := p.spec.Expect.Exits[name]
			return is || slices.ContainsFunc(p.deeds, func(d *deed) bool { return d.Event.Kind == sim.EventKill && concerns(d.Event, k.spec) })
		})
		if is := j.last.endings[name]; is.ended && is.status != 0 && !told {
			j.wrong = append(j.wrong, fmt.Sprintf("the program %s on host %s ended with status %d, which nobody expects; %s", name, k.spec.Host, is.status, k.out.last()))
		}
	}
}

// concerns reports whether an event about programs is about this one.
func concerns(e sim.Event, p *scenarios.Program) bool {
	return (e.Program == "" || e.Program == p.Name) && (e.Host == "" || e.Host == p.Host)
}

// recordPrograms keeps what reports need of programs.
func (s *stage) recordPrograms(run *scenarios.Run) {
	for _, k := range s.programs.order {
		// Those that were asked to end have ended as well by now.
		p := scenarios.ProgramRun{Name: k.spec.Name, Host: k.spec.Host, Command: k.command, Ended: k.ended.ended, Status: k.ended.status}
		run.Programs = append(run.Programs, p)
	}
	for _, phase := range s.v.phases {
		for _, d := range phase.Expect.Delivered {
			if run.Pair[0] == "" {
				run.Pair = [2]string{d.From, d.To}
			}
		}
	}
}
