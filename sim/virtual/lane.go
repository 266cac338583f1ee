package virtual

import (
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/link"
	"p2pmodel/sim/witness"
)

// crossing is the least time that a packet takes from one node to the next: about
// what a veth pair and the stack behind it take. Without it, who answers at once
// would do so for ever at one time.
const crossing = instant(10 * time.Microsecond)

// lane is one direction of a link.
type lane struct {
	cable    *cable
	from, to *node
	// exit and entry are where the packet is captured; nil: nowhere.
	exit, entry *witness.Point
	id          int32
	up          bool
	declared    bool // its counts are known
	impairment  link.Impairment
	shaper      *link.Shaper // nil until it is needed
	mtu         int          // of the routes into it
	losses      []*loss
	counts      link.Counts
	measured    uint64 // of counts.Delivered, those before a measurement
	// deliver is who gets the packets, of a guest's lane.
	deliver func(p *packet)
}

// loss loses packets that enter a lane, and counts them: cuts of plain links,
// black holes, restrictions, partitions. The sender sends them, and nobody gets
// them.
type loss struct {
	cause witness.Cause
	taken uint64
	takes func(p *packet) bool // nil: all
}

// direction is how files call it.
func (l *lane) direction() sim.Direction {
	if l.up {
		return sim.Up
	}
	return sim.Down
}

// setImpairment changes what the lane does to packets that enter from now on.
func (l *lane) setImpairment(i link.Impairment) {
	l.impairment = i
	if l.shaper != nil {
		l.shaper.Change(i)
	}
	l.mtu = sizeMTU
	if i.MTU > 0 && !i.Blackhole {
		l.mtu = i.MTU
	}
}

// begin has a loss take packets; end ends that.
func (l *lane) begin(o *loss) { l.losses = append(l.losses, o) }

func (l *lane) end(o *loss) {
	for i, other := range l.losses {
		if other == o {
			l.losses = append(l.losses[:i:i], l.losses[i+1:]...)
			return
		}
	}
}

// send takes a packet from the lane's node.
func (l *lane) send(n *Network, p *packet) {
	if n.recording != nil && l.exit != nil {
		n.recording.see(n, p, l.exit, witness.Out)
	}
	if len(l.losses) > 0 && l.lose(n, p) {
		n.put(p)
		return
	}
	if l.declared {
		l.counts.Offered++
		if l.cable.severed() {
			l.take(n, p, link.Cut)
			return
		}
		if !l.impairment.IsZero() {
			l.shape(n, p)
			return
		}
	}
	n.schedule(event{at: n.now + crossing, what: arrival, who: l.id, packet: p})
}

// lose asks the losses. Each counts what it would have taken.
func (l *lane) lose(n *Network, p *packet) (lost bool) {
	for _, o := range l.losses {
		if o.takes == nil || o.takes(p) {
			o.taken++
			lost = true
			n.lost(l, p, o.cause, ruleHead)
		}
	}
	return lost
}

// take loses a packet for one of a link's own reasons.
func (l *lane) take(n *Network, p *packet, why link.Reason) {
	l.counts.By[why]++
	n.lost(l, p, witness.Cause(why.String()), linkHead)
	n.put(p)
}

// shape asks the lane's model what becomes of the packet.
func (l *lane) shape(n *Network, p *packet) {
	if l.shaper == nil {
		number := uint64(2)
		if l.up {
			number = 1
		}
		if last := len(n.shapers) - 1; last >= 0 {
			l.shaper, n.shapers = n.shapers[last], n.shapers[:last]
		} else {
			l.shaper = new(link.Shaper)
		}
		l.shaper.Reset(l.impairment, n.opt.Seed^l.cable.print.key, number)
	}
	v := l.shaper.Next(n.time, p.size)
	if !v.Deliver {
		l.take(n, p, v.Reason)
		return
	}
	if v.Overtook {
		l.counts.Overtook++
	}
	var second *packet
	if v.Copy {
		l.counts.Duplicated++
		second = n.copy(p)
	}
	if v.Corrupt {
		l.counts.By[link.Corrupt]++
		n.lost(l, p, witness.Cause(link.Corrupt.String()), linkHead)
		p.corrupt(v.Flip)
	}
	least := n.now + crossing
	n.schedule(event{at: max(instantOf(v.At), least), what: arrival, who: l.id, packet: p})
	if second != nil {
		n.schedule(event{at: max(instantOf(v.CopyAt), least), what: arrival, who: l.id, packet: second})
	}
}

// arrive gives a packet to the node at the lane's end.
func (l *lane) arrive(n *Network, p *packet) {
	if l.deliver != nil {
		l.deliver(p)
		return
	}
	if l.declared {
		if l.cable.severed() {
			l.take(n, p, link.Cut)
			return
		}
		l.counts.Delivered++
		l.counts.Bytes += uint64(p.size)
	} else if !l.cable.plugged {
		n.put(p)
		return
	}
	if n.recording != nil && l.entry != nil {
		n.recording.see(n, p, l.entry, witness.In)
	}
	switch to := l.to; to.kind {
	case core:
		n.atCore(p, l)
	case router:
		to.router.receive(p, l)
	case host:
		to.host.receive(p)
	}
}
