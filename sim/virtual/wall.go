package virtual

import (
	"net/netip"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// wall is the firewall of a router, or of a host.
type wall struct {
	network *Network
	node    *node
	policy  nat.Firewall
	access  *sim.Access // as the lab has it
	table   *table.Firewall
	counts  sim.FirewallCounts // but for its rules
	off     bool               // during a certification
}

// way is where a packet passes a firewall to.
type way uint8

const (
	leaving way = iota
	entering
	between
	returning // back to where it came from; no rule is about that
)

func direction(fromOutside, toOutside bool) way {
	switch {
	case fromOutside && toOutside:
		return returning
	case fromOutside:
		return entering
	case toOutside:
		return leaving
	}
	return between
}

func newWall(n *Network, at *node, policy nat.Firewall) (*wall, error) {
	t, err := table.NewFirewall(policy, n.plans.plan.Access(at.name))
	if err != nil {
		return nil, err
	}
	w := &wall{network: n, node: at, policy: policy, table: t}
	if at.kind == host {
		w.access = n.plans.lab.Hosts[at.index].Access
	} else {
		w.access = n.plans.lab.Routers[at.index].Access
	}
	return w, nil
}

// reset gives the node its firewall afresh: it knows no flow and no login, and its
// counters are at zero.
func (w *wall) reset() {
	w.table.Reboot()
	w.counts = sim.FirewallCounts{}
}

// judge is false for a packet that the firewall drops.
func (w *wall) judge(p *packet, to way) bool {
	if to == returning {
		return true
	}
	v := w.ask(p, to)
	if v.Drop == table.Passed {
		return true
	}
	cause, rule := w.name(v.Drop, p, to)
	w.count(v.Drop, to)
	n := w.network
	n.dropped(w.node, p, cause, rule)
	if !p.damaged {
		switch v.Answer {
		case table.Prohibited:
			n.answer(w.node, p, icmpUnreachable, codeProhibited, 0)
		case table.Reset:
			n.reset(w.node, p)
		}
	}
	n.put(p)
	return false
}

// ask asks the firewall's model.
func (w *wall) ask(p *packet, to way) table.Verdict {
	now := w.network.time
	if p.isError() {
		quoted, ok := p.quoted.view()
		about := table.Packet{Protocol: table.ICMPEcho, Src: p.src, Dst: p.dst}
		switch to {
		case leaving:
			own := w.node.kind == host && p.kind == icmpUnreachable && p.code == codeProhibited
			if own && w.policy.Reject.Entering() {
				return table.Verdict{}
			}
			return w.table.ErrorOutbound(now, about, quoted, ok)
		case entering:
			return w.table.ErrorInbound(now, about, quoted, ok)
		}
		return w.table.ErrorBetween(now, about, quoted, ok)
	}
	view, ok := p.view()
	if !ok {
		view.Protocol = table.ICMPEcho
	}
	switch to {
	case leaving:
		return w.table.Outbound(now, identified(view, p, p.kind == icmpEchoReply))
	case entering:
		return w.table.Inbound(now, identified(view, p, p.kind == icmpEchoRequest))
	}
	return w.table.Between(now, view)
}

// identified gives an echo the identifier on the inner side, whoever asked: there a
// firewall looks for it.
func identified(v table.Packet, p *packet, turn bool) table.Packet {
	if p.protocol != protocolICMP || !turn {
		return v
	}
	id := v.Src.Port() | v.Dst.Port()
	if p.kind == icmpEchoReply { // it leaves
		v.Src, v.Dst = netip.AddrPortFrom(v.Src.Addr(), id), netip.AddrPortFrom(v.Dst.Addr(), 0)
	} else {
		v.Src, v.Dst = netip.AddrPortFrom(v.Src.Addr(), 0), netip.AddrPortFrom(v.Dst.Addr(), id)
	}
	return v
}

// name gives the cause and the rule of a drop, as rulesets call them.
func (w *wall) name(why table.Drop, p *packet, to way) (witness.Cause, string) {
	switch why {
	case table.NotLoggedIn:
		behind := p.src.Addr()
		if to == entering || to == between && w.table.Admits(w.network.time, behind) {
			return causePortal, "firewall firewall: the host that it is for is not logged in at the portal"
		}
		return causePortal, "firewall firewall: its host is not logged in at the portal"
	case table.PortBlocked:
		protocol, ports := "UDP", w.policy.OutboundUDP
		if p.protocol == protocolTCP {
			protocol, ports = "TCP", w.policy.OutboundTCP
		}
		if len(ports) == 0 {
			return causeLeaving, "firewall leaving: no " + protocol + " leaves"
		}
		return causeLeaving, "firewall leaving: " + protocol + " leaves to some ports only"
	case table.ProtocolBlocked:
		return causeLeaving, "firewall leaving: nothing leaves but UDP and TCP"
	}
	switch to {
	case entering:
		return causeEntering, "firewall entering: answers no flow from inside"
	case between:
		return causeBetween, "firewall between: may not pass between hosts inside"
	}
	return causeLeaving, "firewall leaving: may not leave"
}

func (w *wall) count(why table.Drop, to way) {
	switch {
	case why == table.NotLoggedIn:
		w.counts.Captive++
	case why == table.Redirected:
		w.counts.Redirected++
	case to == entering:
		w.counts.Entering++
	case to == between:
		w.counts.Between++
	default:
		w.counts.Leaving++
	}
}

// counted gives what a firewall has counted; nil: there is none.
func (w *wall) counted() (sim.FirewallCounts, error) {
	if w == nil {
		return sim.FirewallCounts{}, ErrNoFirewall
	}
	counts := w.counts
	if w.access == nil {
		return counts, nil
	}
	for _, l := range w.access.Lists() {
		began := w.table.Began(l.Key)
		for i, rule := range l.Rules {
			c := sim.RuleCount{List: l.Key, Rule: rule}
			if i < len(began) {
				c.Began = began[i]
			}
			counts.Rules = append(counts.Rules, c)
		}
	}
	return counts, nil
}

// Firewall implements sim.RunningRouter.
func (r *Router) Firewall() (sim.FirewallCounts, error) {
	counts, err := r.wall.counted()
	if err != nil {
		return counts, r.errorf("count at its firewall", err)
	}
	return counts, nil
}

// Firewall implements sim.RunningHost.
func (h *Host) Firewall() (sim.FirewallCounts, error) {
	counts, err := h.wall.counted()
	if err != nil {
		return counts, h.errorf("count at its firewall", err)
	}
	return counts, nil
}
