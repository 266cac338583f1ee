package ruleset

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// FirewallConfig is the firewall of one router.
type FirewallConfig struct {
	// Router names the router in errors; it may be empty.
	Router string
	// Outside is the name of the interface that leads outside, at most 15 bytes.
	// Every other interface of the namespace is inside.
	Outside string
	// Policy is what the firewall does, Access its lists. A rule whose host has no
	// addresses, but a slice of them, is for nobody.
	Policy nat.Firewall
	Access nat.Access[[]netip.Addr]
	// Log is as in Config.
	Log bool
}

// Sets of a firewall.
const (
	setFlows  = "flows"     // protocol . inside . remote
	setWithin = "within"    // protocol . who began . whom
	setPorts  = "udp_ports" // where UDP may leave to
)

const (
	chainFirewall = "firewall"
	chainLeaving  = "leaving"
	chainEntering = "entering"
	chainBetween  = "between"
	chainSpoofed  = "spoofed"
)

// What rules that drop are called, and counted by.
const (
	deniedEntering = "answers no flow from inside"
	deniedLeaving  = "may not leave"
	deniedBetween  = "may not pass between hosts inside"
	deniedUDP      = "UDP leaves to some ports only"
	deniedAllUDP   = "no UDP leaves"
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
	untrack(t)
	t.hook(chainSpoofed, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, prioritySpoofed)
	t.rule(chainSpoofed, spoofedSource, Spoofed(), drop(CauseSpoofed))
	t.hook(chainFirewall, nftables.ChainTypeFilter, nftables.ChainHookForward, priorityFirewall)
	t.rule(chainFirewall, "from inside to outside", entersNotBy(f.Outside), leavesBy(f.Outside), jump(chainLeaving))
	t.rule(chainFirewall, "from outside to inside", entersBy(f.Outside), leavesNotBy(f.Outside), jump(chainEntering))
	t.rule(chainFirewall, "from inside to inside", entersNotBy(f.Outside), leavesNotBy(f.Outside), jump(chainBetween))
	return t
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
	return f.Policy.Inbound == nat.InboundReplies || f.Access.Outbound.Closed
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
	if f.Policy.OutboundUDP != nil {
		f.outboundUDP(t)
	}
	if f.Access.Outbound.Closed {
		for _, p := range protocols {
			t.rule(chainLeaving, "an error about the flow, "+p.name, f.errors.match(), match(quotedProtocol, p.number),
				f.flow(p, quotedProtocol, quotedDestination, p.quotedTo, quotedSource, p.quotedFrom), member(f.flows, 0), accept())
		}
		f.lists(t, chainLeaving, nat.AccessKeyOutbound, f.Access.Outbound.Rules, func(p protocol) []expr.Any {
			return join(f.leavingFlow(p), keep(f.flows, p))
		})
		t.rule(chainLeaving, deniedLeaving, drop(CauseLeaving))
		return
	}
	if f.tracks() {
		for _, p := range protocols {
			t.rule(chainLeaving, "remember the flow, "+p.name, p.outbound(), f.leavingFlow(p), keep(f.flows, p))
		}
	}
}

func (f *firewall) outboundUDP(t *transaction) {
	udp := protocols[0]
	if len(f.Policy.OutboundUDP) == 0 {
		t.rule(chainLeaving, deniedAllUDP, match(ipProtocol, udp.number), drop(CauseLeaving))
		return
	}
	allowed := &nftables.Set{Name: setPorts, KeyType: nftables.TypeInetService}
	var elements []nftables.SetElement
	for _, p := range f.Policy.OutboundUDP {
		elements = append(elements, nftables.SetElement{Key: port(p)})
	}
	t.set(allowed, elements...)
	t.rule(chainLeaving, deniedUDP,
		match(ipProtocol, udp.number), load(destinationPort, scratch), notMember(allowed, scratch), drop(CauseLeaving))
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
	t.rule(chainEntering, deniedEntering, drop(CauseEntering))
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
	t.rule(chainBetween, deniedBetween, drop(CauseBetween))
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
