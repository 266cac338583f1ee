package virtual

import (
	"fmt"

	"p2pmodel/nat/table"
)

// line is a mapping in a line.
func (r *Router) line(m table.Mapping) string { return m.String() }

// Fingerprint implements sim.RunningRouter.
func (r *Router) Fingerprint() (string, error) { return fmt.Sprint(r.behavior, r.external), nil }

// Rules implements sim.RunningRouter.
func (r *Router) Rules() (string, error) { return fmt.Sprint(r.behavior, "\n"), nil }

// Mappings implements sim.RunningRouter.
func (r *Router) Mappings() (string, error) {
	if r.table == nil {
		return "", r.errorf("read its mappings", ErrNoNAT)
	}
	text := ""
	for _, m := range r.table.Mappings(r.network.time) {
		text += r.line(m) + "\n"
	}
	return text, nil
}

// Fingerprint implements sim.RunningHost.
func (h *Host) Fingerprint() (string, error) { return fmt.Sprint(h.lab.Firewall), nil }

// Rules implements sim.RunningHost.
func (h *Host) Rules() (string, error) { return fmt.Sprint(h.lab.Firewall, "\n"), nil }
