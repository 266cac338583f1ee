//go:build linux

package kernel

import (
	"errors"
	"fmt"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel/netem"
	"p2pmodel/sim/link"
)

var _ wireLink = (*netem.Link)(nil)

// refusedByNetem tells which links of a lab netem cannot do, all at once.
func refusedByNetem(lab *sim.Lab, plan *sim.Plan) error {
	var errs []error
	for _, p := range plan.Links {
		up, down := lab.Impairments(p.ID)
		errs = append(errs, refusedBoth(p.ID, up, down))
	}
	return errors.Join(errs...)
}

func refusedBoth(id sim.LinkID, up, down link.Impairment) error {
	var errs []error
	for _, way := range []struct {
		direction sim.Direction
		does      link.Impairment
	}{{sim.Up, up}, {sim.Down, down}} {
		if err := netem.Refuse(way.does); err != nil {
			errs = append(errs, fmt.Errorf("link of %s %s: %w; the wire does it (--links wire)", id, way.direction, err))
		}
	}
	return errors.Join(errs...)
}

// refused tells why what carries the link cannot do an impairment.
func (c *cable) refused(up, down link.Impairment) error {
	if _, ok := c.wire.link.(*netem.Link); !ok {
		return nil
	}
	return refusedBoth(c.planned.ID, up, down)
}

// joinByNetem joins the halves of a link by netem, if that is to carry it.
func (c *cable) joinByNetem(seed uint64) (done bool, err error) {
	auto := c.network.backend == AutoLinks
	switch {
	case !auto && c.network.backend != NetemLinks:
		return false, nil
	case auto && refusedBoth(c.planned.ID, c.wire.up, c.wire.down) != nil:
		return false, nil
	}
	lower, err := openOffload(c.child, c.lower)
	if err != nil {
		return false, err
	}
	upper, err := openOffload(c.parent, c.upper)
	if err != nil {
		return false, errors.Join(err, lower.Close())
	}
	l, err := netem.New(c.network.nodes[wireNode].ns.inside,
		netem.End{Index: c.wire.lower.index, Offload: lower}, netem.End{Index: c.wire.upper.index, Offload: upper},
		c.wire.up, c.wire.down, seed)
	if errors.Is(err, netem.ErrMissing) && auto {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, c.joined(l)
}

// closeNetem gives up what links by netem hold.
func (n *Network) closeNetem() error {
	var errs []error
	for _, c := range n.order {
		if c.wire == nil {
			continue
		}
		if l, ok := c.wire.link.(*netem.Link); ok {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}
