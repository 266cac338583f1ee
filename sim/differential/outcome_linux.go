package differential

import (
	"fmt"
	"net/netip"
	"slices"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/nat/table"
)

// Outcome is what became of a packet on the kernel. The zero value says that it
// vanished: it came out nowhere, and no rule dropped it.
type Outcome struct {
	// Passed: it came out as Packet, on the inner side if Inside.
	Passed, Inside bool
	Packet         table.Packet
	// Cause is why a rule dropped it, and Rule which one did.
	Cause ruleset.Cause
	Rule  string
	// Refused: the router itself answered with an ICMP error, as with a packet for
	// itself.
	Refused bool
	// Mapped is the external endpoint that the sender of a packet that was dropped has,
	// where Judge.Blind asks for it.
	Mapped netip.AddrPort
	// Wrong is what should never be, whatever the behaviour.
	Wrong string
}

func (o Outcome) String() string {
	switch {
	case o.Wrong != "":
		return o.Wrong
	case o.Passed && o.Inside:
		return fmt.Sprintf("passed inside as %s", packetText(o.Packet))
	case o.Passed:
		return fmt.Sprintf("passed outside as %s", packetText(o.Packet))
	case o.Refused:
		return "was taken and refused by the router itself"
	case o.Cause != "":
		return fmt.Sprintf("was dropped: %s (%s)", o.Cause, o.Rule)
	}
	return "vanished"
}

// sent is a packet that is sent, and what became of it.
type sent struct {
	step    Step
	packet  table.Packet
	outcome Outcome
	found   int // how many outcomes it had
}

// expected are the outcomes that agree with what the model says.
type expected struct {
	verdict table.Verdict
	inside  bool
	causes  []ruleset.Cause
	refused bool
	vanish  bool
}

func (j *Judge) expected(s Step, p table.Packet, v table.Verdict) expected {
	e := expected{verdict: v, inside: s.Do == In || v.Hairpin}
	b := j.Behavior()
	switch v.Drop {
	case table.Passed:
	case table.NoMapping, table.Expired:
		e.causes = []ruleset.Cause{ruleset.CauseNoMapping}
	case table.Filtered:
		e.causes = []ruleset.Cause{ruleset.CauseFiltered}
		if b.Kind != nat.KindRFC {
			e.causes = []ruleset.Cause{ruleset.CauseNoMapping} // one rule for both
		}
	case table.Exhausted, table.TableFull:
		e.causes = []ruleset.Cause{ruleset.CauseExhausted}
		// The kernel drops what it finds no port for without any rule.
		e.vanish = b.Kind != nat.KindRFC && v.Drop == table.Exhausted
	case table.HairpinRefused:
		e.causes = []ruleset.Cause{ruleset.CauseHairpin}
	}
	if s.Do == In && !slices.Contains(j.external, p.Dst.Addr()) {
		e.causes = []ruleset.Cause{ruleset.CauseInside} // an address that the NAT has no longer
		return e
	}
	if s.Do == In && v.Drop != table.Passed && b.Early == nat.EarlyAccept {
		e.causes = nil
		e.refused = s.Protocol == table.UDP
		e.vanish = !e.refused // the router has no use for an answer that it did not ask for
	}
	return e
}

func (e expected) equal(o Outcome) bool {
	switch {
	case e.verdict.Drop == table.Passed:
		return o.Passed && o.Packet == e.verdict.Packet && o.Inside == e.inside
	case o.Passed:
		return false
	case o.Refused:
		return e.refused
	case o.Cause != "":
		return slices.Contains(e.causes, o.Cause)
	}
	return e.vanish
}

func (e expected) String() string {
	switch {
	case e.verdict.Drop != table.Passed:
		return fmt.Sprintf("is dropped: %s", e.verdict.Drop)
	case e.inside:
		return fmt.Sprintf("passes inside as %s", packetText(e.verdict.Packet))
	}
	return fmt.Sprintf("passes outside as %s", packetText(e.verdict.Packet))
}
