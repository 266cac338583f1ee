package virtual

import (
	"errors"
	"fmt"
	"net/netip"

	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

// cable is a link of the lab. It implements sim.RunningLink.
type cable struct {
	network  *Network
	print    *cablePrint
	up, down *lane
	addrs    []netip.Addr // the node's present addresses
	plugged  bool         // the node's end is in use
	cut      bool
	// wanted are the impairments as they are to be; those of the lanes are lifted
	// during certifications.
	wanted Directions
	lifted int
	severs [2]*loss // of a plain link that is cut; up and down, as all that follows
	holes  [2]*loss
	lonely *loss // takes what is for a node that is unplugged, on a plain link
	was    [2]uint64
}

var _ sim.RunningLink = (*cable)(nil)

// ErrPlainLink is returned by Impair for links that the lab does not declare.
var ErrPlainLink = errors.New("the lab does not declare the link, so it is a plain one: name it under links:, if only with zero impairments")

// build makes cable number i of a network with its lanes.
func (c *cable) build(n *Network, i int, up, down *lane) {
	print := &n.plans.cables[i]
	child, parent := &n.nodes[print.child], &n.nodes[print.parent]
	*c = cable{network: n, print: print, up: up, down: down, addrs: print.planned.NodeAddrs, plugged: true}
	*up = lane{cable: c, from: child, to: parent, exit: &print.lower, id: int32(2 * i), up: true, declared: print.declared}
	*down = lane{cable: c, from: parent, to: child, entry: &print.lower, id: int32(2*i + 1), declared: print.declared}
	if print.watched {
		up.entry, down.exit = &print.upper, &print.upper
	}
	n.lanes[up.id], n.lanes[down.id] = up, down
	c.wanted = Directions{print.up, print.down}
	if n.opt.Links != nil && print.declared {
		c.wanted = n.opt.Links[print.number]
	}
	up.setImpairment(c.wanted.Up)
	down.setImpairment(c.wanted.Down)
	if !print.plugged {
		c.plug(false)
	}
}

// severed reports whether a declared link carries nothing at all.
func (c *cable) severed() bool { return c.cut || !c.plugged }

// plug plugs the node's end in or out.
func (c *cable) plug(in bool) {
	if c.plugged == in {
		return
	}
	c.plugged = in
	switch {
	case c.print.declared:
	case in:
		c.down.end(c.lonely)
	default:
		c.lonely = &loss{cause: "unplugged"}
		c.down.begin(c.lonely)
	}
}

func (c *cable) errorf(doing string, err error) error {
	return fmt.Errorf("link of %s: %s: %w", c.print.name, doing, err)
}

func (c *cable) lanes() [2]*lane { return [2]*lane{c.up, c.down} }

// Cut implements sim.RunningLink. Nobody is told, as when a cable breaks far away.
func (c *cable) Cut() error {
	if c.cut {
		return nil
	}
	c.cut = true
	if !c.print.declared {
		for i, l := range c.lanes() {
			c.severs[i] = &loss{cause: "cut"}
			l.begin(c.severs[i])
		}
	}
	c.network.log("link of %s is cut", c.print.name)
	return nil
}

// Blackhole implements sim.RunningLink.
func (c *cable) Blackhole(d sim.Direction) error {
	for i, l := range c.lanes() {
		if l.direction() == d {
			if c.holes[i] == nil {
				c.holes[i] = &loss{cause: "blackhole"}
				l.begin(c.holes[i])
			}
			c.network.log("link of %s loses everything that goes %s", c.print.name, d)
			return nil
		}
	}
	return c.errorf("make a black hole", fmt.Errorf("unknown direction %q", d))
}

// Restore implements sim.RunningLink.
func (c *cable) Restore() error {
	if !c.cut && c.holes == [2]*loss{} {
		return nil
	}
	c.cut = false
	for i, l := range c.lanes() {
		for _, o := range []**loss{&c.severs[i], &c.holes[i]} {
			if *o != nil {
				c.was[i] += (*o).taken
				l.end(*o)
				*o = nil
			}
		}
	}
	c.network.log("link of %s is restored", c.print.name)
	return nil
}

// Impair implements sim.RunningLink. It works on links that the lab declares;
// for others it returns ErrPlainLink.
func (c *cable) Impair(up, down link.Impairment) error {
	if !c.print.declared {
		return c.errorf("impair", ErrPlainLink)
	}
	if err := errors.Join(up.Validate(), down.Validate()); err != nil {
		return c.errorf("impair", err)
	}
	c.wanted = Directions{up, down}
	if c.lifted > 0 {
		return nil // takes effect when the certification is over
	}
	c.up.setImpairment(up)
	c.down.setImpairment(down)
	c.network.log("link of %s: up %s, down %s", c.print.name, described(up), described(down))
	return nil
}

func described(i link.Impairment) string {
	if i.IsZero() {
		return "perfect"
	}
	return sim.DescribeImpairment(i)
}

// lift takes the impairments off until the returned function is called. It may be
// nested.
func (c *cable) lift() (restore func()) {
	c.lifted++
	c.up.setImpairment(link.Impairment{})
	c.down.setImpairment(link.Impairment{})
	return func() {
		if c.lifted--; c.lifted == 0 {
			c.up.setImpairment(c.wanted.Up)
			c.down.setImpairment(c.wanted.Down)
		}
	}
}

// Impairments implements sim.RunningLink. A plain link has none.
func (c *cable) Impairments() (up, down link.Impairment) { return c.wanted.Up, c.wanted.Down }

// taken is what cuts of plain links and black holes took.
func (c *cable) taken() (counts [2]uint64) {
	counts = c.was
	for i := range counts {
		for _, o := range []*loss{c.severs[i], c.holes[i]} {
			if o != nil {
				counts[i] += o.taken
			}
		}
	}
	return counts
}

// Lost implements sim.RunningLink.
func (c *cable) Lost() (up, down uint64) {
	taken := c.taken()
	return taken[0] + c.up.counts.Lost(), taken[1] + c.down.counts.Lost()
}

// Counts implements sim.RunningLink. Of a plain link only what cuts took is known.
func (c *cable) Counts() (up, down link.Counts) {
	taken := c.taken()
	up, down = c.up.counts, c.down.counts
	up.By[link.Cut] += taken[0]
	down.By[link.Cut] += taken[1]
	return up, down
}

// Late implements sim.RunningLink. Nothing is ever late here.
func (c *cable) Late() (up, down link.Lateness) {
	return link.Lateness{Packets: c.up.counts.Delivered - c.up.measured}, link.Lateness{Packets: c.down.counts.Delivered - c.down.measured}
}
