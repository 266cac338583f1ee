//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel/wire"
	"p2pmodel/sim/link"
	"p2pmodel/sim/witness"
)

// wiresName is argument 0 of this binary when it is to carry the wires of a lab.
const wiresName = "p2pmodel-wires"

// carrier is what moves the frames of a lab's links.
type carrier interface {
	add(a, b wire.End, up, down link.Impairment, seed uint64) (wireLink, error)
	Close() error
}

// wireLink is one of its links: a wire.Link, or a wire.Remote.
type wireLink interface {
	Set(up, down link.Impairment) error
	Cut(cut bool) error
	Counters() (up, down wire.Counters)
	Drops() (drops []link.Drop, missed uint64)
	Late() (up, down link.Lateness)
	Probe(seed uint64) error
	Probed() (up, down wire.Probes, err error)
	EndProbe() error
	Err() error
}

type ownProcess struct{ *wire.Process }

func (p ownProcess) add(a, b wire.End, up, down link.Impairment, seed uint64) (wireLink, error) {
	return p.Add(a, b, up, down, seed)
}

type ownThread struct{ *wire.Scheduler }

func (s ownThread) add(a, b wire.End, up, down link.Impairment, seed uint64) (wireLink, error) {
	return s.Add(a, b, up, down, seed)
}

// hireWires starts what moves the frames of the links that the lab declares: a
// process of its own, which is ready by the time that the interfaces are. A
// binary that does not call Init gets a thread, which is less exact.
func (n *Network) hireWires(context.Context) error {
	if len(n.lab.Links) == 0 || n.backend == NetemLinks {
		return nil
	}
	if !initialised {
		scheduler, err := wire.NewScheduler()
		if err != nil {
			return err
		}
		n.wires = ownThread{scheduler}
		return nil
	}
	process, err := wire.StartProcess(wiresName)
	if err != nil {
		return err
	}
	n.wires = ownProcess{process}
	return nil
}

// startWires puts a wire between the halves of each link that the lab declares,
// all of them moved by one thread.
func (n *Network) startWires(context.Context) error {
	for _, c := range n.order {
		if c.wire == nil {
			continue
		}
		if err := c.join(n.wires); err != nil {
			return fmt.Errorf("link of %s: %w", c.planned.ID, err)
		}
	}
	return nil
}

// join joins the halves of a link.
func (c *cable) join(by carrier) error {
	seed := seedOf(c.network.opt.Seed, c.planned.ID)
	done, err := c.joinByNetem(seed)
	if done || err != nil {
		return err
	}
	lower, err := c.wireEnd(c.wire.lower, c.child, c.lower)
	if err != nil {
		return err
	}
	upper, err := c.wireEnd(c.wire.upper, c.parent, c.upper)
	if err != nil {
		return errors.Join(err, lower.Close())
	}
	l, err := by.add(lower, upper, c.wire.up, c.wire.down, seed)
	if err != nil {
		return err
	}
	return c.joined(l)
}

// joined takes what moves the link's frames.
func (c *cable) joined(l wireLink) error {
	c.wire.link = l
	c.wire.mtuUp, c.wire.mtuDown = c.mtu(sim.Up), c.mtu(sim.Down)
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
	if end.Offload, err = openOffload(node, outer); err != nil {
		return wire.End{}, errors.Join(err, end.Close())
	}
	return end, nil
}

// openOffload opens the switch of an interface's offloads.
func openOffload(node *node, i *iface) (offload *wire.Offload, err error) {
	err = node.ns.inside(func() (err error) {
		offload, err = wire.OpenOffload(i.name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, hintFor(err))
	}
	return offload, nil
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

// lateness tells of links that were too late to be what they are said to be.
func (n *Network) lateness() error {
	var errs []error
	for _, c := range n.order {
		up, down := c.Late()
		promisedUp, promisedDown := c.Impairments()
		errs = append(errs, sim.LateErr(c.planned.ID, sim.Up, promisedUp, up), sim.LateErr(c.planned.ID, sim.Down, promisedDown, down))
	}
	return errors.Join(errs...)
}

// wireDrops gives what the wires have lost or damaged since the last call, and how
// many of it were forgotten.
func (n *Network) wireDrops() (drops []witness.Drop, missing uint64) {
	for _, c := range n.order {
		if c.wire == nil || c.wire.link == nil {
			continue
		}
		lost, missed := c.wire.link.Drops()
		missing += missed
		for _, l := range lost {
			d := witness.Drop{At: l.At, Node: c.planned.Parent, Link: c.planned.ID.String(), Cause: witness.Cause(l.Reason.String())}
			if l.Up {
				d.Node = c.planned.ID.Node
			}
			if d.SetData(l.Head); l.Protocol != unix.ETH_P_IP || sim.ProbePrefix.Contains(d.Src.Addr()) || sim.ProbePrefix.Contains(d.Dst.Addr()) {
				continue
			}
			drops = append(drops, d)
		}
	}
	return drops, missing
}

// stopWires ends the wires' thread.
func (n *Network) stopWires() error {
	err := errors.Join(n.wireFaults(), n.closeNetem())
	if n.wires != nil {
		err = errors.Join(err, n.wires.Close())
	}
	return err
}
