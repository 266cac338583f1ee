package table

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
)

// FirewallIdle is how long a flow through a stateful firewall may be silent:
// the default that RFC 6092 REC-14 recommends. Those of TCP may be for longer.
const FirewallIdle = 5 * time.Minute

// Firewall is a packet filter at work. It is not safe for concurrent use.
type Firewall struct {
	policy   nat.Firewall
	access   nat.Access[[]netip.Addr]
	flows    map[flow]time.Time
	within   map[flow]time.Time // flows between two hosts behind; inside is who began
	admitted map[netip.Addr]session
	began    map[string][]uint64 // flows, by key of a list and number of a rule
}

// flow is a flow through a firewall, whoever began it: both transport
// addresses.
type flow struct {
	protocol       Protocol
	inside, remote netip.AddrPort
}

// NewFirewall makes a firewall with the policy and the lists.
func NewFirewall(policy nat.Firewall, access nat.Access[[]netip.Addr]) (*Firewall, error) {
	if err := policy.Validate(); err != nil {
		return nil, fmt.Errorf("firewall table: %w", err)
	}
	if err := access.Validate(policy); err != nil {
		return nil, fmt.Errorf("firewall table: %w", err)
	}
	return &Firewall{
		policy: policy.Clone(), access: access,
		flows: make(map[flow]time.Time), within: make(map[flow]time.Time), admitted: make(map[netip.Addr]session),
		began: make(map[string][]uint64),
	}, nil
}

// tracks reports whether the firewall has to know its flows: where a direction is
// closed to all but answers.
func (f *Firewall) tracks() bool {
	return f.policy.Inbound == nat.InboundReplies || f.policy.KeepsIn() || f.access.Outbound.Closed
}

// Outbound judges a packet that leaves, and remembers its flow.
func (f *Firewall) Outbound(now time.Time, p Packet) Verdict {
	if !f.Admits(now, p.Src.Addr()) {
		return f.captive(p)
	}
	k := flow{p.Protocol, p.Src, p.Dst}
	if !alive(f.flows, k, now) {
		if drop := f.keepsIn(p); drop != Passed {
			return f.refuseLeaving(p, drop)
		}
	}
	if f.tracks() {
		f.flows[k] = now.Add(p.Protocol.idle(FirewallIdle))
	}
	return Verdict{Packet: p}
}

// keepsIn says why a packet may not begin a flow towards the outside.
func (f *Firewall) keepsIn(p Packet) Drop {
	switch {
	case p.Protocol == UDP && !f.policy.AllowsUDP(p.Dst.Port()), p.Protocol == TCP && !f.policy.AllowsTCP(p.Dst.Port()):
		return PortBlocked
	case p.Protocol == ICMPEcho && f.policy.KeepOther:
		return ProtocolBlocked
	case f.access.Outbound.Closed && !f.permits(nat.AccessKeyOutbound, f.access.Outbound.Rules, p):
		return NotAllowed
	}
	return Passed
}

// Inbound judges a packet that enters. Replies keep their flow alive.
func (f *Firewall) Inbound(now time.Time, p Packet) Verdict {
	if !f.Admits(now, p.Dst.Addr()) {
		return f.refuseEntering(p, NotLoggedIn)
	}
	k := flow{p.Protocol, p.Dst, p.Src}
	if f.policy.Inbound == nat.InboundReplies && !alive(f.flows, k, now) && !f.permits(nat.AccessKeyAllow, f.access.Allow, p) {
		return f.refuseEntering(p, Unsolicited)
	}
	if f.tracks() {
		f.flows[k] = now.Add(p.Protocol.idle(FirewallIdle))
	}
	return Verdict{Packet: p}
}

// Between judges a packet from one host behind to another.
func (f *Firewall) Between(now time.Time, p Packet) Verdict {
	switch {
	case !f.Admits(now, p.Src.Addr()):
		return f.captive(p)
	case !f.Admits(now, p.Dst.Addr()):
		return f.refuseLeaving(p, NotLoggedIn)
	case !f.access.Between.Closed:
		return Verdict{Packet: p}
	}
	k := flow{p.Protocol, p.Src, p.Dst}
	if back := (flow{p.Protocol, p.Dst, p.Src}); alive(f.within, back, now) {
		k = back
	} else if !alive(f.within, k, now) && !f.permits(nat.AccessKeyBetween, f.access.Between.Rules, p) {
		return f.refuseLeaving(p, NotAllowed)
	}
	f.within[k] = now.Add(p.Protocol.idle(FirewallIdle))
	return Verdict{Packet: p}
}

// refuseLeaving drops a packet from inside, refuseEntering one from outside. The
// sender gets to know where the policy says so; resets are for those inside.
func (f *Firewall) refuseLeaving(p Packet, why Drop) Verdict {
	v := Verdict{Packet: p, Drop: why}
	switch {
	case !f.policy.Reject.Leaving():
	case p.Protocol == TCP && f.policy.ResetTCP:
		v.Answer = Reset
	default:
		v.Answer = Prohibited
	}
	return v
}

func (f *Firewall) refuseEntering(p Packet, why Drop) Verdict {
	v := Verdict{Packet: p, Drop: why}
	if f.policy.Reject.Entering() {
		v.Answer = Prohibited
	}
	return v
}

// alive reports whether a flow is known, and forgets it if it has expired.
func alive(flows map[flow]time.Time, k flow, now time.Time) bool {
	expires, known := flows[k]
	if known && !now.Before(expires) {
		delete(flows, k)
		return false
	}
	return known
}

// permits reports whether a rule of a list lets the packet begin a flow, and counts
// the flow. A rule without hosts is for all; one whose host has no addresses is for
// none.
func (f *Firewall) permits(list string, rules []nat.Rule[[]netip.Addr], p Packet) bool {
	is := func(hosts []netip.Addr, a netip.Addr) bool { return hosts == nil || slices.Contains(hosts, a) }
	i := slices.IndexFunc(rules, func(r nat.Rule[[]netip.Addr]) bool {
		ports := r.UDP
		switch p.Protocol {
		case TCP:
			ports = r.TCP
		case ICMPEcho:
			return false
		}
		return is(r.From, p.Src.Addr()) && is(r.To, p.Dst.Addr()) && nat.Covers(ports, p.Dst.Port())
	})
	if i < 0 {
		return false
	}
	if f.began[list] == nil {
		f.began[list] = make([]uint64, len(rules))
	}
	f.began[list][i]++
	return true
}

// Began counts the flows that began by each rule of a list, which its key names. A
// flow that was silent for so long that it was forgotten begins again.
func (f *Firewall) Began(list string) []uint64 { return slices.Clone(f.began[list]) }

// Reboot loses all flows and logins, and counts from zero.
func (f *Firewall) Reboot() {
	clear(f.flows)
	clear(f.within)
	clear(f.admitted)
	clear(f.began)
}
