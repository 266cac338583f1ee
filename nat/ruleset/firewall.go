package ruleset

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"p2pmodel/nat"
)

// Sets of a firewall.
const (
	setFlows = "flows"     // protocol . inside . remote
	setPorts = "udp_ports" // where UDP may leave to
)

const (
	chainFirewall = "firewall"
	chainLeaving  = "leaving"
	chainEntering = "entering"
)

// flowTypes is the key of a flow: protocol, inside address and port, remote
// address and port.
var flowTypes = nftables.MustConcatSetType(nftables.TypeInetProto,
	nftables.TypeIPAddr, nftables.TypeInetService, nftables.TypeIPAddr, nftables.TypeInetService)

// firewall builds the rules of a nat.Firewall. Registers 0–4 hold a flow's key.
type firewall struct {
	fw      nat.Firewall
	outside string
	errors  icmpErrors
	flows   *nftables.Set
}

func (f *firewall) build() *transaction {
	t := newTransaction(firewallTable)
	f.errors.declare(t)
	t.chain(chainLeaving)
	t.chain(chainEntering)
	if f.fw.OutboundUDP != nil {
		f.outboundUDP(t)
	}
	if f.fw.Inbound == nat.InboundReplies {
		f.replies(t)
	}
	untrack(t)
	t.hook(chainFirewall, nftables.ChainTypeFilter, nftables.ChainHookForward, priorityFirewall)
	t.rule(chainFirewall, "from inside to outside", entersNotBy(f.outside), leavesBy(f.outside), jump(chainLeaving))
	t.rule(chainFirewall, "from outside to inside", entersBy(f.outside), leavesNotBy(f.outside), jump(chainEntering))
	return t
}

func (f *firewall) outboundUDP(t *transaction) {
	udp := protocols[0]
	if len(f.fw.OutboundUDP) == 0 {
		t.rule(chainLeaving, "no UDP leaves", match(ipProtocol, udp.number), drop())
		return
	}
	allowed := &nftables.Set{Name: setPorts, KeyType: nftables.TypeInetService}
	var elements []nftables.SetElement
	for _, p := range f.fw.OutboundUDP {
		elements = append(elements, nftables.SetElement{Key: port(p)})
	}
	t.set(allowed, elements...)
	t.rule(chainLeaving, "UDP leaves to some ports only",
		match(ipProtocol, udp.number), load(destinationPort, scratch), notMember(allowed, scratch), drop())
}

// replies lets in what answers a flow from inside. Packets of both directions
// keep a flow for the default timeout of a mapping (RFC 6092 REC-14 asks for 2
// minutes at least).
func (f *firewall) replies(t *transaction) {
	f.flows = &nftables.Set{
		Name: setFlows, KeyType: flowTypes, Size: nat.DefaultTableSize,
		Dynamic: true, HasTimeout: true, Timeout: nat.DefaultTimeout,
	}
	t.set(f.flows)
	for _, p := range protocols {
		t.rule(chainLeaving, "remember the flow, "+p.name, p.outbound(),
			f.flow(p, ipProtocol, source, p.from, destination, p.to), refresh(f.flows, 0, 0))
		t.rule(chainEntering, "an answer, "+p.name, p.inbound(),
			f.flow(p, ipProtocol, destination, p.to, source, p.from), member(f.flows, 0), refresh(f.flows, 0, 0), accept())
		t.rule(chainEntering, "an error about the flow, "+p.name, f.errors.match(), p.quotedOutbound(),
			f.flow(p, quotedProtocol, quotedSource, p.quotedFrom, quotedDestination, p.quotedTo), member(f.flows, 0), accept())
	}
	t.rule(chainEntering, "answers no flow from inside", drop())
}

// flow loads a flow's key.
func (f *firewall) flow(p protocol, number, inside, insidePort, remote, remotePort field) []expr.Any {
	return []expr.Any{
		load(number, 0),
		load(inside, 1), load(insidePort, 2), load(remote, 3), p.remotePort(remotePort, 4),
	}
}
