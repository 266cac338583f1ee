//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"p2pmodel/core/sansio"
	"p2pmodel/sim"
)

// Host is a host of a lab that stands. It implements sim.RunningHost.
type Host struct {
	network *Network
	lab     *sim.Host
	node    *node
	uplinks map[string]*cable
	sockets sockets

	mu          sync.Mutex // held while the host's network changes
	active      string     // the uplink in use
	restriction *egress    // non-nil while restricted
	restricted  uint64     // packets that former restrictions took

	running running
}

var _ sim.RunningHost = (*Host)(nil)
var _ sansio.Network = (*Host)(nil)

func newHost(n *Network, lab *sim.Host, node *node) *Host {
	return &Host{network: n, lab: lab, node: node, active: lab.ActiveUplink(), uplinks: make(map[string]*cable)}
}

// Name implements sim.RunningHost.
func (h *Host) Name() string { return h.lab.Name }

// Active implements sim.RunningHost.
func (h *Host) Active() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.active
}

func (h *Host) errorf(doing string, err error) error {
	return fmt.Errorf("host %s: %s: %w", h.lab.Name, doing, err)
}

// Move implements sim.RunningHost: the old uplink loses its addresses and is
// unplugged, then the new one is plugged in. UDP sockets stay as they are: those
// bound to an address that is gone send nothing that arrives. TCP connections of
// such an address end with ECONNABORTED, as on a phone, and their other sides
// hear nothing; on a kernel without CONFIG_INET_DIAG_DESTROY they send in vain
// until they time out. Moving to the active uplink does nothing.
func (h *Host) Move(uplink string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.uplinks[uplink]
	if next == nil {
		var have []string
		for _, u := range h.lab.Uplinks {
			have = append(have, u.Name)
		}
		return h.errorf("move", fmt.Errorf("no uplink %q; it has %s", uplink, strings.Join(have, ", ")))
	}
	if uplink == h.active {
		return nil
	}
	previous := h.uplinks[h.active]
	if err := previous.setPlugged(false); err != nil {
		return h.errorf("leave uplink "+h.active, err)
	}
	if err := next.setPlugged(true); err != nil {
		return h.errorf("move to uplink "+uplink, err)
	}
	h.network.log("host %s moved from %s to %s", h.lab.Name, h.active, uplink)
	h.active = uplink
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
		return h.errorf("move to uplink "+uplink, err)
	}
	return nil
}

// setPlugged plugs the node's end in or out. A wire carries nothing to or from
// an end that is out.
func (c *cable) setPlugged(plugged bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b batch
	if plugged {
		c.plug(&b)
	} else {
		c.unplug(&b)
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

// Restrict implements sim.RunningHost. A packet that may not leave is lost
// behind the host's uplink: the program that sent it hears of no error, as on a
// network that drops it, and the witness sees it leave and not arrive.
func (h *Host) Restrict(to []netip.Addr) error {
	for _, a := range to {
		if !a.Is4() {
			return h.errorf("restrict", fmt.Errorf("%v is not an IPv4 address", a))
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.unrestrict(); err != nil {
		return h.errorf("restrict", err)
	}
	var ends []*iface
	for _, u := range h.lab.Uplinks {
		ends = append(ends, h.uplinks[u.Name].lower)
	}
	e, err := loseAt(h.node, "restriction", ends, allBut(to))
	if err != nil {
		return h.errorf("restrict", err)
	}
	h.restriction = e
	names := make([]string, 0, len(to))
	for _, a := range slices.SortedFunc(slices.Values(to), netip.Addr.Compare) {
		names = append(names, a.String())
	}
	h.network.log("host %s sends to [%s] only", h.lab.Name, strings.Join(names, " "))
	return nil
}

// Unrestrict implements sim.RunningHost.
func (h *Host) Unrestrict() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.restriction == nil {
		return nil
	}
	if err := h.unrestrict(); err != nil {
		return h.errorf("lift the restriction", err)
	}
	h.network.log("host %s is restricted no more", h.lab.Name)
	return nil
}

func (h *Host) unrestrict() error {
	if h.restriction == nil {
		return nil
	}
	lost, err := h.restriction.lift()
	if err != nil {
		return err
	}
	h.restricted += lost
	h.restriction = nil
	return nil
}

// Restricted counts the packets that restrictions have taken so far.
func (h *Host) Restricted() (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	total := h.restricted
	if h.restriction != nil {
		lost, err := h.restriction.lost()
		if err != nil {
			return 0, h.errorf("count restricted packets", err)
		}
		total += lost
	}
	return total, nil
}
