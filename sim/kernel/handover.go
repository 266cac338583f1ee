//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
)

// Move implements sim.RunningHost.
func (h *Host) Move(uplink string) error {
	return h.Handover(context.Background(), sim.Handover{Uplink: uplink})
}

// Handover implements sim.RunningHost. Break before make, the old uplink loses
// its addresses and is unplugged, then the new one is plugged in. Make before
// break, packets that have an address of the old uplink leave by it until it
// goes. UDP sockets stay as they are: those bound to an address that is gone send
// nothing that arrives. TCP connections of such an address end with
// ECONNABORTED, as on a phone, and their other sides hear nothing; on a kernel
// without CONFIG_INET_DIAG_DESTROY they send in vain until they time out. Moving
// to the active uplink does nothing.
func (h *Host) Handover(ctx context.Context, to sim.Handover) error {
	doing := "move to uplink " + to.Uplink
	next := h.uplinks[to.Uplink]
	if next == nil {
		var have []string
		for _, u := range h.lab.Uplinks {
			have = append(have, u.Name)
		}
		return h.errorf("move", fmt.Errorf("no uplink %q; it has %s", to.Uplink, strings.Join(have, ", ")))
	}
	if to.Gap < 0 || to.Overlap < 0 || to.Gap > 0 && to.Overlap > 0 {
		return h.errorf(doing, fmt.Errorf("a gap of %v and an overlap of %v: one of them may be more than 0, and none less", to.Gap, to.Overlap))
	}
	h.moving.Lock()
	defer h.moving.Unlock()
	from := h.Active()
	if to.Uplink == from {
		return nil
	}
	previous := h.uplinks[from]
	var err error
	if to.Overlap > 0 {
		err = h.makeBeforeBreak(ctx, previous, next, to)
	} else {
		err = h.breakBeforeMake(ctx, previous, next, to)
	}
	if err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
		return h.errorf(doing, err)
	}
	h.network.log("host %s moved from %s to %s", h.lab.Name, from, to)
	return errors.Join(err, h.abandonAddresses(previous, next))
}

func (h *Host) breakBeforeMake(ctx context.Context, previous, next *cable, to sim.Handover) error {
	h.mu.Lock()
	if err := previous.setPlugged(false); err != nil {
		h.mu.Unlock()
		return fmt.Errorf("leave the former one: %w", err)
	}
	h.active = ""
	var waited error
	if to.Gap > 0 {
		h.mu.Unlock()
		waited = h.network.pause(ctx, to.Gap)
		h.mu.Lock()
	}
	defer h.mu.Unlock()
	if err := next.setPlugged(true); err != nil {
		return err
	}
	h.active = to.Uplink
	return waited
}

func (h *Host) makeBeforeBreak(ctx context.Context, previous, next *cable, to sim.Handover) error {
	var b batch
	previous.keepSources(&b, true)
	if err := h.node.do(&b); err != nil {
		return fmt.Errorf("keep the addresses of the former one on it (this needs a kernel with CONFIG_IP_MULTIPLE_TABLES): %w", err)
	}
	h.mu.Lock()
	err := next.setPlugged(true)
	if err == nil {
		h.active = to.Uplink
	}
	h.mu.Unlock()
	var waited error
	if err == nil {
		waited = h.network.pause(ctx, to.Overlap)
		h.mu.Lock()
		err = previous.setPlugged(false)
		h.mu.Unlock()
	}
	var done batch
	previous.keepSources(&done, false)
	return errors.Join(err, h.node.do(&done), waited)
}

// sourceTable is the routing table of what keeps to the former uplink, and
// sourcePriority that of the rules that lead there: before the main table's.
const (
	sourceTable    = 100
	sourcePriority = 1000
)

// keepSources lets packets with addresses of this uplink leave by it, whatever
// the default route says, or ends that.
func (c *cable) keepSources(b *batch, on bool) {
	route := c.defaultRoute()
	route.table = sourceTable
	if on {
		b.route(route, true)
	}
	for _, a := range c.addrs {
		b.sourceRule(a, sourceTable, sourcePriority, on)
	}
	if !on {
		b.route(route, false) // gone with the interface, as a rule
	}
}

// abandonAddresses ends TCP connections of addresses that the host has lost.
func (h *Host) abandonAddresses(previous, next *cable) error {
	var gone []netip.Addr
	for _, a := range previous.planned.NodeAddrs {
		if !slices.Contains(next.planned.NodeAddrs, a) {
			gone = append(gone, a)
		}
	}
	err := h.node.ns.inside(func() error {
		_, err := abandon(gone)
		return err
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		h.network.log("host %s: TCP connections of its former address are not told that it is gone: %v", h.lab.Name, err)
		return nil
	}
	if err != nil {
		return h.errorf("end connections of its former address", err)
	}
	return nil
}

// pause waits, but no longer than the lab stands.
func (n *Network) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.closed:
		return errClosed
	}
}

// setPlugged plugs the node's end in or out. A wire carries nothing to or from
// an end that is out.
func (c *cable) setPlugged(plugged bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b batch
	if plugged {
		// Before the node can speak: what answers it must not be lost.
		if err := c.lonely.lift(); err != nil {
			return err
		}
		c.plug(&b)
	} else {
		c.unplug(&b)
		if err := c.tellUnplugged(); err != nil {
			return err
		}
		if c.wire != nil {
			if err := c.wire.link.Cut(true); err != nil {
				return err
			}
		}
	}
	if err := c.child.do(&b); err != nil {
		return err
	}
	c.unplugged = !plugged
	if err := c.awaitCarrier(); err != nil {
		return err
	}
	if c.wire != nil {
		return c.wire.link.Cut(c.cut || c.unplugged)
	}
	return nil
}

// tellUnplugged tells what is for a node that is unplugged from a plain link: without
// a carrier the kernel drops it, and tells nobody.
func (c *cable) tellUnplugged() error {
	if c.wire != nil || !tellsDrops() {
		return nil
	}
	return c.lose(&c.lonely, "unplugged", sim.Down)
}
