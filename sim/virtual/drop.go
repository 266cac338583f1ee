package virtual

import (
	"fmt"
	"net/netip"
	"slices"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
	"p2pmodel/sim/link"
	"p2pmodel/sim/witness"
)

// Causes of drops, in the words of the kernel's rules.
const (
	causeNoMapping witness.Cause = "no mapping"
	causeFiltered  witness.Cause = "filtered"
	causeExhausted               = witness.CauseExhausted
	causeProtocol  witness.Cause = "protocol not translated"
	causeHairpin   witness.Cause = "hairpin refused"
	causeSource    witness.Cause = "source has external address"
	causeInside    witness.Cause = "destination is inside"
	causeEntering  witness.Cause = "firewall: may not enter"
	causeLeaving   witness.Cause = "firewall: may not leave"
	causeBetween   witness.Cause = "firewall: not between hosts"
	causePortal    witness.Cause = "firewall: not logged in"
	causeSpoofed   witness.Cause = "source is not where it lives"
	causeBogon     witness.Cause = "private address"
	causeNoRoute   witness.Cause = "nobody has the address"
)

const (
	// maxDrops is how many drops a lab remembers.
	maxDrops = 200_000
	// ruleHead and linkHead are how much of a dropped packet is kept, in bytes.
	ruleHead = 192
	linkHead = link.HeadSize
)

// dropLog is what rules and links have taken.
type dropLog struct {
	drops   []witness.Drop
	missing uint64
}

// dropped notes a packet that a rule of a node takes.
func (n *Network) dropped(node *node, p *packet, cause witness.Cause, rule string) {
	if n.dropLog != nil {
		n.dropLog.add(n, p, witness.Drop{Node: node.name, Cause: cause, Rule: rule}, ruleHead)
	}
}

// lost notes a packet that a link takes, or damages. at is when it entered the
// link.
func (n *Network) lost(l *lane, p *packet, cause witness.Cause, head int) {
	if n.dropLog != nil {
		n.dropLog.add(n, p, witness.Drop{Node: l.from.name, Link: l.cable.print.name, Cause: cause}, head)
	}
}

func (d *dropLog) add(n *Network, p *packet, drop witness.Drop, head int) {
	if probing(p) {
		return
	}
	if len(d.drops) >= maxDrops {
		d.missing++
		return
	}
	drop.At = n.time
	if p.data != nil {
		drop.Data = p.data
	} else {
		drop.Data = p.marshal(nil)
	}
	drop.Data = drop.Data[:min(len(drop.Data), head)]
	drop.Protocol = p.protocol
	drop.Src, drop.Dst = p.src, p.dst
	if p.protocol == protocolICMP {
		drop.Src, drop.Dst = netip.AddrPortFrom(p.src.Addr(), 0), netip.AddrPortFrom(p.dst.Addr(), 0)
	}
	d.drops = append(d.drops, drop)
}

// Drops implements sim.Network.
func (n *Network) Drops() ([]witness.Drop, error) {
	if n.dropLog == nil {
		return nil, nil
	}
	if n.dropLog.missing > 0 {
		return slices.Clone(n.dropLog.drops), fmt.Errorf("%d packets that were dropped are missing from the list: it holds %d", n.dropLog.missing, maxDrops)
	}
	return slices.Clone(n.dropLog.drops), nil
}

// Rules of NATs, as rulesets call them.
const (
	ruleOtherAddress   = "nat arrive: from outside for another address: inside addresses are not known there"
	ruleHairpin        = "nat hairpin: no hairpin"
	ruleInsideExternal = "nat outbound: an inside host has no external address"
	ruleUntranslated   = "nat outbound: not translated: the protocol is unknown, or it is an error about nothing"
	ruleNothingElse    = "nat inbound: nothing else enters, and nothing is answered"

	ruleTrackedInput       = "nat input: from outside, and no flow expects it"
	ruleTrackedHairpin     = "nat input: no hairpin"
	ruleTrackedForward     = "nat forward: from outside, and no flow expects it: inside addresses are not known there"
	ruleTrackedOther       = "nat input: from outside for another address: inside addresses are not known there"
	ruleTrackedUnknown     = "nat leave: not translated: it is of no flow that conntrack would know"
	ruleTrackedFull        = "nat forward: %s: the table is full"
	ruleTrackedInsideExtra = "nat forward: an inside host has no external address"
)

// natDrop gives the cause and the rule of a packet that a NAT drops. A rule is
// empty where the kernel drops it itself and no rule tells.
func natDrop(kind nat.Kind, v table.Verdict) (cause witness.Cause, rule string) {
	protocol := v.Packet.Protocol.String()
	if kind != nat.KindRFC {
		switch v.Drop {
		case table.HairpinRefused:
			return causeHairpin, ruleTrackedHairpin
		case table.TableFull:
			return causeExhausted, fmt.Sprintf(ruleTrackedFull, protocol)
		case table.Exhausted:
			return causeExhausted, ""
		}
		return causeNoMapping, ruleTrackedInput
	}
	switch v.Drop {
	case table.Filtered:
		return causeFiltered, "nat " + protocol + "_inbound: the mapping's filter does not let the sender in"
	case table.Exhausted, table.TableFull:
		return causeExhausted, "nat outbound: " + protocol + " not translated: no port is free, or the table is full"
	case table.HairpinRefused:
		return causeHairpin, ruleHairpin
	}
	if v.Hairpin {
		return causeNoMapping, "nat " + protocol + "_hairpin: no mapping"
	}
	return causeNoMapping, "nat " + protocol + "_inbound: no mapping has the port"
}
