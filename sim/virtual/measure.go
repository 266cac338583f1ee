package virtual

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

const (
	// measuring is how long probes are sent for, probeInterval how far apart those
	// of one link are at least.
	measuring     = 100 * time.Millisecond
	probeInterval = time.Millisecond
	// leastProbes are sent whatever the link's rate is; allProbes is the most for
	// all links of a lab together.
	leastProbes, allProbes = 3, 20_000
	// probeSize is that of a probe, from its IP header on.
	probeSize = 50
	// probePatience is how long probes may take beyond what the model gives them.
	probePatience = 2 * time.Second
	// probeSeed keeps the probes' random numbers apart from the link's own.
	probeSeed = 0x70726f6265
)

// probed is one direction of a link that is measured. Its probes go by a lane of
// their own, beside the packets of the lab: they leave no trace.
type probed struct {
	real, lane        *lane
	model             *link.Shaper // with the same random numbers
	sent              []instant    // -1: it arrived
	expected, arrived []time.Duration
}

// Measure implements sim.Network. What the model gives each probe is computed
// beside, so that it is compared with how the lab's packets travel.
func (n *Network) Measure(ctx context.Context) ([]sim.Measurement, error) {
	type burst struct {
		ways     []*probed
		interval time.Duration
		count    int
	}
	settled := make(chan struct{})
	outstanding := 0
	over := func() {
		if outstanding--; outstanding == 0 {
			close(settled)
			n.stirred = true
		}
	}
	var bursts []*burst
	for i := range n.cables {
		c := &n.cables[i]
		if !c.print.declared || c.severed() || c.lifted > 0 || c.wanted == (Directions{}) {
			continue
		}
		b := &burst{interval: probeInterval}
		for number, l := range c.lanes() {
			rate := max(l.impairment.Rate, l.impairment.Trace.Rate())
			if rate > 0 { // the line is to be idle again before the next
				b.interval = max(b.interval, 2*time.Duration(probeSize*8*uint64(time.Second)/rate))
			}
			// Both have one, since cables have their lanes by twos.
			if w := n.probe(l, uint64(number+1), over); !l.impairment.IsZero() {
				b.ways = append(b.ways, w)
			}
		}
		b.count = int(measuring / b.interval)
		bursts = append(bursts, b)
	}
	longest := time.Duration(0)
	for _, b := range bursts {
		count := max(min(b.count, allProbes/(2*len(bursts))), leastProbes)
		for _, w := range b.ways {
			i := w.lane.impairment
			last := time.Duration(count-1) * b.interval
			longest = max(longest, last+i.Delay+4*i.Jitter+i.Wander.Delay+i.Trace.Period())
			outstanding += count
			for k := range count {
				n.after(time.Duration(k)*b.interval, func() { w.send(n, over) })
			}
		}
	}
	if outstanding > 0 {
		err := n.Wait(ctx, settled, longest+probePatience)
		if err != nil && !errors.Is(err, sim.ErrTimeout) {
			return nil, err
		}
	}
	var all []sim.Measurement
	for _, b := range bursts {
		for _, w := range b.ways {
			w.lane.deliver = n.put // what is late
			w.real.measured = w.real.counts.Delivered
			all = append(all, sim.Measurement{
				Link: w.real.cable.print.planned.ID, Direction: w.real.direction(), Promised: w.lane.impairment,
				Sent: len(w.sent), Lost: len(w.sent) - len(w.arrived), Expected: median(w.expected), Achieved: median(w.arrived),
			})
		}
	}
	return all, nil
}

// probe gives a direction a lane for probes. number is that of its random numbers.
func (n *Network) probe(l *lane, number uint64, over func()) *probed {
	seed := n.opt.Seed ^ l.cable.print.key ^ probeSeed
	w := &probed{real: l, model: link.NewShaper(l.impairment, seed, number)}
	w.lane = &lane{
		cable: l.cable, from: l.from, to: l.to, up: l.up, declared: true,
		impairment: l.impairment, shaper: link.NewShaper(l.impairment, seed, number), mtu: l.mtu,
		deliver: func(p *packet) {
			if sent := w.sent[p.id]; sent >= 0 { // and no copy of one that was here
				w.sent[p.id] = -1
				w.arrived = append(w.arrived, time.Duration(n.now-sent))
				over()
			}
			n.put(p)
		},
	}
	w.lane.id = int32(len(n.lanes))
	n.lanes = append(n.lanes, w.lane)
	return w
}

// probeAddress is of no realm: who has it is seen nowhere.
var probeAddress = netip.AddrPortFrom(proberPrefix.Addr().Next(), 9)

// send sends a probe. over is called when it has come to its end.
func (w *probed) send(n *Network, over func()) {
	p := n.take()
	p.protocol, p.src, p.dst, p.id = protocolUDP, probeAddress, probeAddress, uint16(len(w.sent))
	p.fill(make([]byte, probeSize-sizeIP-sizeUDP))
	p.setSize()
	w.sent = append(w.sent, n.now)
	if v := w.model.Next(n.time, p.size); v.Deliver {
		w.expected = append(w.expected, v.At.Sub(n.time))
	}
	before := w.lane.counts.Lost()
	w.lane.shape(n, p)
	if w.lane.counts.Lost() > before {
		over()
	}
}

// median is the middle one; 0 of none.
func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)/2]
}
