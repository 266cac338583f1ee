package watch

import (
	"net/netip"
	"time"

	"p2pmodel/nat/table"
)

// Race marks the observations of which it is not certain in which order the NAT took
// them: it had one before it was done with the other, on another processor, and one
// of them opened something, a mapping or a way in. They have to come in order of
// time.
func Race(all []Observation) {
	used := make(map[table.Packet]time.Time) // by packets from inside
	var open []int                           // openers that the NAT is not done with
	for i := range all {
		o := &all[i]
		rest := open[:0]
		for _, j := range open {
			if !all[j].done().Before(o.At) {
				rest = append(rest, j)
				o.meets(&all[j])
			}
		}
		open = rest
		if o.Inbound {
			continue
		}
		last, known := used[o.Packet]
		used[o.Packet] = o.At
		if known && o.At.Sub(last) <= Tolerance {
			continue // the one before has opened it
		}
		for j := i - 1; j >= 0 && o.At.Sub(all[j].At) <= Tolerance; j-- {
			if !all[j].done().Before(o.At) {
				all[j].meets(o)
			}
		}
		open = append(open, i)
	}
}

// done is when the NAT was done with the packet at the latest.
func (o *Observation) done() time.Time {
	if o.Until.After(o.At) {
		return o.Until
	}
	return o.At
}

// meets marks a packet and one that opened something, if that matters to it: from
// inside both may want one port, or the next; from outside it may be what lets it in.
func (o *Observation) meets(opener *Observation) {
	if !o.Inbound || o.Packet.Src.Addr() == opener.Packet.Dst.Addr() || o.Packet.Dst == opener.mapped() {
		o.Raced, opener.Raced = true, true
	}
}

// mapped is the external endpoint that a packet from inside left with.
func (o *Observation) mapped() netip.AddrPort {
	if o.Left == nil {
		return netip.AddrPort{}
	}
	return o.Left.Src
}
