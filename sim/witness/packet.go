// Package witness watches the wires of a lab and says which path payload took.
// It looks at captured packets only, never at what a program says of itself,
// and shares no code with the system under test.
package witness

import (
	"net/netip"
	"time"
)

// Direction is the way of a packet as seen from the node on whose interface it
// was captured.
type Direction uint8

// The directions.
const (
	In  Direction = iota // arrives at the node
	Out                  // leaves the node
)

// Point is where a packet was captured: an interface of a node.
type Point struct {
	Node string
	// Interface is the name of the uplink for a node's own uplink ("uplink",
	// "wifi"), or "to NODE" ("to NODE/UPLINK") for the parent's side of another
	// node's uplink.
	Interface string
}

// Packet is a captured IP packet.
type Packet struct {
	At        time.Time
	Point     Point
	Direction Direction
	// Data is the packet from its IP header on, not cut off.
	Data []byte
	// Src, Dst and Protocol are read from Data; ports are 0 where the protocol
	// has none or the packet is a later fragment.
	Src, Dst netip.AddrPort
	Protocol uint8 // IP protocol number: 17 UDP, 6 TCP, 1 ICMP
	// Payload is the UDP payload, a part of Data; nil for other protocols.
	Payload []byte
}
