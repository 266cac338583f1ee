// Package watch holds a NAT at work against the behaviour that it was declared to
// have: what came in on one side and what left on the other are replayed through the
// model of nat/table, and whatever the model does not permit is a violation. It is
// pure: packets and times come in as parameters.
package watch

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// Tolerance is how far the times of captures and of the kernel's timers may lie
// apart: it counts in ticks of 4 ms, and a busy machine is late.
const Tolerance = 40 * time.Millisecond

// Observation is one packet at a NAT.
type Observation struct {
	At time.Time
	// Inbound: it came from outside.
	Inbound bool
	// Packet is the packet as it came.
	Packet table.Packet
	// Left is the packet as it left, and LeftInside that it did so on the inner side;
	// nil: it was not seen to leave.
	Left       *table.Packet
	LeftInside bool
	// Until is when it left; the zero value, or a time before At, stands for At.
	Until time.Time
	// Dropped says that the NAT itself dropped it, and why; empty: nobody knows what
	// became of a packet that did not leave.
	Dropped string
	// Full says that it did so because it had no port or no room for a new mapping.
	Full bool
	// Excused says that a packet that did not leave may have died of something else
	// than the NAT: a firewall, or an inside host that is not there.
	Excused bool
	// Raced says that another packet was in the NAT at the same time, and that which
	// of the two it took first may matter. Race finds out.
	Raced bool
}

// Violation is a packet that the declared behaviour forbids to be treated as it was.
type Violation struct {
	Observation
	Behavior nat.Behavior
	Why      string
}

func (v Violation) String() string {
	from := "from inside"
	if v.Inbound {
		from = "from outside"
	}
	fate := "did not leave"
	switch {
	case v.Left != nil:
		fate = fmt.Sprintf("left as %s > %s", v.Left.Src, v.Left.Dst)
	case v.Dropped != "":
		fate = "was dropped: " + v.Dropped
	}
	return fmt.Sprintf("%s %s %s: %s; %s forbids that: %s", v.At.Format("15:04:05.000"), v.Packet, from, fate, v.Behavior, v.Why)
}

// Watch follows one NAT. Observations and changes have to come in order of time. It
// is not safe for concurrent use.
type Watch struct {
	follower *table.Follower
	external []netip.Addr
	lenient  time.Time // until then nothing is held against the NAT
	// uncertain are endpoints of whom it is not certain what the NAT knows, and until
	// when.
	uncertain map[netip.AddrPort]time.Time
	seen      int
}

// New begins to follow a NAT that has no state yet.
func New(b nat.Behavior, external []netip.Addr) (*Watch, error) {
	w := &Watch{uncertain: make(map[netip.AddrPort]time.Time)}
	return w, w.begin(b, external)
}

func (w *Watch) begin(b nat.Behavior, external []netip.Addr) error {
	f, err := table.NewFollower(b, external, Tolerance)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	w.follower, w.external = f, slices.Clone(external)
	return nil
}

// Seen counts the packets that were held against the model.
func (w *Watch) Seen() int { return w.seen }

// Reboot notes that the NAT lost its state, and has these external addresses since;
// none: those that it had. It was over by until: packets before are not held against
// it.
func (w *Watch) Reboot(until time.Time, external ...netip.Addr) {
	if len(external) > 0 {
		w.external = slices.Clone(external)
	}
	w.pardon(until)
	w.follower.Reboot(w.external...)
}

// Flush notes that the NAT lost its mappings, while its counters went on.
func (w *Watch) Flush(until time.Time) {
	w.pardon(until)
	w.follower.Empty()
}

// Swap notes that the NAT became another one.
func (w *Watch) Swap(until time.Time, b nat.Behavior) error {
	w.pardon(until)
	return w.begin(b, w.external)
}

// Rebind notes that the mappings of inside addresses, of all if there are none, were
// closed between at and until, and their ports held.
func (w *Watch) Rebind(at, until time.Time, inside ...netip.Addr) {
	w.pardon(until)
	w.follower.Rebind(at, inside...)
}

func (w *Watch) pardon(until time.Time) {
	if until = until.Add(Tolerance); until.After(w.lenient) {
		w.lenient = until
	}
}

// Observe takes one packet. It gives nil where the behaviour permits what became of
// it.
func (w *Watch) Observe(o Observation) *Violation {
	w.seen++
	w.blur(o)
	why := w.judge(o)
	switch {
	case why == "":
		return nil
	case o.At.Before(w.lenient) || w.blurred(o):
		w.resume(o)
		return nil
	case o.Raced && (o.Inbound || o.Left != nil || slices.Contains(w.external, o.Packet.Dst.Addr())):
		w.learn(o)
		return nil
	}
	return &Violation{Observation: o, Behavior: w.follower.Behavior(), Why: why}
}

func (w *Watch) judge(o Observation) string {
	if o.Inbound {
		return w.inbound(o)
	}
	return w.outbound(o)
}

// blur notes whose state ends at about the time of a packet. What the NAT knows of
// them afterwards is not certain until all of it would have ended.
func (w *Watch) blur(o Observation) {
	packets := []Observation{o}
	if !o.Inbound && slices.Contains(w.external, o.Packet.Dst.Addr()) {
		back := o
		back.Inbound = true
		if mapped, ok := w.follower.Mapped(o.Packet); ok && w.follower.Behavior().Hairpin == nat.HairpinExternal {
			back.Packet.Src = mapped
		}
		packets = append(packets, back)
	}
	for _, p := range packets {
		if inside, external, near := w.follower.Near(p.At, p.Packet, p.Inbound); near {
			w.doubt(o, inside, external)
		}
	}
}

// doubt holds for as long as anything may depend on what is not certain.
func (w *Watch) doubt(o Observation, endpoints ...netip.AddrPort) {
	until := o.At.Add(4 * w.follower.Longest(o.Packet.Protocol))
	for _, e := range endpoints {
		w.uncertain[e] = until
		if w.follower.Behavior().Ports == nat.Block {
			w.uncertain[netip.AddrPortFrom(e.Addr(), 0)] = until // whose block it is
		}
	}
}

// blurred reports whether a packet is of somebody whose state is not certain.
func (w *Watch) blurred(o Observation) bool {
	endpoints := []netip.AddrPort{o.Packet.Src, o.Packet.Dst, netip.AddrPortFrom(o.Packet.Src.Addr(), 0)}
	if o.Left != nil {
		// A port that it has, or would have had if it had been known to be free.
		endpoints = append(endpoints, o.Left.Src, o.Left.Dst, netip.AddrPortFrom(o.Left.Src.Addr(), o.Packet.Src.Port()))
	}
	maps.DeleteFunc(w.uncertain, func(_ netip.AddrPort, until time.Time) bool { return !o.At.Before(until) })
	full := w.follower.Behavior().TableSize <= len(w.uncertain) // others may have taken the room
	return full || slices.ContainsFunc(endpoints, func(e netip.AddrPort) bool { return o.At.Before(w.uncertain[e]) })
}

// resume has the follower take what was seen for what is, where it is not known.
func (w *Watch) resume(o Observation) {
	w.doubt(o, o.Packet.Src, o.Packet.Dst)
	if o.Left != nil {
		w.doubt(o, o.Left.Src, o.Left.Dst)
	}
	if o.Inbound && o.Left == nil {
		w.follower.Forget(o.Packet, true)
	}
	w.learn(o)
}

// learn takes for the sender's mapping what a packet left with.
func (w *Watch) learn(o Observation) {
	switch mapped, known := w.follower.Mapped(o.Packet); {
	case o.Inbound || o.Left == nil || known && mapped == o.Left.Src || o.Left.Src == o.Packet.Src:
		// Of whom it was for nothing can be learned.
	default:
		w.follower.Forget(o.Packet, false)
		w.follower.Outbound(o.At, o.Packet, o.Left.Src)
	}
}

// unseen says why a packet that the model lets pass has to have left.
func (o Observation) unseen(v table.Verdict) string {
	if o.Excused && o.Dropped == "" {
		return ""
	}
	return fmt.Sprintf("it has to pass as %s > %s", v.Packet.Src, v.Packet.Dst)
}

func (w *Watch) inbound(o Observation) string {
	v := w.follower.Inbound(o.At, o.Packet)
	passed := o.Left != nil
	switch {
	case v.Drop != table.Passed && passed:
		return fmt.Sprintf("it has to be dropped: %s", v.Drop)
	case v.Drop != table.Passed:
		return ""
	case !passed:
		return o.unseen(v)
	case !o.LeftInside && *o.Left == v.Packet:
		// The NAT did its part. Nobody behind the router has the address any more, as
		// after a reboot of another router there, so that it left by the way to
		// everything else.
		return ""
	case !o.LeftInside:
		return "it went back to where it came from"
	case *o.Left != v.Packet:
		return fmt.Sprintf("it has to become %s > %s", v.Packet.Src, v.Packet.Dst)
	}
	return ""
}

func (w *Watch) outbound(o Observation) string {
	if o.Left == nil {
		return w.lost(o)
	}
	hairpin := slices.Contains(w.external, o.Packet.Dst.Addr())
	v, objection := w.follower.Outbound(o.At, o.Packet, o.Left.Src)
	switch {
	case objection != "":
		return objection
	case v.Drop != table.Passed:
		return fmt.Sprintf("it has to be dropped: %s", v.Drop)
	case v.Hairpin != o.LeftInside || hairpin != v.Hairpin:
		return "it left on the wrong side"
	case *o.Left != v.Packet:
		return fmt.Sprintf("it has to become %s > %s", v.Packet.Src, v.Packet.Dst)
	}
	return ""
}

// lost judges a packet from inside that did not leave. Where its sender has no
// mapping it may have got one that nobody saw, or there was no port for it, which the
// NAT knows better.
func (w *Watch) lost(o Observation) string {
	mapped, known := w.follower.Mapped(o.Packet)
	hairpin := slices.Contains(w.external, o.Packet.Dst.Addr())
	switch {
	case hairpin && w.follower.Behavior().Hairpin == nat.HairpinInternal:
	case hairpin && w.follower.Behavior().Hairpin == nat.HairpinNone:
		return ""
	case !known && (hairpin || o.Full || o.Excused && o.Dropped == "" || !w.follower.Room(o.Packet)):
		w.doubt(o, o.Packet.Src)
		return ""
	case !known:
		return "it has to get a mapping and leave"
	}
	if o.Excused && o.Dropped == "" && !hairpin {
		// Nobody knows whether the NAT saw it, and who may answer since.
		w.doubt(o, o.Packet.Src, o.Packet.Dst)
	}
	if v, _ := w.follower.Outbound(o.At, o.Packet, mapped); v.Drop == table.Passed {
		return o.unseen(v)
	}
	return ""
}
