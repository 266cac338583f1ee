package virtual

import (
	"context"

	"p2pmodel/sim"
)

// Move implements sim.RunningHost.
func (h *Host) Move(uplink string) error {
	return h.Handover(context.Background(), sim.Handover{Uplink: uplink})
}

// Handover implements sim.RunningHost.
func (h *Host) Handover(context.Context, sim.Handover) error { return h.errorf("move", errLater) }
