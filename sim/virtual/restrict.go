package virtual

import (
	"errors"
	"net/netip"
)

// errLater is what stands in for what is not there yet.
var errLater = errors.New("not there yet")

// restriction keeps a host from sending to others.
type restriction struct{}

// Restrict implements sim.RunningHost.
func (h *Host) Restrict([]netip.Addr) error { return h.errorf("restrict", errLater) }

// Unrestrict implements sim.RunningHost.
func (h *Host) Unrestrict() error { return nil }

// Restricted implements sim.RunningHost.
func (h *Host) Restricted() (uint64, error) { return 0, nil }
