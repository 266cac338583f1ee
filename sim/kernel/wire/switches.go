//go:build linux

package wire

import (
	"errors"
	"fmt"
	"sync"

	"p2pmodel/sim/link"
)

// switches are the switches of offload at both ends of a link. Segments of
// offload must not meet what treats packets one by one: they end before it
// begins, and begin after it has ended. The switch waits for the kernel's RTNL
// lock, a tenth of a second on a busy machine, so that the scheduler's thread,
// on which all links wait, has no part in it.
type switches struct {
	mu    sync.Mutex
	ends  [2]*Offload // nil: that end is left alone
	whole [2]bool     // offload is off: packets leave whole
}

// around calls set, which makes the impairments be so, with the offloads as both
// what was and what comes can bear.
func (s *switches) around(up, down link.Impairment, set func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.turn(up, down, false); err != nil {
		return err
	}
	if err := set(); err != nil {
		return err
	}
	return s.turn(up, down, true)
}

// turn switches offload on, or off, where the impairments want it so: each end
// sends into one direction only.
func (s *switches) turn(up, down link.Impairment, on bool) error {
	for i, imp := range []link.Impairment{up, down} {
		if s.ends[i] == nil || imp.PerPacket() == on || s.whole[i] != on {
			continue
		}
		if err := s.ends[i].Set(on); err != nil {
			return fmt.Errorf("wire: %w", err)
		}
		s.whole[i] = !on
	}
	return nil
}

func (s *switches) close() error {
	var errs []error
	for _, o := range s.ends {
		if o != nil {
			errs = append(errs, o.Close())
		}
	}
	return errors.Join(errs...)
}
