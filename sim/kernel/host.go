//go:build linux

package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

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

	moving sync.Mutex // held from the beginning of a handover to its end

	mu          sync.Mutex // held while the host's network changes
	active      string     // the uplink in use; empty in the gap of a handover
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
