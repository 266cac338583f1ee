package virtual

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// restriction keeps a host from sending to others.
type restriction struct {
	loss *loss  // nil: it may send to all
	was  uint64 // packets that former restrictions took
}

// Restrict implements sim.RunningHost. A packet that may not leave is lost behind
// the host's uplink: who sent it hears of no error, and the witness sees it leave
// and not arrive.
func (h *Host) Restrict(to []netip.Addr) error {
	for _, a := range to {
		if !a.Is4() {
			return h.errorf("restrict", fmt.Errorf("%v is not an IPv4 address", a))
		}
	}
	h.endRestriction()
	allowed := slices.SortedFunc(slices.Values(to), netip.Addr.Compare)
	h.loss = &loss{cause: "restriction", takes: func(p *packet) bool { return !slices.Contains(allowed, p.dst.Addr()) }}
	for _, c := range h.uplinks {
		c.up.begin(h.loss)
	}
	names := make([]string, 0, len(allowed))
	for _, a := range allowed {
		names = append(names, a.String())
	}
	h.network.log("host %s sends to [%s] only", h.node.name, strings.Join(names, " "))
	return nil
}

// Unrestrict implements sim.RunningHost.
func (h *Host) Unrestrict() error {
	if h.loss == nil {
		return nil
	}
	h.endRestriction()
	h.network.log("host %s is restricted no more", h.node.name)
	return nil
}

func (h *Host) endRestriction() {
	if h.loss == nil {
		return
	}
	for _, c := range h.uplinks {
		c.up.end(h.loss)
	}
	h.was += h.loss.taken
	h.loss = nil
}

// Restricted implements sim.RunningHost.
func (h *Host) Restricted() (uint64, error) {
	if h.loss == nil {
		return h.was, nil
	}
	return h.was + h.loss.taken, nil
}
