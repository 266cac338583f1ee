//go:build linux

// Package differential holds the kernel's rules (nat/ruleset) against the model
// (nat/table), packet by packet: a Schedule is a behaviour and what is done to a NAT
// that has it, a Judge says whether what became of each packet is what the model
// says, and a Rig plays schedules on the kernel. Shrink finds the few steps of a
// schedule on which the two still disagree.
package differential

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// Schedule is what is played: a NAT, and the steps in their order. Its text form is
// read by Parse.
type Schedule struct {
	Behavior nat.Behavior
	// External is how many external addresses the NAT has, 1 to MaxExternal.
	External int
	Steps    []Step
}

// Step is one thing that is done.
type Step struct {
	Do StepKind
	// Protocol, From and To are for packets. From is inside with Out, outside with In.
	Protocol table.Protocol
	From, To Endpoint
	// Same: the packet is sent at the same instant as the one before it, by another
	// thread. It means nothing where the step before is no packet.
	Same bool
	// Pause is for Pause; External for Reboot: the number of addresses afterwards, 0
	// for as many as before. Host is for Rebind, 0 for all; Behavior for Swap.
	Pause    time.Duration
	External int
	Host     byte
	Behavior nat.Behavior
}

// StepKind says what a step does.
type StepKind uint8

// The kinds of steps.
const (
	// Out is a packet from an inside host: to the outside, or to an external address.
	Out StepKind = iota
	// In is a packet from the outside to an external address.
	In
	// Wait lets time pass.
	Wait
	// Flush empties the NAT's tables, while its counters go on.
	Flush
	// Reboot has the NAT lose everything, and perhaps get other addresses.
	Reboot
	// Rebind ends the mappings of one inside host, or of all.
	Rebind
	// Swap gives the router another NAT.
	Swap
)

var stepNames = []string{"out", "in", "wait", "flush", "reboot", "rebind", "swap"}

func (k StepKind) String() string {
	if int(k) < len(stepNames) {
		return stepNames[k]
	}
	return fmt.Sprintf("invalid(%d)", uint8(k))
}

// Endpoint is a transport address by name. Names last while a schedule is shrunk:
// a mapping is called by whose it is, and not by the packet that made it.
type Endpoint struct {
	// Node is 'a' to 'c' for an inside host, 'x' to 'z' for an outside address, '1' to
	// '3' for an external address; or '@' for the external endpoint that packets of an
	// inside endpoint, of Host and Port, left with last.
	Node byte
	Host byte // of '@'
	Port uint16
	// Back is how many external endpoints of the inside one before the last, of '@'.
	Back uint8
}

// Bounds of what a schedule may hold.
const (
	MaxExternal = 3
	MaxSteps    = 1000
	MaxWait     = 10 * time.Second
	maxBack     = 9
	// maxSame is how many packets there are at one instant; of more, the next ones come
	// after them.
	maxSame = 4
)

const (
	firstHost     = 'a'
	firstOutside  = 'x'
	firstExternal = '1'
	mapped        = '@'
	// nodes is how many there are of each kind.
	nodes = 3
)

func among(node byte, first byte) bool { return node >= first && node < first+nodes }

// Addresses of the rig.
var (
	insideNet  = netip.MustParsePrefix("192.168.1.0/24")
	outsideNet = netip.MustParsePrefix("198.18.0.0/24")
)

// HostAddr is the address of an inside host, by its name.
func HostAddr(node byte) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, 1, 10 + node - firstHost})
}

func outsideAddr(node byte) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, 0, 10 + node - firstOutside})
}

func externalAddr(node byte) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, 0, 1 + node - firstExternal})
}

// ExternalAddrs are the first n external addresses.
func ExternalAddrs(n int) []netip.Addr {
	var all []netip.Addr
	for i := range n {
		all = append(all, externalAddr(firstExternal+byte(i)))
	}
	return all
}

// name is the short form of an address: as in "a:40000".
func name(a netip.AddrPort) string {
	for i := range byte(nodes) {
		for _, n := range []struct {
			node byte
			addr netip.Addr
		}{
			{firstHost + i, HostAddr(firstHost + i)}, {firstOutside + i, outsideAddr(firstOutside + i)},
			{firstExternal + i, externalAddr(firstExternal + i)},
		} {
			if n.addr == a.Addr() {
				return fmt.Sprintf("%c:%d", n.node, a.Port())
			}
		}
	}
	return a.String()
}

// packetText is a packet in short names.
func packetText(p table.Packet) string {
	return fmt.Sprintf("%s %s > %s", p.Protocol, name(p.Src), name(p.Dst))
}

// Packets is how many steps are packets.
func (s Schedule) Packets() int {
	n := 0
	for _, step := range s.Steps {
		if step.Do <= In {
			n++
		}
	}
	return n
}

// Validate says what is wrong with a schedule.
func (s Schedule) Validate() error {
	if err := s.Behavior.Validate(); err != nil {
		return err
	}
	if s.External < 1 || s.External > MaxExternal {
		return fmt.Errorf("external %d: a NAT has 1 to %d external addresses here", s.External, MaxExternal)
	}
	if len(s.Steps) > MaxSteps {
		return fmt.Errorf("%d steps: %d at most", len(s.Steps), MaxSteps)
	}
	for i, step := range s.Steps {
		if err := step.validate(); err != nil {
			return fmt.Errorf("step %d, %q: %w", i+1, step, err)
		}
	}
	return nil
}

func (s Step) validate() error {
	if s.Same && s.Do > In {
		return fmt.Errorf("packets alone are sent at the same instant as others")
	}
	switch s.Do {
	case Out, In:
		return s.validatePacket()
	case Wait:
		if s.Pause <= 0 || s.Pause > MaxWait || s.Pause%time.Millisecond != 0 {
			return fmt.Errorf("it waits for whole milliseconds, to %v", MaxWait)
		}
	case Reboot:
		if s.External < 0 || s.External > MaxExternal {
			return fmt.Errorf("a NAT has 1 to %d external addresses here", MaxExternal)
		}
	case Rebind:
		if s.Host != 0 && !among(s.Host, firstHost) {
			return fmt.Errorf("inside hosts are a, b and c")
		}
	case Swap:
		return s.Behavior.Validate()
	case Flush:
	default:
		return fmt.Errorf("no such step")
	}
	return nil
}

func (s Step) validatePacket() error {
	if s.Protocol > table.ICMPEcho {
		return fmt.Errorf("no such protocol")
	}
	from, what := byte(firstHost), "an inside host: a, b or c"
	if s.Do == In {
		from, what = firstOutside, "the outside: x, y or z"
	}
	external := among(s.To.Node, firstExternal) || s.To.Node == mapped
	switch {
	case !among(s.From.Node, from):
		return fmt.Errorf("it comes from %s", what)
	case s.Do == In && !external, s.Do == Out && !external && !among(s.To.Node, firstOutside):
		return fmt.Errorf("it goes to no such place: 1 to 3 and @ are external, x to z outside")
	case s.To.Node == mapped && !among(s.To.Host, firstHost):
		return fmt.Errorf("mappings are those of inside hosts, a, b and c")
	case s.To.Back > maxBack || s.To.Node != mapped && (s.To.Back > 0 || s.To.Host != 0):
		return fmt.Errorf("~ counts back to %d, from mappings", maxBack)
	}
	return nil
}

// Clone is a copy that shares nothing.
func (s Schedule) Clone() Schedule {
	s.Steps = slices.Clone(s.Steps)
	return s
}

// Supported reports whether rules can do all that a schedule asks for.
func (s Schedule) Supported() bool {
	able := func(b nat.Behavior) bool { return b.Full != nat.FullEvict }
	for _, step := range s.Steps {
		if step.Do == Swap && !able(step.Behavior) {
			return false
		}
	}
	return able(s.Behavior)
}
