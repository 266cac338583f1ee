//go:build linux

package kernel

import (
	"slices"

	"p2pmodel/sim"
)

// changed notes a change of the NAT, done by do.
func (r *Router) changed(c sim.Change, do func() error) error {
	c.Begin = r.network.Now()
	err := do()
	c.End, c.External = r.network.Now(), r.External()
	if err == nil {
		r.mu.Lock()
		r.changes = append(r.changes, c)
		r.mu.Unlock()
	}
	return err
}

// Changes implements sim.RunningRouter.
func (r *Router) Changes() []sim.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes)
}
