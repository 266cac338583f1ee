package table

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
)

// FirewallIdle is how long a flow through a stateful firewall may be silent:
// the default that RFC 6092 REC-14 recommends.
const FirewallIdle = 5 * time.Minute

// Firewall is a packet filter at work. It is not safe for concurrent use.
type Firewall struct {
	policy nat.Firewall
	flows  map[flow]time.Time
}

// flow is an outbound flow: both transport addresses.
type flow struct {
	protocol       Protocol
	inside, remote netip.AddrPort
}

// NewFirewall makes a firewall with the policy.
func NewFirewall(policy nat.Firewall) (*Firewall, error) {
	if err := policy.Validate(); err != nil {
		return nil, fmt.Errorf("firewall table: %w", err)
	}
	policy.OutboundUDP = slices.Clone(policy.OutboundUDP)
	return &Firewall{policy: policy, flows: make(map[flow]time.Time)}, nil
}

// Outbound judges a packet that leaves, and remembers its flow.
func (f *Firewall) Outbound(now time.Time, p Packet) Verdict {
	if p.Protocol == UDP && !f.policy.AllowsUDP(p.Dst.Port()) {
		return Verdict{Packet: p, Drop: PortBlocked}
	}
	if f.policy.Inbound == nat.InboundReplies {
		f.flows[flow{p.Protocol, p.Src, p.Dst}] = now.Add(FirewallIdle)
	}
	return Verdict{Packet: p}
}

// Inbound judges a packet that enters. Replies keep their flow alive.
func (f *Firewall) Inbound(now time.Time, p Packet) Verdict {
	if f.policy.Inbound == nat.InboundOpen {
		return Verdict{Packet: p}
	}
	k := flow{p.Protocol, p.Dst, p.Src}
	expires, known := f.flows[k]
	if !known || !now.Before(expires) {
		delete(f.flows, k)
		return Verdict{Packet: p, Drop: Unsolicited}
	}
	f.flows[k] = now.Add(FirewallIdle)
	return Verdict{Packet: p}
}

// Reboot loses all flows.
func (f *Firewall) Reboot() { clear(f.flows) }
