package witness

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"
)

// Hop is a packet at one point of its way.
type Hop struct {
	At        time.Time
	Point     Point
	Direction Direction
	Addresses
	// Translated: the addresses or ports differ from those at the hop before, so
	// the node between the two translated them.
	Translated bool
	TTL        uint8
	// Damaged: the UDP or TCP checksum is wrong, so that a link corrupted the packet.
	Damaged bool
}

func (h Hop) String() string {
	return fmt.Sprintf("%s %v %v", h.Point, h.Direction, h.Addresses)
}

// Trace is the way of one packet from the host that sent it, point by point,
// through translations of its addresses, to the host that it entered or to where
// it was last seen.
type Trace struct {
	Protocol uint8  // IP protocol number
	Summary  string // what it is, as Summary says at its first hop
	Size     int    // of the IP packet at its first hop, in bytes
	Payload  []byte // the UDP payload at its first hop, shared with the Packet
	Hops     []Hop  // at least one, in order of time
	// Arrived: the last hop is the entry into a host. Otherwise the packet was
	// lost after it, or still on its way when the capture ended.
	Arrived bool
	// Drop is what ended it, where Attribute found that; nil otherwise.
	Drop *Drop

	data []byte // the packet at its first hop, shared with the Packet
}

// First is where the packet was seen first: at the host that sent it, or at a
// router that did (ICMP errors), or where it came into view.
func (t Trace) First() Hop { return t.Hops[0] }

// Last is where the packet was seen last.
func (t Trace) Last() Hop { return t.Hops[len(t.Hops)-1] }

// Carries reports whether the packet carries a datagram of payload, with or
// without TURN framing around it.
func (t Trace) Carries(payload []byte) bool {
	if bytes.Equal(t.Payload, payload) {
		return true
	}
	inner, _, ok := unwrap(t.Payload)
	return ok && bytes.Equal(inner, payload)
}

// Fate says what became of the packet: "entered b", "died inside nat-b: filtered",
// "died on the link of a, after nat-a: loss"; and, where it is not known what
// ended it, "died inside nat-b, after it came in at uplink".
func (t Trace) Fate() string {
	last := t.Last()
	switch {
	case t.Arrived:
		return "entered " + last.Point.Node
	case t.Drop != nil && t.Drop.Link != "":
		return fmt.Sprintf("died on the link of %s, after %s: %s", t.Drop.Link, t.Drop.Node, t.Drop.Cause)
	case t.Drop != nil:
		return fmt.Sprintf("died inside %s: %s", t.Drop.Node, t.Drop.Cause)
	case last.Direction == In:
		return fmt.Sprintf("died inside %s, after it came in at %s", last.Point.Node, last.Point.Interface)
	}
	return fmt.Sprintf("died on the link after %s", last.Point)
}

func (t Trace) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s:", t.Summary)
	for i, h := range t.Hops {
		if i == 0 || h.Translated {
			fmt.Fprintf(&s, " (%v)", h.Addresses)
		}
		fmt.Fprintf(&s, " %s", h.Point)
	}
	return s.String() + "; " + t.Fate()
}

// manyOpen is how many equal packets may have an unknown fate before those of
// old are given up.
const manyOpen = 32

// hopsOfTrace is how many hops most traces have, through two routers.
const hopsOfTrace = 8

// tracing is a trace that may go on.
type tracing struct {
	trace *Trace
	id    uint32 // of the IP header at the last hop
}

// Traces follows every packet across the points of capture. Packets are given in
// order of time, as captures are; traces come in order of first sight. A packet is known by what routers do not change: its bytes behind the
// transport header's ports and checksum. On a link its addresses stay the same;
// inside a router they may change. Equal packets (retransmissions) are told
// apart by their IP identification where they have one, else by taking the
// latest that fits, since a link is crossed sooner than a packet is repeated.
//
// TCP segments of offload are followed as long as no node divides them; a relay
// that puts framing around payload begins a new trace.
func Traces(packets []Packet, scene Scene) []Trace {
	hosts := map[string]bool{}
	for _, h := range scene.Hosts {
		hosts[h] = true
	}
	packets = Reassemble(packets) // a router may divide a packet, or make it whole again
	seed := maphash.MakeSeed()
	open := make(map[uint64][]tracing, len(packets)/hopsOfTrace)
	traces := make([]*Trace, 0, len(packets)/hopsOfTrace)
	for _, p := range packets {
		h, err := parseHeader(p.Data)
		if err != nil {
			continue
		}
		hop := Hop{At: p.At, Point: p.Point, Direction: p.Direction, Addresses: Addresses{p.Src, p.Dst}, TTL: h.ttl, Damaged: !ChecksumValid(p.Data)}
		k := identity(seed, h)
		candidates := open[k]
		if len(candidates) > manyOpen {
			candidates = slices.DeleteFunc(candidates, func(c tracing) bool { return p.At.Sub(c.trace.Last().At) > maxTransit })
		}
		i := -1
		if p.Direction == In || !hosts[p.Point.Node] { // what leaves a host begins there
			i = continues(candidates, hop, h.id)
		}
		if i < 0 {
			t := &Trace{Hops: make([]Hop, 0, hopsOfTrace), Protocol: h.protocol, Summary: Summary(p), Size: len(p.Data), Payload: p.Payload, data: p.Data}
			traces = append(traces, t)
			candidates = append(candidates, tracing{trace: t})
			i = len(candidates) - 1
		} else {
			hop.Translated = candidates[i].trace.Last().Addresses != hop.Addresses
		}
		c := &candidates[i]
		c.trace.Hops, c.id = append(c.trace.Hops, hop), h.id
		if p.Direction == In && hosts[p.Point.Node] {
			c.trace.Arrived = true
			candidates = slices.Delete(candidates, i, i+1)
		}
		open[k] = candidates
	}
	result := make([]Trace, len(traces))
	for i, t := range traces {
		result[i] = *t
	}
	return result
}

// continues finds the trace that a hop goes on with, or -1.
func continues(candidates []tracing, hop Hop, id uint32) int {
	found := -1
	for i, c := range slices.Backward(candidates) {
		last := c.trace.Last()
		if hop.At.Sub(last.At) > maxTransit {
			continue
		}
		switch hop.Direction {
		case In: // across a link: from another node, unchanged
			if last.Direction != Out || last.Point.Node == hop.Point.Node || last.Addresses != hop.Addresses {
				continue
			}
		case Out: // through a router
			if last.Direction != In || last.Point.Node != hop.Point.Node {
				continue
			}
		}
		if c.id == id {
			return i
		}
		if found < 0 {
			found = i
		}
	}
	return found
}

// identity hashes what stays the same on a packet's way: not addresses, ports,
// checksums, and not the identifier of an ICMP echo, which NAT translates like a
// port.
func identity(seed maphash.Seed, h header) uint64 {
	var m maphash.Hash
	m.SetSeed(seed)
	_ = m.WriteByte(h.protocol)
	var place [4]byte
	binary.BigEndian.PutUint32(place[:], uint32(h.offset))
	_, _ = m.Write(place[:])
	b := h.transport
	write := func(from, to int) {
		if to = min(to, len(b)); from < to {
			_, _ = m.Write(b[from:to])
		}
	}
	end := len(b)
	switch {
	case h.offset > 0:
		write(0, end)
	case h.protocol == protocolUDP:
		write(8, end)
	case h.protocol == protocolTCP:
		write(4, 16)
		write(18, end)
	case (h.protocol == protocolICMP || h.protocol == protocolICMPv6) && len(b) >= 8:
		write(0, 2)
		if inner, ok := quoted(h); ok {
			write(4, 8)
			_, _ = m.Write(inner)
		} else {
			write(6, end)
		}
	default:
		write(0, end)
	}
	return m.Sum64()
}

// quoted gives, of the packet that an ICMP error quotes, what NAT does not
// translate: the part behind its ports and checksum. The quotation may be cut
// off.
func quoted(h header) ([]byte, bool) {
	b := h.transport
	switch {
	case h.protocol == protocolICMP && (b[0] == 3 || b[0] == 11 || b[0] == 12):
		b = b[8:]
		if len(b) < 20 {
			return nil, false
		}
		size := int(b[0]&15) * 4
		return b[min(size+8, len(b)):], true
	case h.protocol == protocolICMPv6 && b[0] < 128:
		return b[min(8+40+8, len(b)):], true
	}
	return nil, false
}

// Fragment reports whether the packet is a part of one, of which routers with a NAT
// make the whole.
func (t Trace) Fragment() bool {
	h, err := parseHeader(t.data)
	return err == nil && h.fragment
}
