package runner

import (
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// underWay is how long before the last captured packet one may have been sent that
// nobody knows the end of: it was still on its way.
const underWay = time.Second

// attribute finds out where the packets of the run died that did not arrive.
func (j *judgement) attribute(phases []*phase) {
	var resets []witness.Reset
	for _, p := range phases {
		for _, d := range p.deeds {
			switch d.Event.Kind {
			case sim.EventReboot, sim.EventSwap, sim.EventFlush, sim.EventRebind:
				resets = append(resets, witness.Reset{Node: d.Event.Router, At: d.begin})
			}
		}
	}
	run := j.o.run
	run.Drops = witness.Attribute(j.traces, run.Drops, resets)
	run.Unexplained = 0
	if len(run.Packets) == 0 {
		return
	}
	end := run.Packets[len(run.Packets)-1].At.Add(-underWay)
	for _, t := range j.traces {
		if !t.Arrived && t.Drop == nil && t.Last().At.Before(end) && !j.consumed(t) {
			run.Unexplained++
		}
	}
}

// consumed reports whether a packet came to a router that it was for, as ICMP
// errors about what a router sends itself do.
func (j *judgement) consumed(t witness.Trace) bool {
	last := t.Last()
	if last.Direction != witness.In {
		return false
	}
	r, err := j.s.net.Router(last.Point.Node)
	if err != nil {
		return false
	}
	if _, translates := r.Behavior(); translates {
		return false // what is for a NAT's address belongs to the NAT
	}
	for _, a := range r.External() {
		if a == last.Dst.Addr() {
			return true
		}
	}
	return false
}
