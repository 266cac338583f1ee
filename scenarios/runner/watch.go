package runner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
	"p2pmodel/nat/watch"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// manyViolations is how many violations a verdict lists.
const manyViolations = 3

// insideRouter is how long a packet may take through a router: one that came in so
// late in a capture may have left after it.
const insideRouter = 50 * time.Millisecond

// largePacket is a size, in bytes, from which a packet may have died of the MTU of
// a link, which the model of a NAT does not know.
const largePacket = 1200

// coming is where a packet came into a router.
type coming struct {
	trace *witness.Trace
	hop   int
}

// comings are those into each router, trace by trace: in a lab of many routers each
// trace is looked at once.
func comings(traces []witness.Trace) map[string][]coming {
	all := map[string][]coming{}
	for i := range traces {
		t := &traces[i]
		for n := range t.Hops {
			if h := &t.Hops[n]; h.Direction == witness.In {
				all[h.Point.Node] = append(all[h.Point.Node], coming{t, n})
			}
		}
	}
	return all
}

// watchNATs replays what crossed each NAT through the model of its declared
// behaviour. It gives a sentence for each NAT that did what it must not.
func (j *judgement) watchNATs(phases []*phase) (broken []string) {
	for _, r := range j.s.v.lab.Routers {
		if r.NAT == nil {
			continue
		}
		violations, seen, err := j.watchNAT(r, phases)
		switch {
		case err != nil:
			broken = append(broken, fmt.Sprintf("router %s could not be watched: %v", r.Name, err))
		case len(violations) > 0:
			text := fmt.Sprintf("router %s did not behave as declared: ", r.Name)
			for i, v := range violations {
				if i == manyViolations {
					text += fmt.Sprintf("; and %d more", len(violations)-i)
					break
				}
				if i > 0 {
					text += "; "
				}
				text += v.String()
			}
			broken = append(broken, text)
		default:
			j.seen = append(j.seen, fmt.Sprintf("%s was watched: it treated all of %d packets as it was declared to", r.Name, seen))
		}
	}
	return broken
}

// watchNAT replays one NAT.
func (j *judgement) watchNAT(r sim.Router, phases []*phase) (violations []*watch.Violation, seen int, err error) {
	w, err := watch.New(*r.NAT, j.s.net.Plan().External(r.Name))
	if err != nil {
		return nil, 0, err
	}
	running, err := j.s.net.Router(r.Name)
	if err != nil {
		return nil, 0, err
	}
	changes := slices.DeleteFunc(running.Changes(), func(c sim.Change) bool { return c.End.Before(j.s.certified) })
	observations := j.observations(r)
	for len(observations) > 0 || len(changes) > 0 {
		// At one time, which virtual times often are, either may have been first; around a
		// change packets are not held against the NAT.
		if len(changes) > 0 && (len(observations) == 0 || !changes[0].Begin.After(observations[0].At)) {
			if err := j.follow(w, r.Name, changes[0], phases); err != nil {
				return nil, 0, err
			}
			changes = changes[1:]
			continue
		}
		if v := w.Observe(observations[0]); v != nil {
			violations = append(violations, v)
		}
		observations = observations[1:]
	}
	return violations, w.Seen(), nil
}

// follow tells a watch of a change. A swap that the scenario did not ask for is none
// of its business.
func (j *judgement) follow(w *watch.Watch, router string, c sim.Change, phases []*phase) error {
	switch c.Kind {
	case sim.ChangeReboot:
		w.Reboot(c.End, c.External...)
	case sim.ChangeFlush:
		w.Flush(c.End)
	case sim.ChangeRebind:
		w.Rebind(c.Begin, c.End, c.Inside...)
	case sim.ChangeSwap:
		if b, ok := swapped(phases, router, c); ok {
			return w.Swap(c.End, b)
		}
	}
	return nil
}

// swapped finds the action of a swap.
func swapped(phases []*phase, router string, c sim.Change) (nat.Behavior, bool) {
	for _, p := range phases {
		for _, d := range p.deeds {
			if e := d.Event; e.Kind == sim.EventSwap && e.Router == router && !d.begin.After(c.Begin) && !d.done.Before(c.End) {
				return e.NAT, true
			}
		}
	}
	return nat.Behavior{}, false
}

// observations are the packets that came to a NAT, in order of time.
func (j *judgement) observations(r sim.Router) []watch.Observation {
	excused := j.excuse(r)
	end := time.Time{}
	if n := len(j.o.run.Packets); n > 0 {
		end = j.o.run.Packets[n-1].At.Add(-insideRouter)
	}
	external := j.s.net.Plan().External(r.Name)
	realm, _ := j.s.net.Plan().Realm(r.Name) // whoever has a NAT has one
	var all []watch.Observation
	for _, c := range j.comings[r.Name] {
		t, i := c.trace, c.hop
		h := &t.Hops[i]
		protocol, ok := j.watched(t)
		if !ok || j.untracked(*h) {
			continue
		}
		o := watch.Observation{
			At: h.At, Inbound: h.Point.Interface == sim.DefaultUplink,
			Packet: table.Packet{Protocol: protocol, Src: h.Src, Dst: h.Dst},
		}
		if i+1 < len(t.Hops) {
			next := t.Hops[i+1]
			if next.Point.Node != r.Name || next.Direction != witness.Out {
				continue // it came twice: the captures do not tell which of them left
			}
			o.Left = &table.Packet{Protocol: protocol, Src: next.Src, Dst: next.Dst}
			o.LeftInside, o.Until = next.Point.Interface != sim.DefaultUplink, next.At
		} else {
			byNAT := t.Drop != nil && t.Drop.Node == r.Name && strings.HasPrefix(t.Drop.Rule, "nat ")
			if byNAT {
				o.Dropped, o.Full = string(t.Drop.Cause), t.Drop.Cause == witness.CauseExhausted
			} else if t.Drop != nil && !o.Inbound && !slices.Contains(external, h.Dst.Addr()) {
				continue // the router's firewall judges what leaves before its NAT does, and everything else after
			}
			o.Excused = !byNAT && (t.Drop != nil || h.At.After(end) || h.TTL <= 1 || t.Size > largePacket || protocol == table.TCP || excused(o))
		}
		untouched := o.Left == nil || o.LeftInside && *o.Left == o.Packet
		if !o.Inbound && realm.Prefix.Contains(h.Dst.Addr()) && o.Dropped == "" && untouched {
			continue // from one host behind the NAT to another, by the address that it has there
		}
		all = append(all, o)
	}
	slices.SortStableFunc(all, func(a, b watch.Observation) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	watch.Race(all)
	return all
}

// watched says which protocol of the model a trace is of. Fragments that never became
// whole do not get as far as the NAT; of a system's TCP connections not every packet
// is captured.
func (j *judgement) watched(t *witness.Trace) (table.Protocol, bool) {
	switch {
	case t.Fragment():
		return 0, false
	case t.Protocol == protocolUDP:
		return table.UDP, true
	case t.Protocol == protocolTCP && j.s.v.scenario.System == nil:
		return table.TCP, true
	}
	return 0, false
}

const protocolTCP = 6

// excuse gives what else than the NAT may take packets in a router: a firewall, where
// its drops are not told, and hosts and routers behind it that are not there all the
// time.
func (j *judgement) excuse(r sim.Router) func(watch.Observation) bool {
	firewall := r.Firewall != nil && j.o.run.DropsMissing != ""
	comes := false
	for _, h := range j.s.v.lab.Hosts {
		for _, u := range h.Uplinks {
			comes = comes || len(h.Uplinks) > 1 && u.Behind == r.Name
		}
	}
	for _, inner := range j.s.v.lab.Routers {
		running, err := j.s.net.Router(inner.Name)
		comes = comes || inner.Behind == r.Name && (err != nil || len(running.Changes()) > 0)
	}
	return func(o watch.Observation) bool {
		return firewall || comes && (o.Inbound || slices.Contains(j.s.net.Plan().External(r.Name), o.Packet.Dst.Addr()))
	}
}
