package witness

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Path is the way that payload takes between two hosts.
type Path uint8

// The paths.
const (
	None   Path = iota // none arrives
	Direct             // past all servers
	Relay              // through a server
	Mixed              // some datagrams one way and some the other, or one way only
)

func (p Path) String() string {
	switch p {
	case None:
		return "none"
	case Direct:
		return "direct"
	case Relay:
		return "relay"
	case Mixed:
		return "mixed"
	}
	return fmt.Sprintf("path %d", uint8(p))
}

// PathWindow is the number of datagrams that ObservedPath looks at by default.
const PathWindow = 20

// Count says which ways the datagrams of one direction took.
type Count struct {
	From, To            string
	Direct, Relay, Lost int
}

// Counts are those of all directions, in order of names.
type Counts []Count

// String gives "a → b: 10 direct, 0 relay, 1 lost; b → a: …".
func (c Counts) String() string {
	if len(c) == 0 {
		return "no payload was sent"
	}
	parts := make([]string, len(c))
	for i, d := range c {
		parts[i] = fmt.Sprintf("%s → %s: %d direct, %d relay, %d lost", d.From, d.To, d.Direct, d.Relay, d.Lost)
	}
	return strings.Join(parts, "; ")
}

// Path is what the counts say. A direction in which datagrams were sent and none
// arrived, while the other direction works, makes it Mixed.
func (c Counts) Path() Path {
	var direct, relay, silent bool
	for _, d := range c {
		direct = direct || d.Direct > 0
		relay = relay || d.Relay > 0
		silent = silent || d.Direct+d.Relay == 0
	}
	switch {
	case !direct && !relay:
		return None
	case direct && relay || silent:
		return Mixed
	case direct:
		return Direct
	}
	return Relay
}

// Tally counts the last n datagrams that were sent at or after a time, both
// directions together; n of 0 or less counts all.
func Tally(deliveries []Delivery, since time.Time, n int) Counts {
	var chosen []Delivery
	for _, d := range deliveries {
		if !d.Sent.Before(since) {
			chosen = append(chosen, d)
		}
	}
	slices.SortStableFunc(chosen, func(a, b Delivery) int { return a.Sent.Compare(b.Sent) })
	if n > 0 && len(chosen) > n {
		chosen = chosen[len(chosen)-n:]
	}
	var counts Counts
	for _, d := range chosen {
		i := slices.IndexFunc(counts, func(c Count) bool { return c.From == d.From && c.To == d.To })
		if i < 0 {
			counts = append(counts, Count{From: d.From, To: d.To})
			i = len(counts) - 1
		}
		switch {
		case d.Lost():
			counts[i].Lost++
		case d.Path == Direct:
			counts[i].Direct++
		default:
			counts[i].Relay++
		}
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return strings.Compare(a.From+"\x00"+a.To, b.From+"\x00"+b.To)
	})
	return counts
}

// ObservedPath is the path of the last n datagrams of payload that were sent at
// or after a time, both directions together. Lost datagrams take no path; a
// datagram still on its way when the capture ended counts as lost.
//
// None is a statement: the witness saw the hosts and no payload between them.
// Deliveries has made sure that it was not blind.
func ObservedPath(deliveries []Delivery, since time.Time, n int) Path {
	return Tally(deliveries, since, n).Path()
}

// EverDirect finds the first datagram that was sent in a time, from (included)
// to (excluded; zero: open), and arrived by the direct path.
func EverDirect(deliveries []Delivery, from, to time.Time) (Delivery, bool) {
	return first(deliveries, func(d Delivery) bool {
		return d.Path == Direct && !d.Sent.Before(from) && (to.IsZero() || d.Sent.Before(to))
	})
}

// FirstByte is the datagram that arrived first.
func FirstByte(deliveries []Delivery) (Delivery, bool) {
	return first(deliveries, func(Delivery) bool { return true })
}

// FirstDirect is the datagram that arrived first by the direct path.
func FirstDirect(deliveries []Delivery) (Delivery, bool) {
	return first(deliveries, func(d Delivery) bool { return d.Path == Direct })
}

// first finds, of the datagrams that arrived, the one that did so first.
func first(deliveries []Delivery, is func(Delivery) bool) (Delivery, bool) {
	var found Delivery
	for _, d := range deliveries {
		if !d.Lost() && is(d) && (found.Lost() || d.Arrived.Before(found.Arrived)) {
			found = d
		}
	}
	return found, !found.Lost()
}
