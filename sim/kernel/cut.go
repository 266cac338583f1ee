//go:build linux

package kernel

import (
	"errors"
	"fmt"

	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

var _ sim.RunningLink = (*cable)(nil)

// losing is what loses the packets of a plain link that is cut, or of any link
// in one direction: at the node's end those up, at the parent's those down.
type losing struct {
	up, down       *egress // non-nil while packets are lost
	wasUp, wasDown uint64  // packets that were lost before
}

// ErrPlainLink is returned by Impair for links that are plain veths.
var ErrPlainLink = errors.New("the lab does not declare the link, so it is a plain one: name it under links:, if only with zero impairments")

func (c *cable) errorf(doing string, err error) error {
	return fmt.Errorf("link of %s: %s: %w", c.planned.ID, doing, err)
}

// Cut implements sim.RunningLink. Interfaces, routes and neighbours stay as
// they are: nobody is told, as when a cable breaks far away.
func (c *cable) Cut() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return nil
	}
	if err := c.setCut(true); err != nil {
		return c.errorf("cut", err)
	}
	c.cut = true
	c.network.log("link of %s is cut", c.planned.ID)
	return nil
}

// Restore implements sim.RunningLink.
func (c *cable) Restore() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cut && c.holes.up == nil && c.holes.down == nil {
		return nil
	}
	if c.cut {
		if err := c.setCut(false); err != nil {
			return c.errorf("restore", err)
		}
		c.cut = false
	}
	if err := c.holes.lift(); err != nil {
		return c.errorf("restore", err)
	}
	c.network.log("link of %s is restored", c.planned.ID)
	return nil
}

func (c *cable) setCut(on bool) (err error) {
	if c.wire != nil {
		// An unplugged cable loses everything, whether it is cut or not.
		return c.wire.link.Cut(on || c.unplugged)
	}
	if !on {
		return c.losing.lift()
	}
	if err := c.lose(&c.losing, "cut", sim.Up); err != nil {
		return err
	}
	return c.lose(&c.losing, "cut", sim.Down)
}

// Blackhole implements sim.RunningLink.
func (c *cable) Blackhole(d sim.Direction) error {
	if d != sim.Up && d != sim.Down {
		return c.errorf("make a black hole", fmt.Errorf("unknown direction %q", d))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.lose(&c.holes, "blackhole", d); err != nil {
		return c.errorf("make a black hole", err)
	}
	c.network.log("link of %s loses everything that goes %s", c.planned.ID, d)
	return nil
}

// lose begins to lose what enters the cable in a direction, if it does not yet.
func (c *cable) lose(l *losing, purpose string, d sim.Direction) (err error) {
	switch {
	case d == sim.Up && l.up == nil:
		l.up, err = loseAt(c.child, purpose, []*iface{c.lower}, selection{})
	case d == sim.Down && l.down == nil:
		l.down, err = loseAt(c.parent, purpose, []*iface{c.upper}, selection{})
	}
	return err
}

// lift ends the loss of both directions.
func (l *losing) lift() error {
	for _, side := range []struct {
		e   **egress
		was *uint64
	}{{&l.up, &l.wasUp}, {&l.down, &l.wasDown}} {
		if *side.e == nil {
			continue
		}
		lost, err := (*side.e).lift()
		if err != nil {
			return err
		}
		*side.was += lost
		*side.e = nil
	}
	return nil
}

// lost counts the packets of both directions so far. What cannot be counted any
// more is left out, and told to report.
func (l *losing) lost(report func(error)) (up, down uint64) {
	up, down = l.wasUp, l.wasDown
	for _, side := range []struct {
		e     *egress
		total *uint64
	}{{l.up, &up}, {l.down, &down}} {
		if side.e == nil {
			continue
		}
		n, err := side.e.lost()
		if err != nil {
			report(err)
			continue
		}
		*side.total += n
	}
	return up, down
}

// Impair implements sim.RunningLink. It works on links that the lab declares;
// for others it returns ErrPlainLink.
func (c *cable) Impair(up, down link.Impairment) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == nil {
		return c.errorf("impair", ErrPlainLink)
	}
	if err := errors.Join(up.Validate(), down.Validate()); err != nil {
		return c.errorf("impair", err)
	}
	if err := c.refused(up, down); err != nil {
		return c.errorf("impair", err)
	}
	c.wire.up, c.wire.down = up, down
	if err := c.setMTU(); err != nil {
		return c.errorf("impair", err)
	}
	if c.lifted > 0 {
		return nil // takes effect when the certification is over
	}
	if err := c.wire.link.Set(up, down); err != nil {
		return c.errorf("impair", err)
	}
	c.network.log("link of %s: up %s, down %s", c.planned.ID, described(up), described(down))
	return nil
}

func described(i link.Impairment) string {
	if i.IsZero() {
		return "perfect"
	}
	return sim.DescribeImpairment(i)
}

// Impairments implements sim.RunningLink. A plain link has none.
func (c *cable) Impairments() (up, down link.Impairment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == nil {
		return up, down
	}
	return c.wire.up, c.wire.down
}

// lift takes the impairments off until the returned function is called. It may
// be nested.
func (c *cable) lift() (restore func() error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == nil {
		return func() error { return nil }, nil
	}
	if err := c.wire.link.Set(link.Impairment{}, link.Impairment{}); err != nil {
		return nil, c.errorf("lift the impairments", err)
	}
	c.lifted++
	return func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.lifted--; c.lifted > 0 {
			return nil
		}
		if err := c.wire.link.Set(c.wire.up, c.wire.down); err != nil {
			return c.errorf("impair again", err)
		}
		return nil
	}, nil
}

// Lost implements sim.RunningLink. Of a link of the lab that is closed it gives
// what can still be known: nothing for plain ones.
func (c *cable) Lost() (up, down uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	report := func(err error) { c.network.log("link of %s: %v", c.planned.ID, err) }
	up, down = c.holes.lost(report)
	if c.wire != nil {
		u, d := c.wire.link.Counters()
		return up + u.Lost(), down + d.Lost()
	}
	u, d := c.losing.lost(report)
	return up + u, down + d
}

// Counts implements sim.RunningLink. Of a plain link only what cuts took is known.
func (c *cable) Counts() (up, down link.Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	report := func(err error) { c.network.log("link of %s: %v", c.planned.ID, err) }
	if c.wire != nil {
		u, d := c.wire.link.Counters()
		up, down = u.Counts, d.Counts
	}
	for _, l := range []*losing{&c.losing, &c.holes} {
		u, d := l.lost(report)
		up.By[link.Cut] += u
		down.By[link.Cut] += d
	}
	return up, down
}

// Late implements sim.RunningLink. A plain link is never late.
func (c *cable) Late() (up, down link.Lateness) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == nil {
		return up, down
	}
	return c.wire.link.Late()
}
