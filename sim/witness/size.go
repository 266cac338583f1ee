package witness

import (
	"encoding/binary"
	"time"
)

// packetKey is what a packet has in common with its fragments, and with what an ICMP
// error quotes of it.
type packetKey struct {
	addresses [8]byte
	protocol  uint8
	id        uint16
}

// keyOf reads the key of an IPv4 packet, and whether it is a fragment.
func keyOf(b []byte) (k packetKey, fragment, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return k, false, false
	}
	copy(k.addresses[:], b[12:20])
	k.protocol, k.id = b[9], binary.BigEndian.Uint16(b[4:])
	return k, binary.BigEndian.Uint16(b[6:])&0x3fff != 0, true
}

// key is that of the packet where it was seen last, behind all translations.
func (t Trace) key() (k packetKey, ok bool) {
	last := t.Last()
	k, _, ok = keyOf(t.data)
	if !ok || !last.Src.Addr().Is4() || !last.Dst.Addr().Is4() {
		return k, false
	}
	src, dst := last.Src.Addr().As4(), last.Dst.Addr().As4()
	copy(k.addresses[:4], src[:])
	copy(k.addresses[4:], dst[:])
	return k, true
}

// hasPart reports whether the data are a fragment of the packet.
func (t Trace) hasPart(data []byte) bool {
	part, fragment, ok := keyOf(data)
	if !ok || !fragment {
		return false
	}
	k, ok := t.key()
	return ok && k == part
}

// incomplete finds fragments that came to a node and were never part of a whole
// there, because another one had died before.
func incomplete(traces []Trace, drops []Drop) (found []Drop) {
	dead := map[packetKey]time.Time{}
	for _, d := range drops {
		if k, fragment, ok := keyOf(d.Data); ok && fragment {
			dead[k] = d.At
		}
	}
	if len(dead) == 0 {
		return nil
	}
	for i := range traces {
		t := &traces[i]
		k, fragment, ok := keyOf(t.data)
		if !ok || !fragment || t.Arrived || t.Drop != nil || t.Last().Direction != In {
			continue
		}
		last := t.Last()
		if at, known := dead[k]; !known || last.At.Sub(at) > linkSlack || at.Sub(last.At) > linkSlack {
			continue
		}
		found = append(found, t.end(CauseIncomplete, last.At))
	}
	return found
}

// tooLarge finds packets that a router answered with ICMP Fragmentation Needed
// (RFC 792, RFC 1191).
func tooLarge(traces []Trace) (found []Drop) {
	type quotation struct {
		node string
		packetKey
	}
	told := map[quotation][]time.Time{}
	for _, t := range traces {
		first := t.First()
		h, err := parseHeader(t.data)
		if err != nil || t.Protocol != protocolICMP || first.Direction != Out || len(h.transport) < 8 || h.transport[0] != 3 || h.transport[1] != 4 {
			continue
		}
		if k, _, ok := keyOf(h.transport[8:]); ok {
			told[quotation{first.Point.Node, k}] = append(told[quotation{first.Point.Node, k}], first.At)
		}
	}
	if len(told) == 0 {
		return nil
	}
	for i := range traces {
		t := &traces[i]
		last := t.Last()
		if t.Arrived || t.Drop != nil || last.Direction != In {
			continue
		}
		k, ok := t.key()
		if !ok {
			continue
		}
		for _, at := range told[quotation{last.Point.Node, k}] {
			if apart := at.Sub(last.At); apart >= 0 && apart <= ruleSlack {
				found = append(found, t.end(CauseTooLarge, at))
				break
			}
		}
	}
	return found
}

// end notes that the trace ended where it was seen last.
func (t *Trace) end(cause Cause, at time.Time) Drop {
	last := t.Last()
	t.Drop = &Drop{At: at, Node: last.Point.Node, Cause: cause, Addresses: last.Addresses, Protocol: t.Protocol, Data: t.data}
	return *t.Drop
}
