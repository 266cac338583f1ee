//go:build linux

package ruleset

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// FirewallConfig is the firewall of one router, or of one host.
type FirewallConfig struct {
	// Router names the router, or the host, in errors; it may be empty.
	Router string
	// Outside is the name of the interface that leads outside, at most 15 bytes.
	// Every other interface of the namespace is inside.
	Outside string
	// Host makes it a host's own firewall: the host is inside, whatever interface
	// it uses, and all others are outside. It has no Outside, no portal, and
	// nothing to decide between.
	Host bool
	// Policy is what the firewall does, Access its lists. A rule whose host has no
	// addresses, but a slice of them, is for nobody.
	Policy nat.Firewall
	Access nat.Access[[]netip.Addr]
	// Tracked says that the router's NAT is of another kind than nat.KindRFC: then
	// packets are left to conntrack, which also puts fragments together.
	Tracked bool
	// Log is as in Config.
	Log bool
}

// name is how errors call the firewall.
func (c FirewallConfig) name() string {
	switch {
	case c.Router == "":
		return "firewall"
	case c.Host:
		return fmt.Sprintf("host %s: firewall", c.Router)
	}
	return fmt.Sprintf("router %s: firewall", c.Router)
}

func (c FirewallConfig) check() error {
	errs := []error{c.Policy.Validate(), c.Access.Validate(c.Policy), checkHosts(c.Access)}
	switch {
	case !c.Host:
		errs = append(errs, checkInterface(c.Outside))
	case c.Policy.Portal.On:
		errs = append(errs, fmt.Errorf("%s: a host's own firewall has nobody behind it to log in", nat.FirewallKeyPortal))
	case !c.Access.Between.IsZero():
		errs = append(errs, fmt.Errorf("%s: behind a host's own firewall is that host alone", nat.AccessKeyBetween))
	}
	return errors.Join(errs...)
}

// Sets of a firewall.
const (
	setFlows  = "flows"  // protocol . inside . remote
	setWithin = "within" // protocol . who began . whom
	setPorts  = "_ports" // where UDP or TCP may leave to, behind its name
)

const (
	chainFirewall = "firewall"
	chainLeaving  = "leaving"
	chainEntering = "entering"
	chainBetween  = "between"
	chainSpoofed  = "spoofed"
	chainOutput   = "output" // of a host
	chainInput    = "input"
)

// loopback is the name of the interface of every namespace that leads nowhere.
const loopback = "lo"

// What rules that drop are called, and counted by.
const (
	deniedEntering = "answers no flow from inside"
	deniedLeaving  = "may not leave"
	deniedBetween  = "may not pass between hosts inside"
	deniedUDP      = "UDP leaves to some ports only"
	deniedAllUDP   = "no UDP leaves"
	deniedTCP      = "TCP leaves to some ports only"
	deniedAllTCP   = "no TCP leaves"
	deniedOther    = "nothing leaves but UDP and TCP"
	spoofedSource  = "its source is not where it came from"
)

// maxFlows is how many flows a firewall with lists knows: several scans of all
// ports of a host.
const maxFlows = 4 * nat.DefaultTableSize

// flowTypes is the key of a flow: protocol, inside address and port, remote
// address and port.
var flowTypes = nftables.MustConcatSetType(nftables.TypeInetProto,
	nftables.TypeIPAddr, nftables.TypeInetService, nftables.TypeIPAddr, nftables.TypeInetService)

// firewall builds the rules of a firewall. Registers 0–4 hold a flow's key.
type firewall struct {
	FirewallConfig
	errors        icmpErrors
	flows, within *nftables.Set
	admitted      *nftables.Set // with a portal
}

func (f *firewall) build() *transaction {
	t := newTransaction(firewallTable)
	t.log = f.Log
	f.errors.declare(t)
	for _, name := range []string{chainLeaving, chainEntering, chainBetween} {
		t.chain(name)
	}
	size := uint32(nat.DefaultTableSize)
	if !f.Access.IsZero() {
		size = maxFlows
	}
	if f.tracks() {
		f.flows = flowSet(setFlows, size)
		t.set(f.flows)
	}
	f.leaving(t)
	f.entering(t)
	if f.Access.Between.Closed {
		f.within = flowSet(setWithin, size)
		t.set(f.within)
		f.between(t)
	}
	if f.Host {
		f.hostHooks(t)
	} else {
		f.routerHooks(t)
	}
	return t
}

// routerHooks has the firewall judge what is forwarded.
func (f *firewall) routerHooks(t *transaction) {
	if !f.Tracked {
		untrack(t)
	}
	t.hook(chainSpoofed, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, prioritySpoofed)
	t.rule(chainSpoofed, spoofedSource, Spoofed(), drop(CauseSpoofed))
	t.hook(chainFirewall, nftables.ChainTypeFilter, nftables.ChainHookForward, priorityFirewall)
	if f.Policy.Portal.On {
		f.portal(t)
	}
	t.rule(chainFirewall, "from inside to outside", entersNotBy(f.Outside), leavesBy(f.Outside), jump(chainLeaving))
	t.rule(chainFirewall, "from outside to inside", entersBy(f.Outside), leavesNotBy(f.Outside), jump(chainEntering))
	t.rule(chainFirewall, "from inside to inside", entersNotBy(f.Outside), leavesNotBy(f.Outside), jump(chainBetween))
}

// hostHooks has the firewall judge what the host itself sends and gets, by all
// interfaces but its loopback. Nothing is tracked nor defragmented here: the
// kernel puts fragments together before the input hook.
func (f *firewall) hostHooks(t *transaction) {
	t.hook(chainOutput, nftables.ChainTypeFilter, nftables.ChainHookOutput, priorityFirewall)
	t.rule(chainOutput, "from this host", leavesNotBy(loopback), jump(chainLeaving))
	t.hook(chainInput, nftables.ChainTypeFilter, nftables.ChainHookInput, priorityFirewall)
	t.rule(chainInput, "to this host", entersNotBy(loopback), jump(chainEntering))
}

// flowSet is a set of flows. Packets of both directions keep a flow for the
// default timeout of a mapping (RFC 6092 REC-14 asks for 2 minutes at least),
// and one of TCP for longer.
func flowSet(name string, size uint32) *nftables.Set {
	return &nftables.Set{
		Name: name, KeyType: flowTypes, Size: size,
		Dynamic: true, HasTimeout: true, Timeout: nat.DefaultTimeout,
	}
}

// tracks says whether the firewall has to know its flows: where one direction
// is closed to all but answers.
func (f *firewall) tracks() bool {
	return f.Policy.Inbound == nat.InboundReplies || f.Policy.KeepsIn() || f.Access.Outbound.Closed
}

// Spoofed matches packets, before they are routed, whose source is not reached
// by the interface that they came in by (RFC 3704 section 2.2): somebody else's
// address, or nobody's.
func Spoofed() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: scratch.number(), FlagSADDR: true, FlagIIF: true, ResultOIF: true},
		compare(scratch, expr.CmpOpEq, 0, 0, 0, 0),
	}
}

// leaving judges packets from inside to outside, and remembers their flows.
func (f *firewall) leaving(t *transaction) {
	if f.tracks() {
		for _, p := range protocols {
			t.rule(chainLeaving, "an answer, "+p.name, p.inbound(), f.leavingFlow(p), member(f.flows, 0), keep(f.flows, p), accept())
		}
	}
	if f.Policy.KeepOther || f.Access.Outbound.Closed {
		for _, p := range protocols {
			t.rule(chainLeaving, "an error about the flow, "+p.name, f.errors.match(), match(quotedProtocol, p.number),
				f.flow(p, quotedProtocol, quotedDestination, p.quotedTo, quotedSource, p.quotedFrom), member(f.flows, 0), accept())
		}
		if f.Host && f.Policy.Reject.Entering() {
			t.rule(chainLeaving, "what this firewall says of what may not enter",
				match(ipProtocol, protocolICMP), match(icmpType, icmpUnreachable), match(icmpCode, icmpProhibited), accept())
		}
	}
	f.ports(t, protocols[0], f.Policy.OutboundUDP, deniedUDP, deniedAllUDP)
	f.ports(t, protocols[1], f.Policy.OutboundTCP, deniedTCP, deniedAllTCP)
	if f.Policy.KeepOther {
		f.refuseLeaving(t, chainLeaving, deniedOther, CauseLeaving,
			matchNot(ipProtocol, unix.IPPROTO_UDP), matchNot(ipProtocol, unix.IPPROTO_TCP))
	}
	if f.Access.Outbound.Closed {
		f.lists(t, chainLeaving, nat.AccessKeyOutbound, f.Access.Outbound.Rules, func(p protocol) []expr.Any {
			return join(f.leavingFlow(p), keep(f.flows, p))
		})
		f.refuseLeaving(t, chainLeaving, deniedLeaving, CauseLeaving)
		return
	}
	if f.tracks() {
		for _, p := range protocols {
			t.rule(chainLeaving, "remember the flow, "+p.name, p.outbound(), f.leavingFlow(p), keep(f.flows, p))
		}
	}
}

// ports lets a protocol leave to some destination ports only; nil: to all.
func (f *firewall) ports(t *transaction, p protocol, open []uint16, denied, deniedAll string) {
	switch {
	case open == nil:
		return
	case len(open) == 0:
		f.refuseLeaving(t, chainLeaving, deniedAll, CauseLeaving, match(ipProtocol, p.number))
		return
	}
	allowed := &nftables.Set{Name: p.name + setPorts, KeyType: nftables.TypeInetService}
	var elements []nftables.SetElement
	for _, n := range open {
		elements = append(elements, nftables.SetElement{Key: port(n)})
	}
	t.set(allowed, elements...)
	f.refuseLeaving(t, chainLeaving, denied, CauseLeaving,
		match(ipProtocol, p.number), load(destinationPort, scratch), notMember(allowed, scratch))
}

// entering lets in what answers a flow from inside, or what a hole is for; where
// everything may enter it remembers what did, since it will be answered.
func (f *firewall) entering(t *transaction) {
	if f.Policy.Inbound == nat.InboundOpen {
		if f.tracks() {
			for _, p := range protocols {
				t.rule(chainEntering, "remember the flow, "+p.name, p.outbound(), f.enteringFlow(p), keep(f.flows, p))
			}
		}
		return
	}
	for _, p := range protocols {
		t.rule(chainEntering, "an answer, "+p.name, p.inbound(), f.enteringFlow(p), member(f.flows, 0), keep(f.flows, p), accept())
		t.rule(chainEntering, "an error about the flow, "+p.name, f.errors.match(), p.quotedOutbound(),
			f.flow(p, quotedProtocol, quotedSource, p.quotedFrom, quotedDestination, p.quotedTo), member(f.flows, 0), accept())
	}
	f.lists(t, chainEntering, nat.AccessKeyAllow, f.Access.Allow, func(p protocol) []expr.Any {
		return join(f.enteringFlow(p), keep(f.flows, p))
	})
	f.refuseEntering(t, chainEntering, deniedEntering, CauseEntering)
}

// between judges packets from one inside interface to another.
func (f *firewall) between(t *transaction) {
	for _, p := range protocols[:2] { // rules are for UDP and TCP
		forth := f.flow(p, ipProtocol, source, p.from, destination, p.to)
		back := f.flow(p, ipProtocol, destination, p.to, source, p.from)
		t.rule(chainBetween, "an answer, "+p.name, match(ipProtocol, p.number), back, member(f.within, 0), keep(f.within, p), accept())
		t.rule(chainBetween, "of a flow, "+p.name, match(ipProtocol, p.number), forth, member(f.within, 0), keep(f.within, p), accept())
		about := join(f.errors.match(), match(quotedProtocol, p.number))
		t.rule(chainBetween, "an error about the flow, "+p.name, about,
			f.flow(p, quotedProtocol, quotedSource, p.quotedFrom, quotedDestination, p.quotedTo), member(f.within, 0), accept())
		t.rule(chainBetween, "an error about an answer, "+p.name, about,
			f.flow(p, quotedProtocol, quotedDestination, p.quotedTo, quotedSource, p.quotedFrom), member(f.within, 0), accept())
	}
	f.lists(t, chainBetween, nat.AccessKeyBetween, f.Access.Between.Rules, func(p protocol) []expr.Any {
		return join(f.flow(p, ipProtocol, source, p.from, destination, p.to), keep(f.within, p))
	})
	f.refuseLeaving(t, chainBetween, deniedBetween, CauseBetween)
}

// keep adds the flow whose key is loaded, or restarts its time.
func keep(flows *nftables.Set, p protocol) expr.Any {
	d := dynset(flows, unix.NFT_DYNSET_OP_UPDATE, 0, 0).(*expr.Dynset)
	d.Timeout = p.idle(flows.Timeout)
	return d
}

// leavingFlow and enteringFlow load the key of the flow of a packet: the inside
// stands first, whoever began.
func (f *firewall) leavingFlow(p protocol) []expr.Any {
	return f.flow(p, ipProtocol, source, p.from, destination, p.to)
}

func (f *firewall) enteringFlow(p protocol) []expr.Any {
	return f.flow(p, ipProtocol, destination, p.to, source, p.from)
}

// flow loads a flow's key.
func (f *firewall) flow(p protocol, number, inside, insidePort, remote, remotePort field) []expr.Any {
	return []expr.Any{
		load(number, 0),
		load(inside, 1), load(insidePort, 2), load(remote, 3), p.remotePort(remotePort, 4),
	}
}
