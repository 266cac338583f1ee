//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel/wire"
)

// startWires puts a wire between the halves of each link that the lab declares,
// all of them moved by one thread.
func (n *Network) startWires(context.Context) error {
	if len(n.lab.Links) == 0 {
		return nil
	}
	scheduler, err := wire.NewScheduler()
	if err != nil {
		return err
	}
	n.wires = scheduler
	for _, c := range n.order {
		if c.wire == nil {
			continue
		}
		if err := c.join(scheduler); err != nil {
			return fmt.Errorf("link of %s: %w", c.planned.ID, err)
		}
	}
	return nil
}

// join joins the halves of a link.
func (c *cable) join(s *wire.Scheduler) error {
	lower, err := c.wireEnd(c.wire.lower, c.child, c.lower)
	if err != nil {
		return err
	}
	upper, err := c.wireEnd(c.wire.upper, c.parent, c.upper)
	if err != nil {
		return errors.Join(err, lower.Close())
	}
	l, err := s.Add(lower, upper, c.wire.up, c.wire.down, seedOf(c.network.opt.Seed, c.planned.ID))
	if err != nil {
		return err
	}
	c.wire.link = l
	if c.unplugged {
		return l.Cut(true)
	}
	return nil
}

// wireEnd opens one end: the packet socket on the inner interface, and the
// switch of the outer one's offloads.
func (c *cable) wireEnd(inner *iface, node *node, outer *iface) (wire.End, error) {
	var end wire.End
	err := c.network.nodes[wireNode].ns.inside(func() (err error) {
		end.Socket, err = wire.Open(inner.index)
		return err
	})
	if err != nil {
		return wire.End{}, fmt.Errorf("%w%s", err, hintFor(err))
	}
	err = node.ns.inside(func() (err error) {
		end.Offload, err = wire.OpenOffload(outer.name)
		return err
	})
	if err != nil {
		return wire.End{}, errors.Join(fmt.Errorf("%w%s", err, hintFor(err)), end.Close())
	}
	return end, nil
}

// seedOf gives each link a seed of its own, whatever other links the lab has.
func seedOf(seed uint64, id sim.LinkID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id.Node + "\x00" + id.Uplink)) // never fails
	return seed ^ h.Sum64()
}

// wireFaults tells of frames that were lost by other than cuts and impairments.
func (n *Network) wireFaults() error {
	var errs []error
	for _, c := range n.order {
		if c.wire == nil || c.wire.link == nil {
			continue
		}
		if err := c.wire.link.Err(); err != nil {
			errs = append(errs, c.errorf("a fault of the laboratory", err))
		}
	}
	return errors.Join(errs...)
}

// stopWires ends the wires' thread.
func (n *Network) stopWires() error {
	if n.wires == nil {
		return nil
	}
	return errors.Join(n.wireFaults(), n.wires.Close())
}
