package trial

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// wire knows what crossed the wires: how payload went, and what all else was. It
// hears of every datagram that leaves a host or enters one of its sockets. Payload is
// recognised as the witness of a scenario does it: by equal bytes that leave one
// player and enter another, with TURN's framing taken off; what is STUN is none.
type wire struct {
	relay   netip.Addr
	decided bool // all pairs are: what is sent besides payload now is upkeep
	peers   []Peer
	traffic Relay
	way     map[uint64]flight
	// arrived is told of payload that entered a player.
	arrived func(now time.Time, from, to int, sent time.Time, relayed bool)
}

// begin forgets what it knew.
func (w *wire) begin(players int, arrived func(now time.Time, from, to int, sent time.Time, relayed bool)) {
	way := w.way
	if way == nil || len(way) > mostKept {
		way = make(map[uint64]flight)
	}
	clear(way)
	*w = wire{peers: make([]Peer, players), way: way, arrived: arrived}
}

// mostKept bounds what is remembered for a next trial's sake.
const mostKept = 4096

// flight is payload under way.
type flight struct {
	from int
	sent time.Time
}

// Numbers of hosts in a lab; the players follow.
const (
	atRendezvous = iota
	atRelay
	firstPlayer
)

// overhead is what IP and UDP add to a datagram.
const overhead = 20 + 8

// Sent implements virtual.Watcher.
func (w *wire) Sent(now time.Time, host int, _, _ netip.AddrPort, datagram []byte) {
	size := overhead + len(datagram)
	if host == atRendezvous {
		return
	}
	mark, payload := recognise(datagram)
	if host == atRelay {
		w.traffic.Out.add(size)
		if payload {
			if _, known := w.way[mark]; known {
				w.traffic.Payload.add(size)
			}
		}
		return
	}
	p := &w.peers[host-firstPlayer]
	switch {
	case payload:
		p.Payload.add(size)
		w.way[mark] = flight{host - firstPlayer, now}
	case w.decided:
		p.Upkeep.add(size)
	default:
		p.Setup.add(size)
	}
}

// Delivered implements virtual.Watcher.
func (w *wire) Delivered(now time.Time, host int, src, _ netip.AddrPort, datagram []byte) {
	switch host {
	case atRendezvous:
		return
	case atRelay:
		w.traffic.In.add(overhead + len(datagram))
		return
	}
	mark, payload := recognise(datagram)
	if !payload {
		return
	}
	to := host - firstPlayer
	if f, known := w.way[mark]; known && f.from != to {
		w.arrived(now, f.from, to, f.sent, src.Addr() == w.relay)
	}
}

// recognise takes TURN's framing off and tells payload by its last bytes, which are
// a frame's tag; false for STUN, and for what is too short to be told from anything.
func recognise(datagram []byte) (mark uint64, payload bool) {
	const (
		headerSize     = 20
		channelSize    = 4
		indication     = 0x0016 // Send; Data is the next one
		attributeData  = 0x0013
		firstOfChannel = 0x40
		lastOfChannel  = 0x7f
	)
	inner := datagram
	switch {
	case len(datagram) >= channelSize && datagram[0] >= firstOfChannel && datagram[0] <= lastOfChannel:
		size := int(binary.BigEndian.Uint16(datagram[2:]))
		inner = datagram[channelSize:min(channelSize+size, len(datagram))]
	case len(datagram) > headerSize && binary.BigEndian.Uint16(datagram)|1 == indication|1:
		inner = nil
		for rest := datagram[headerSize:]; len(rest) >= 4; {
			size := int(binary.BigEndian.Uint16(rest[2:]))
			if len(rest) < 4+size {
				break
			}
			if binary.BigEndian.Uint16(rest) == attributeData {
				inner = rest[4 : 4+size]
				break
			}
			rest = rest[min(4+(size+3)&^3, len(rest)):]
		}
	}
	if len(inner) < MinSize || inner[0] < 4 {
		return 0, false
	}
	return binary.BigEndian.Uint64(inner[len(inner)-8:]), true
}
