package runner

import (
	"fmt"
	"slices"

	"p2pmodel/sim"
)

// fault is something in force that takes packets: a cut link, a restricted host.
// One that took none proves nothing.
type fault struct {
	what   string // "cut of the link of a"
	taken  func() (uint64, error)
	before uint64 // what others had taken when it began
	phase  *phase // in which it began
}

// impose notes a fault that is about to begin.
func (s *stage) impose(p *phase, what string, taken func() (uint64, error)) error {
	before, err := taken()
	if err != nil {
		return err
	}
	s.faults = append(s.faults, &fault{what: what, taken: taken, before: before, phase: p})
	return nil
}

// lift proves a fault that is about to end, if it is in force.
func (s *stage) lift(what string) error {
	i := slices.IndexFunc(s.faults, func(f *fault) bool { return f.what == what })
	if i < 0 {
		return nil
	}
	f := s.faults[i]
	s.faults = slices.Delete(s.faults, i, i+1)
	return f.prove()
}

// liftAll proves what is still in force when the run ends.
func (s *stage) liftAll() error {
	for _, f := range s.faults {
		if err := f.prove(); err != nil {
			return err
		}
	}
	s.faults = nil
	return nil
}

// prove makes sure that the fault took packets.
func (f *fault) prove() error {
	n, err := f.taken()
	if err != nil {
		return err
	}
	if n == f.before {
		return fmt.Errorf("the %s met no packet: nothing was proved", f.what)
	}
	f.phase.facts = append(f.phase.facts, fmt.Sprintf("the %s took %d packets", f.what, n-f.before))
	return nil
}

func cutOf(id sim.LinkID) string { return "cut of the link of " + id.String() }

// cut cuts a link. Nothing passes until it is restored, so that whatever the link
// loses meanwhile it loses to the cut.
func (s *stage) cut(p *phase, id sim.LinkID, l sim.RunningLink) error {
	lost := func() (uint64, error) {
		up, down := l.Lost()
		return up + down, nil
	}
	if err := s.lift(cutOf(id)); err != nil { // it was cut already
		return err
	}
	if err := s.impose(p, cutOf(id), lost); err != nil {
		return err
	}
	return l.Cut()
}

func (s *stage) restore(id sim.LinkID, l sim.RunningLink) error {
	if err := s.lift(cutOf(id)); err != nil {
		return err
	}
	return l.Restore()
}
