package witness

import (
	"fmt"
	"time"
)

// Volume is payload that left one host for another, and what entered there.
type Volume struct {
	// Sent counts the packets that left the one host, whatever for.
	Sent uint64
	// Direct and Relay are bytes of UDP and TCP payload that entered the other host,
	// by the way that they took.
	Direct, Relay uint64
}

// Total is all that arrived, in bytes.
func (v Volume) Total() uint64 { return v.Direct + v.Relay }

func (v Volume) String() string {
	return fmt.Sprintf("%d bytes arrived direct, %d over the relay", v.Direct, v.Relay)
}

// flow is one direction of a flow as seen at the host that it enters.
type flow struct {
	Addresses
	protocol uint8
}

// Volumes counts payload that one host sent to another from a time on (zero: ever)
// to another time (excluded; zero: open), of packets in order of time.
//
// Over the relay it counts UDP that Deliveries recognises. Else it counts flows of
// which some packet was followed from the one host into the other: all payload
// that enters with its addresses, so that segments which something has put
// together or divided on the way are not lost. What TCP sends again and arrives
// twice counts twice. STUN messages, and datagrams between servers and others, are
// no payload.
func Volumes(packets []Packet, scene Scene, from, to string, since, until time.Time) (v Volume) {
	within := func(at time.Time) bool { return !at.Before(since) && (until.IsZero() || at.Before(until)) }
	for _, p := range packets {
		if p.Point.Node == from && p.Direction == Out && within(p.At) {
			v.Sent++
		}
	}
	flows := map[flow]bool{}
	for _, t := range Traces(packets, scene) {
		if t.Arrived && t.First().Point.Node == from && t.Last().Point.Node == to {
			flows[flow{t.Last().Addresses, t.Protocol}] = true
		}
	}
	for _, p := range packets {
		if p.Point.Node != to || p.Direction != In || !within(p.At) || !flows[flow{Addresses{p.Src, p.Dst}, p.Protocol}] {
			continue
		}
		v.Direct += payloadSize(p)
	}
	list, err := Deliveries(packets, scene, from, to)
	if err != nil {
		return v // the witness saw nothing of one of them
	}
	for _, d := range list {
		if d.From == from && d.Path == Relay && !d.Lost() && within(d.Sent) {
			v.Relay += uint64(len(d.Payload))
		}
	}
	return v
}

// payloadSize is how much UDP or TCP payload a packet carries, in bytes.
func payloadSize(p Packet) uint64 {
	switch p.Protocol {
	case protocolUDP:
		if _, isSTUN := parseSTUN(p.Payload); !isSTUN {
			return uint64(len(p.Payload))
		}
	case protocolTCP:
		h, err := parseHeader(p.Data)
		if err == nil && h.offset == 0 && len(h.transport) >= 20 {
			header := int(h.transport[12]>>4) * 4
			return uint64(max(len(h.transport)-header, 0))
		}
	}
	return 0
}
