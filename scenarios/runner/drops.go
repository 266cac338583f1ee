package runner

import (
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim/witness"
)

// underWay is how long before the last captured packet one may have been sent that
// nobody knows the end of: it was still on its way.
const underWay = time.Second

// attribute finds out where the packets of the run died that did not arrive.
func (j *judgement) attribute() {
	var resets []witness.Reset
	if j.s.watched {
		for _, router := range j.s.v.lab.Routers {
			running, err := j.s.net.Router(router.Name)
			if err != nil {
				continue
			}
			for _, c := range running.Changes() {
				resets = append(resets, witness.Reset{Node: router.Name, At: c.Begin})
			}
		}
	}
	run := j.o.run
	run.Drops = witness.Attribute(j.traces, run.Drops, resets)
	for _, t := range j.traces {
		d := t.Drop
		if d == nil || d.Link != "" || !j.untracked(t.Last()) {
			continue
		}
		for i := range run.Drops {
			if e := &run.Drops[i]; e.At.Equal(d.At) && e.Node == d.Node && e.Addresses == d.Addresses {
				e.Cause = witness.CauseDamaged
			}
		}
		d.Cause = witness.CauseDamaged
	}
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

// untracked reports whether a packet came to a NAT of conntrack with a wrong
// checksum: conntrack verifies them, and does not look for such a packet's flow
// (nf_conntrack_checksum). Rules of our own translate it as it is, like most NATs.
func (j *judgement) untracked(h witness.Hop) bool {
	if h.Direction != witness.In || !h.Damaged {
		return false
	}
	r, ok := j.s.v.lab.Router(h.Point.Node)
	return ok && r.NAT != nil && r.NAT.Kind != nat.KindRFC
}

// consumed reports whether a packet came to a router that it was for, as ICMP
// errors about what a router sends itself do.
func (j *judgement) consumed(t witness.Trace) bool {
	last := t.Last()
	if last.Direction != witness.In {
		return false
	}
	r, ok := j.s.v.lab.Router(last.Point.Node)
	// What is for a NAT's address belongs to the NAT.
	return ok && r.NAT == nil && slices.Contains(j.s.net.Plan().External(r.Name), last.Dst.Addr())
}
