//go:build linux

package ruleset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// Config is the NAT of one router.
type Config struct {
	// Router names the router in errors; it may be empty.
	Router string
	// Behavior is what the NAT does.
	Behavior nat.Behavior
	// Outside is the name of the interface that leads outside, at most 15 bytes.
	// Every other interface of the namespace is inside.
	Outside string
	// External are the addresses that the NAT maps to, at least one, each once.
	// All are IPv4. What arrives for them belongs to the NAT alone: no program of
	// the router can be reached there.
	External []netip.Addr
	// Log tells the netfilter log group DropGroup of each packet that is dropped:
	// why, and by which rule. The kernel needs nfnetlink_log for it.
	Log bool
}

// ErrEviction is in the errors of Supported for full=evict.
var ErrEviction = errors.New("full=evict: nftables can add and delete elements of a set, and cannot find the one that was idle for longest; " +
	"use full=drop here (package nat/table does evict)")

// Supported says whether rules can do what a valid behaviour says. Build nothing
// where it gives an error.
func Supported(b nat.Behavior) error {
	if b.Full == nat.FullEvict {
		return ErrEviction
	}
	return nil
}

// resolved gives the configuration with its defaults filled in, or says what is
// wrong with it.
func (c Config) resolved() (Config, error) {
	if err := c.Behavior.Validate(); err != nil {
		return c, err
	}
	if err := Supported(c.Behavior); err != nil {
		return c, err
	}
	c.Behavior = c.Behavior.Resolved()
	if err := checkInterface(c.Outside); err != nil {
		return c, err
	}
	if len(c.External) == 0 {
		return c, errors.New("no external address: a NAT needs at least one to map to")
	}
	c.External = slices.Clone(c.External)
	for i, a := range c.External {
		switch {
		case !a.IsValid():
			return c, fmt.Errorf("external address %d of %d is the zero netip.Addr: fill it in", i+1, len(c.External))
		case a.Is4In6():
			c.External[i] = a.Unmap()
		case a.Is6():
			return c, fmt.Errorf("external address %v: translation of IPv6 (NAT66, NAT64) is missing from package ruleset; give an IPv4 address", a)
		}
		if slices.Contains(c.External[:i], c.External[i]) {
			return c, fmt.Errorf("external address %v is given twice", a)
		}
	}
	// numgen leaves its number in a register in the machine's order, and the
	// swap to network order keeps it at the low end of the register.
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return c, errors.New("big-endian machines are not supported: port allocation needs little-endian registers")
	}
	return c, nil
}

// name is how errors call the thing that is installed.
func (c Config) name() string {
	if c.Router == "" {
		return fmt.Sprintf("NAT %v", c.Behavior)
	}
	return fmt.Sprintf("router %s: NAT %v", c.Router, c.Behavior)
}

func checkInterface(name string) error {
	if name == "" {
		return errors.New("no outside interface: name the one that leads outside")
	}
	if len(name) >= unix.IFNAMSIZ {
		return fmt.Errorf("outside interface %q: names have at most %d bytes", name, unix.IFNAMSIZ-1)
	}
	return nil
}
