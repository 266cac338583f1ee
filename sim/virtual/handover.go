package virtual

import (
	"context"
	"fmt"
	"strings"
	"time"

	"p2pmodel/sim"
)

// Move implements sim.RunningHost.
func (h *Host) Move(uplink string) error {
	return h.Handover(context.Background(), sim.Handover{Uplink: uplink})
}

// Handover implements sim.RunningHost. What is under way on a link that is left is
// lost. Sockets of the former address go on by it while it is there, and then send
// nothing any more.
func (h *Host) Handover(ctx context.Context, to sim.Handover) error {
	doing := "move to uplink " + to.Uplink
	var have []string
	next := -1
	for i, u := range h.lab.Uplinks {
		have = append(have, u.Name)
		if u.Name == to.Uplink {
			next = i
		}
	}
	if next < 0 {
		return h.errorf("move", fmt.Errorf("no uplink %q; it has %s", to.Uplink, strings.Join(have, ", ")))
	}
	if to.Gap < 0 || to.Overlap < 0 || to.Gap > 0 && to.Overlap > 0 {
		return h.errorf(doing, fmt.Errorf("a gap of %v and an overlap of %v: one of them may be more than 0, and none less", to.Gap, to.Overlap))
	}
	for h.moved != nil { // by somebody else, who comes first
		if err := h.network.Wait(ctx, h.moved, sim.Forever); err != nil {
			return err
		}
	}
	from := h.active
	if next == from {
		return nil
	}
	h.moved = make(chan struct{})
	defer func() {
		close(h.moved)
		h.moved = nil
	}()
	previous := h.uplinks[from]
	var waited error
	if to.Overlap > 0 {
		h.use(next)
		waited = h.pause(ctx, to.Overlap)
		previous.plug(false)
		h.readdressed()
	} else {
		previous.plug(false)
		if to.Gap > 0 {
			h.active = -1
			h.readdressed()
			waited = h.pause(ctx, to.Gap)
		}
		h.use(next)
	}
	h.network.log("host %s moved from %s to %s", h.node.name, h.lab.Uplinks[from].Name, to)
	return waited
}

// use makes an uplink the active one.
func (h *Host) use(uplink int) {
	h.uplinks[uplink].plug(true)
	h.active = uplink
	h.readdressed()
}

func (h *Host) pause(ctx context.Context, d time.Duration) error { return sim.Sleep(ctx, h.network, d) }
