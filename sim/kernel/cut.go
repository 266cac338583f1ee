//go:build linux

package kernel

import (
	"errors"
	"fmt"

	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

var _ sim.RunningLink = (*cable)(nil)

// losing is what loses the packets of a plain link.
type losing struct {
	up, down       *egress // non-nil while cut, at the node's and the parent's end
	wasUp, wasDown uint64  // packets that former cuts took
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
	if !c.cut {
		return nil
	}
	if err := c.setCut(false); err != nil {
		return c.errorf("restore", err)
	}
	c.cut = false
	c.network.log("link of %s is restored", c.planned.ID)
	return nil
}

func (c *cable) setCut(on bool) (err error) {
	if c.wire != nil {
		// An unplugged cable loses everything, whether it is cut or not.
		return c.wire.link.Cut(on || c.unplugged)
	}
	if on {
		if c.losing.up == nil {
			if c.losing.up, err = loseAt(c.child, "cut", []*iface{c.lower}, selection{}); err != nil {
				return err
			}
		}
		if c.losing.down == nil {
			c.losing.down, err = loseAt(c.parent, "cut", []*iface{c.upper}, selection{})
		}
		return err
	}
	if c.losing.up != nil {
		lost, err := c.losing.up.lift()
		if err != nil {
			return err
		}
		c.losing.wasUp += lost
		c.losing.up = nil
	}
	if c.losing.down != nil {
		lost, err := c.losing.down.lift()
		if err != nil {
			return err
		}
		c.losing.wasDown += lost
		c.losing.down = nil
	}
	return nil
}

// Impair implements sim.RunningLink. It works on links that the lab declares;
// for others it returns ErrPlainLink.
func (c *cable) Impair(up, down link.Impairment) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == nil {
		return c.errorf("impair", ErrPlainLink)
	}
	c.wire.up, c.wire.down = up, down
	if c.lifted > 0 {
		return nil // takes effect when the certification is over
	}
	if err := c.wire.link.Set(up, down); err != nil {
		return c.errorf("impair", err)
	}
	c.network.log("link of %s: up %v, down %v", c.planned.ID, up, down)
	return nil
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
	if c.wire != nil {
		u, d := c.wire.link.Counters()
		return u.Lost(), d.Lost()
	}
	up, down = c.losing.wasUp, c.losing.wasDown
	for _, side := range []struct {
		e     *egress
		total *uint64
	}{{c.losing.up, &up}, {c.losing.down, &down}} {
		if side.e == nil {
			continue
		}
		n, err := side.e.lost()
		if err != nil {
			c.network.log("link of %s: %v", c.planned.ID, err)
			continue
		}
		*side.total += n
	}
	return up, down
}
