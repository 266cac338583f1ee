// Package oracle says what two peers can expect of each other: direct path,
// relay, or nothing. It derives that by running the model of package nat/table
// with the procedure of plain punching, not from a table of names; so chains of
// NATs and firewalls, and routers that both peers share, need no rules of
// their own. It knows no loss and no time: mappings do not expire.
package oracle

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"p2pmodel/nat"
)

// Element is one router of a chain. It may translate, filter, or both; the
// filter then stands on the inner side. A host's own firewall is an element, too,
// the innermost of its chain.
type Element struct {
	// Name tells routers apart: elements of one name in the two chains are one
	// router, and so is everything in front of it. Empty: shared with nobody.
	Name     string
	NAT      *nat.Behavior
	Firewall *nat.Firewall
	// Access are the lists of the firewall; nil: there are none. Names are those of
	// Options.
	Access *nat.Access[string]
	// LoggedIn are the hosts that are logged in at the firewall's portal, by names as
	// in Options.
	LoggedIn []string
	// Addresses is how many external addresses the NAT has; 0 means 1.
	Addresses int
}

// Chain is what stands between a peer and the Internet, the inner first. An
// empty chain is a public host.
type Chain []Element

// Path is how payload travels.
type Path string

// The paths.
const (
	PathDirect Path = "direct"
	PathRelay  Path = "relay"
	PathNone   Path = "none"
)

// Technique is what a stack can do beyond plain punching.
type Technique string

// The techniques.
const (
	// Prediction foretells the ports of a sequential or preserving NAT.
	Prediction Technique = "prediction"
	// Birthday searches the ports of a hard NAT, from a socket behind one that
	// gives it the same port for everybody.
	Birthday Technique = "birthday"
)

// Outcome is what two chains allow, whatever the stack can do.
type Outcome uint8

// The outcomes, best first.
const (
	// Direct: plain punching finds a path whose answers come from where it was
	// sent to.
	Direct Outcome = iota
	// Split: each side reaches the other, but answers come from another address
	// than was probed; ICE's symmetry rule (RFC 8445 section 7.2.5.2.1) discards
	// them.
	Split
	// OneGuess: direct if one side finds the other's ports.
	OneGuess
	// TwoIndependent: direct if each side finds the other's ports; the searches
	// do not disturb each other.
	TwoIndependent
	// TwoJoint: direct only if both sides foretell a port at once, because each
	// attempt changes what the other has to find.
	TwoJoint
	// Blocked: no direct path, whatever is guessed.
	Blocked
)

// String gives the short form: D, S, 1, 1+1, 2, and - for Blocked.
func (o Outcome) String() string {
	names := [...]string{"D", "S", "1", "1+1", "2", "-"}
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("invalid(%d)", uint8(o))
}

// Path is the path that a stack takes which has these techniques, and accepts
// split paths or not, given that a relay is reachable. Prediction is taken to
// foretell every port.
func (o Outcome) Path(splitPaths bool, techniques ...Technique) Path {
	predicts, searches := slices.Contains(techniques, Prediction), slices.Contains(techniques, Birthday)
	direct := false
	switch o {
	case Direct:
		direct = true
	case Split:
		direct = splitPaths
	case OneGuess, TwoIndependent:
		direct = predicts || searches
	case TwoJoint:
		direct = predicts
	}
	if direct {
		return PathDirect
	}
	return PathRelay
}

// DefaultServerPort is the port of rendezvous and relay (RFC 8489 section 8.4).
const DefaultServerPort = 3478

// Options say what stack the peers run, and where their servers listen.
type Options struct {
	// SplitPaths: the stack trusts an authenticated answer from another address
	// than it probed. False is ICE's symmetry rule.
	SplitPaths bool
	Techniques []Technique
	// RendezvousPort and RelayPort are where the servers listen for UDP; 0 means
	// DefaultServerPort. Peers use allocations of their own on the relay.
	RendezvousPort, RelayPort uint16
	// StreamPort is where both listen for TCP as well, for peers that do not reach
	// them by UDP; 0 means nowhere.
	StreamPort uint16
	// Rendezvous and Relay are where the servers stand, which are one host if they
	// have one name; by default they are public.
	Rendezvous, Relay Host
	// Peers are the names of the peers, in the order of the chains, for lists that
	// name them.
	Peers [2]string
}

// Host is a server: its name, for lists, and what stands between it and the
// Internet.
type Host struct {
	Name  string
	Chain Chain
}

// Expectation is what must happen between two peers.
type Expectation struct {
	Path    Path
	Outcome Outcome
	// Or is another path that may come instead, by chance: by who comes first at the
	// other's NAT, where a router takes packets that nobody expects, or by whose turn it
	// is in the pool of an arbitrary NAT. Empty: Path is certain.
	Or Path
	// Streams are the peers that reach a server by TCP only, in the order of the
	// chains.
	Streams [2]bool
	// Why is a sentence for people.
	Why string
}

// Expect derives the expectation for two peers. The order of the chains, and
// who sends first, do not matter: where the outcomes of the send orders differ, the
// lesser counts, and Or has the other. It fails if a chain is invalid, or if two elements
// of one name differ.
func Expect(a, b Chain, opt Options) (Expectation, error) {
	if opt.RendezvousPort == 0 {
		opt.RendezvousPort = DefaultServerPort
	}
	if opt.RelayPort == 0 {
		opt.RelayPort = DefaultServerPort
	}
	if err := check(a, b, opt.Rendezvous.Chain, opt.Relay.Chain); err != nil {
		return Expectation{}, fmt.Errorf("oracle: %w", err)
	}
	var streams [2]bool
	for i, side := range sides {
		byUDP, byTCP, why, err := reach(a, b, opt, i, (*network).rendezvous)
		if err != nil {
			return Expectation{}, fmt.Errorf("oracle: %w", err)
		}
		if !byUDP && !byTCP {
			return Expectation{Path: PathNone, Outcome: Blocked,
				Why: fmt.Sprintf("%s cannot reach the rendezvous %s%s, so nobody introduces the peers", side, opt.ports(opt.RendezvousPort), why)}, nil
		}
		streams[i] = !byUDP
	}
	outcome, best, err := derive(a, b, opt)
	if err != nil {
		return Expectation{}, fmt.Errorf("oracle: %w", err)
	}
	techniques := opt.Techniques
	if unpredictable(a) || unpredictable(b) {
		techniques = slices.DeleteFunc(slices.Clone(techniques), func(t Technique) bool { return t == Prediction })
	}
	if dependent(a) && dependent(b) {
		techniques = slices.DeleteFunc(slices.Clone(techniques), func(t Technique) bool { return t == Birthday })
	}
	e := Expectation{Path: outcome.Path(opt.SplitPaths, techniques...), Outcome: outcome, Streams: streams, Why: reasons[outcome]}
	if or := best.Path(opt.SplitPaths, techniques...); or != e.Path {
		e.Or = or
		e.Why += fmt.Sprintf("; but %s where chance helps: who comes first at the other's NAT, or whose turn it is in a pool of addresses", or)
	}
	if e.Path == PathRelay {
		for i, side := range sides {
			byUDP, byTCP, why, err := reach(a, b, opt, i, (*network).relay)
			if err != nil {
				return Expectation{}, fmt.Errorf("oracle: %w", err)
			}
			if !byUDP && !byTCP {
				e.Path = PathNone
				e.Why += fmt.Sprintf("; and %s cannot reach the relay %s%s", side, opt.ports(opt.RelayPort), why)
				break
			}
			e.Streams[i] = e.Streams[i] || !byUDP
		}
	}
	for i, side := range sides {
		if e.Streams[i] {
			e.Why += fmt.Sprintf("; %s reaches servers by TCP to port %d only", side, opt.StreamPort)
		}
	}
	return e, nil
}

var sides = [2]string{"the first peer", "the second peer"}

// reach reports how a peer gets answers from a server, and why not by the last
// protocol that was tried.
func reach(a, b Chain, opt Options, peer int, server func(*network) netip.AddrPort) (byUDP, byTCP bool, why string, err error) {
	n, err := newNetwork(a, b, opt)
	if err != nil {
		return false, false, "", err
	}
	if n.reaches(peer, server(n)) {
		return true, false, "", nil
	}
	if opt.StreamPort != 0 {
		byTCP = n.streams(peer, netip.AddrPortFrom(server(n).Addr(), opt.StreamPort))
	}
	return false, byTCP, n.because(), nil
}

// ports says where a server listens.
func (opt Options) ports(udp uint16) string {
	if opt.StreamPort != 0 {
		return fmt.Sprintf("by UDP to port %d, nor by TCP to port %d", udp, opt.StreamPort)
	}
	return fmt.Sprintf("by UDP to port %d", udp)
}

var reasons = [...]string{
	Direct:         "a probe reaches the other side, and its answer comes back from where the probe was sent to",
	Split:          "each side reaches the other, but answers come from another port than was probed, because each new destination takes a new port",
	OneGuess:       "no probe reaches the other side, unless one side finds the port that the other's NAT takes for it",
	TwoIndependent: "no probe reaches the other side, unless each side finds the port that the other's NAT takes for it",
	TwoJoint:       "no probe reaches the other side, and each attempt takes another port, so both would have to be foretold at once",
	Blocked:        "no probe reaches the other side, whatever ports are guessed",
}

// unpredictable reports whether the chain has a NAT whose next port nobody can
// foretell.
func unpredictable(c Chain) bool {
	return slices.ContainsFunc(c, func(e Element) bool {
		return e.NAT != nil && e.NAT.Ports == nat.Random && e.NAT.Mapping != nat.EndpointIndependent
	})
}

// dependent reports whether the chain has a NAT whose mapping depends on the
// destination. Where both have, no birthday search is made: probes would leave by
// ports that differ, too, and two unknown ports at once are found by chance after
// 170,000 probes a side.
func dependent(c Chain) bool {
	return slices.ContainsFunc(c, func(e Element) bool {
		return e.NAT != nil && e.NAT.Mapping != nat.EndpointIndependent
	})
}

// check validates the chains, and that they agree on what they share.
func check(chains ...Chain) error {
	for _, c := range chains {
		if err := c.check(); err != nil {
			return err
		}
	}
	for i, a := range chains {
		for _, b := range chains[i+1:] {
			if err := agree(a, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c Chain) check() error {
	names := make(map[string]bool)
	for i, e := range c {
		if e.NAT != nil {
			if err := e.NAT.Validate(); err != nil {
				return fmt.Errorf("element %d %s: %w", i, e.Name, err)
			}
		}
		if e.Firewall != nil {
			if err := e.Firewall.Validate(); err != nil {
				return fmt.Errorf("element %d %s: %w", i, e.Name, err)
			}
		}
		if e.Access != nil && e.Firewall == nil {
			return fmt.Errorf("element %d %s: it has lists of a firewall, but no firewall", i, e.Name)
		}
		if e.Name != "" && names[e.Name] {
			return fmt.Errorf("router %s stands twice in one chain", e.Name)
		}
		names[e.Name] = true
	}
	return nil
}

// agree checks that what two chains share is the same, and so is all in front of
// it.
func agree(a, b Chain) error {
	for i, e := range a {
		j := slices.IndexFunc(b, func(f Element) bool { return e.Name != "" && e.Name == f.Name })
		if j < 0 {
			continue
		}
		if !sameRest(a[i:], b[j:]) {
			return fmt.Errorf("both chains pass router %s, but it differs between them, or what stands in front of it does", e.Name)
		}
		break
	}
	return nil
}

func sameRest(a, b Chain) bool {
	return slices.EqualFunc(a, b, func(e, f Element) bool {
		return e.Name == f.Name && e.Addresses == f.Addresses &&
			(e.NAT == nil) == (f.NAT == nil) && (e.NAT == nil || *e.NAT == *f.NAT) &&
			(e.Firewall == nil) == (f.Firewall == nil) && (e.Firewall == nil || e.Firewall.String() == f.Firewall.String()) &&
			reflect.DeepEqual(e.Access, f.Access) && slices.Equal(e.LoggedIn, f.LoggedIn)
	})
}
