package witness

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Cause is why a packet was dropped, in words: "filtered", "loss", "queue"….
type Cause string

// Causes that the witness finds by itself, or that others ask for; all others are
// given to it.
const (
	// CauseExpired: the external port had a mapping before.
	CauseExpired Cause = "expired mapping"
	// CauseReset: it had one before the NAT lost its state.
	CauseReset Cause = "mapping lost in a reset"
	// CauseExhausted is a NAT's own: it could make no new mapping.
	CauseExhausted Cause = "no free port, or full table"
	// CauseDamaged: a link corrupted the packet before, and its checksum told.
	CauseDamaged Cause = "bad checksum"
	// CauseTooLarge: it was larger than the next link carries, and must not be divided.
	CauseTooLarge Cause = "mtu"
	// CauseIncomplete: another part of the packet died, and nothing can be done with
	// this one.
	CauseIncomplete Cause = "another fragment died"
	// causeNoMapping is the cause that these two make more precise.
	causeNoMapping Cause = "no mapping"
)

// Drop is a packet that did not get further, as told by what took it: a rule of a
// node, or a link.
type Drop struct {
	At time.Time
	// Node is where it died. Of a link it is the node that had sent it into it.
	Node string
	// Link is the link that took it, by its name in files; empty: a rule did.
	Link  string
	Cause Cause
	// Rule says which rule took it, for people; empty for links.
	Rule string
	Addresses
	Protocol uint8 // IP protocol number
	// Data is the packet from its IP header on, perhaps cut off.
	Data []byte
}

// SetData reads the addresses and the protocol from the packet.
func (d *Drop) SetData(data []byte) {
	d.Data = data
	if len(data) < 20 || data[0]>>4 != 4 {
		return
	}
	d.Protocol = data[9]
	var ports [2]uint16
	if size := int(data[0]&15) * 4; len(data) >= size+4 && (d.Protocol == protocolUDP || d.Protocol == protocolTCP) &&
		binary.BigEndian.Uint16(data[6:])&0x1fff == 0 {
		ports = [2]uint16{binary.BigEndian.Uint16(data[size:]), binary.BigEndian.Uint16(data[size+2:])}
	}
	d.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(data[12:])), ports[0])
	d.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(data[16:])), ports[1])
}

// Place says where the packet died: "nat-b, rule nat udp_inbound: …", "the link of
// a, after nat-a".
func (d Drop) Place() string {
	switch {
	case d.Link != "":
		return fmt.Sprintf("the link of %s, after %s", d.Link, d.Node)
	case d.Rule != "":
		return fmt.Sprintf("%s, rule %s", d.Node, d.Rule)
	}
	return d.Node
}

func (d Drop) String() string { return fmt.Sprintf("%s at %s (%v)", d.Cause, d.Place(), d.Addresses) }

// Reset is a moment at which a node lost its mappings, because somebody made it.
type Reset struct {
	Node string
	At   time.Time
}

// ruleSlack and linkSlack are how far the times of a drop and of the packet's last sighting may lie
// apart: a rule acts at once, a link may have held the packet in its queue.
const (
	ruleSlack = 20 * time.Millisecond
	linkSlack = 2 * time.Second
)

// Attribute finds for each trace that did not arrive the drop that ended it, and
// sets Trace.Drop. What came to its host and died in that host's own firewall did
// not arrive. Where a mapping was missing that there had been before, the
// cause says so. It gives back all drops with their causes made precise, in order
// of time, also those of packets that no capture saw.
func Attribute(traces []Trace, drops []Drop, resets []Reset) []Drop {
	drops = slices.Clone(drops)
	slices.SortStableFunc(drops, func(a, b Drop) int { return a.At.Compare(b.At) })
	used := externals(traces)
	watched := map[string]bool{}
	for _, t := range traces {
		for _, h := range t.Hops {
			watched[h.Point.Node] = true
		}
	}
	byNode := map[string][]int{} // of nodes that are not watched under ""
	for i := range drops {
		d := &drops[i]
		if d.Cause == causeNoMapping && d.Link == "" {
			d.Cause = used.cause(*d, resets)
		}
		at := d.Node
		if !watched[at] {
			at = ""
		}
		byNode[at] = append(byNode[at], i)
	}
	taken := make([]bool, len(drops))
	for i := range traces {
		t := &traces[i]
		last := t.Last()
		if t.Arrived && len(byNode[last.Point.Node]) == 0 {
			continue
		}
		lists := [][]int{byNode[last.Point.Node]}
		if last.Direction == Out { // it may have come to a node that is not watched
			lists = append(lists, byNode[""])
		}
		best, distance := -1, time.Duration(0)
		for _, list := range lists {
			from, _ := slices.BinarySearchFunc(list, last.At.Add(-ruleSlack), func(j int, at time.Time) int { return drops[j].At.Compare(at) })
			for _, j := range list[from:] {
				d := drops[j]
				apart := d.At.Sub(last.At)
				if apart > linkSlack || best >= 0 && apart > distance {
					break // they come in order of time
				}
				if taken[j] || d.Link == "" && watched[d.Node] && apart > ruleSlack || !t.ended(d) {
					continue
				}
				if apart = max(apart, -apart); best < 0 || apart < distance {
					best, distance = j, apart
				}
			}
		}
		if best >= 0 {
			taken[best] = true
			found := drops[best]
			t.Drop, t.Arrived = &found, false // it came to its host, and not in
		}
	}
	more := append(tooLarge(traces), incomplete(traces, drops)...)
	if len(more) > 0 {
		drops = append(drops, more...)
		slices.SortStableFunc(drops, func(a, b Drop) int { return a.At.Compare(b.At) })
	}
	return drops
}

// ended reports whether a drop may be of the packet of a trace: a link takes what
// left a node, or was to leave it, a rule what came in or what the node sends itself.
func (t Trace) ended(d Drop) bool {
	last := t.Last()
	if d.Protocol != t.Protocol || d.Link != "" && last.Direction != Out && d.Node != last.Point.Node {
		return false
	}
	if t.hasPart(d.Data) {
		return true
	}
	if d.Addresses != last.Addresses && (d.Link != "" && last.Direction == Out || d.Src != last.Src && d.Dst != last.Dst) {
		return false
	}
	return sameBytes(d.Data, t.data)
}

// sameBytes compares packets by what routers do not change: the length, and what
// is behind the ports and the checksum of the transport header, as far as both go.
func sameBytes(a, b []byte) bool {
	if len(a) < 20 || len(b) < 20 || binary.BigEndian.Uint16(a[2:]) != binary.BigEndian.Uint16(b[2:]) {
		return false
	}
	const behind = 8
	x, y := a[min(int(a[0]&15)*4+behind, len(a)):], b[min(int(b[0]&15)*4+behind, len(b)):]
	n := min(len(x), len(y))
	if a[9] == protocolTCP && n >= 10 { // its checksum is further behind
		return bytes.Equal(x[:8], y[:8]) && bytes.Equal(x[10:n], y[10:n])
	}
	return bytes.Equal(x[:n], y[:n])
}

// external is a transport address that a router gave to a mapping.
type external struct {
	node     string
	protocol uint8
	addr     netip.AddrPort
}

// uses are the times at which mappings were used last, in order.
type uses map[external][]time.Time

// externals finds what routers translated sources to.
func externals(traces []Trace) uses {
	u := uses{}
	for _, t := range traces {
		for _, h := range t.Hops {
			if h.Translated && h.Direction == Out {
				k := external{h.Point.Node, t.Protocol, h.Src}
				u[k] = append(u[k], h.At)
			}
		}
	}
	for _, at := range u {
		slices.SortFunc(at, time.Time.Compare)
	}
	return u
}

// cause makes precise why there was no mapping.
func (u uses) cause(d Drop, resets []Reset) Cause {
	at := u[external{d.Node, d.Protocol, d.Dst}]
	i, _ := slices.BinarySearchFunc(at, d.At, time.Time.Compare)
	if i == 0 {
		return d.Cause
	}
	before := at[i-1]
	if slices.ContainsFunc(resets, func(r Reset) bool { return r.Node == d.Node && r.At.After(before) && r.At.Before(d.At) }) {
		return CauseReset
	}
	return CauseExpired
}
