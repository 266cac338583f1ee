//go:build linux

package differential

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/nat/table"
)

// Tolerance is how far before and behind the end of a mapping, a filter's entry or
// the like no packet is judged: the kernel counts in ticks, which are of 10 ms at
// 100 Hz and of 4 ms at 250 Hz, and rounds to whole ones.
const Tolerance = 15 * time.Millisecond

// collection is for how long the kernel may count what has expired towards the size
// of a set: it collects once a second.
const collection = 2500 * time.Millisecond

// Judge holds what became of packets against the model. It is pure: times come in as
// parameters, and have to grow.
type Judge struct {
	first    Schedule
	behavior nat.Behavior
	shadow   *table.Shadow
	pair     table.Pairing
	external []netip.Addr
	// left are the external endpoints that packets of inside ones left with, each
	// once, the last one last.
	left map[inside][]netip.AddrPort
	// held are how many ports of each protocol were taken, and ended is when they last
	// became fewer by themselves.
	held  [table.ICMPEcho + 1]int
	ended time.Time
	// moved says why ports that are given in turn are not the next ones any more.
	moved string
	// slack is how much longer than instantly a step took at most: the kernel's clock
	// may be so much later than ours.
	slack time.Duration
	tally *Tally
	// past is all that it was told, so that another can be brought to the same state.
	past []told
}

type inside struct {
	protocol table.Protocol
	at       netip.AddrPort
}

// NewJudge makes one for a NAT that has just been installed. The tally may be nil.
func NewJudge(s Schedule, pair table.Pairing, tally *Tally) (*Judge, error) {
	j := &Judge{first: s, pair: pair, left: make(map[inside][]netip.AddrPort), tally: tally}
	return j, j.begin(s.Behavior, ExternalAddrs(s.External))
}

func (j *Judge) begin(b nat.Behavior, external []netip.Addr) (err error) {
	j.behavior, j.external, j.held, j.moved = b, external, [len(j.held)]int{}, ""
	j.shadow, err = table.NewShadow(b, external, j.pair)
	return err
}

// External are the addresses that the NAT has now.
func (j *Judge) External() []netip.Addr { return j.external }

// Behavior is what the NAT is now, defaults resolved.
func (j *Judge) Behavior() nat.Behavior { return j.shadow.Table().Behavior() }

// Packet gives the packet of a step, with the addresses that its names stand for
// now. A mapping that nobody has seen is guessed to have preserved its port.
func (j *Judge) Packet(s Step) table.Packet {
	p := table.Packet{Protocol: s.Protocol, Src: j.address(s, s.From), Dst: j.address(s, s.To)}
	if s.Do == Out && !among(s.To.Node, firstOutside) && !slices.Contains(j.external, p.Dst.Addr()) {
		// What is the router's, and not the NAT's, is none of our business.
		p.Dst = netip.AddrPortFrom(j.external[0], p.Dst.Port())
	}
	if s.Protocol == table.ICMPEcho {
		// The identifier stands on the inner or external side, and here there is one.
		if s.Do == Out {
			p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 0)
		} else {
			p.Src = netip.AddrPortFrom(p.Src.Addr(), 0)
		}
	}
	return p
}

func (j *Judge) address(s Step, e Endpoint) netip.AddrPort {
	switch {
	case among(e.Node, firstHost):
		return netip.AddrPortFrom(HostAddr(e.Node), e.Port)
	case among(e.Node, firstOutside):
		return netip.AddrPortFrom(outsideAddr(e.Node), e.Port)
	case among(e.Node, firstExternal):
		return netip.AddrPortFrom(externalAddr(e.Node), e.Port)
	}
	left := j.left[inside{s.Protocol, netip.AddrPortFrom(HostAddr(e.Host), e.Port)}]
	if int(e.Back) < len(left) {
		return left[len(left)-1-int(e.Back)]
	}
	return netip.AddrPortFrom(j.external[0], e.Port)
}

// Uncertain reports whether what the NAT does at a time depends on clocks: whether
// something ends at about it.
func (j *Judge) Uncertain(from, to time.Time) bool {
	return j.shadow.Table().Ends(from.Add(-Tolerance-j.slack), to.Add(Tolerance+j.slack))
}

// Change notes a step that is no packet, and was over at a time.
func (j *Judge) Change(at time.Time, s Step) error {
	j.past = append(j.past, told{from: at, change: s})
	return j.change(at, s)
}

func (j *Judge) change(at time.Time, s Step) error {
	t := j.shadow.Table()
	switch s.Do {
	case Flush:
		j.held = [len(j.held)]int{}
		t.Empty()
	case Rebind:
		if s.Host == 0 {
			t.Rebind(at)
		} else {
			t.Rebind(at, HostAddr(s.Host))
		}
	case Reboot, Swap:
		b := j.behavior
		if s.Do == Swap {
			b = s.Behavior
		}
		n := len(j.external)
		if s.Do == Reboot && s.External > 0 {
			n = s.External
		}
		return j.begin(b, ExternalAddrs(n))
	}
	return nil
}

// Verdict is what a Judge finds. The zero value: both agree.
type Verdict struct {
	// Disagreement says how the kernel and the model differ.
	Disagreement string
	// Unjudged says why the rest of the schedule cannot be judged.
	Unjudged string
}

// told is something that a Judge was told: packets of one instant, or a change.
type told struct {
	from, to time.Time
	packets  []sent
	change   Step
}

// Judge takes packets that were sent between two times, at one instant, and what
// became of each. Which of several was first nobody knows: they agree if all that was
// seen so far is what the model says in some order of them.
func (j *Judge) Judge(from, to time.Time, all []sent) Verdict {
	j.past = append(j.past, told{from: from, to: to, packets: all})
	v := j.inOrder(from, to, all)
	if v.Disagreement == "" || j.otherwise(func(*Judge) bool { return true }) {
		return Verdict{Unjudged: v.Unjudged}
	}
	exhausted := func(s sent) bool { return s.outcome.Cause == ruleset.CauseExhausted }
	if len(all) > 1 && j.behavior.Pooling == nat.PoolArbitrary && len(j.external) > 1 && slices.ContainsFunc(all, exhausted) {
		return Verdict{Unjudged: "packets at one instant took turns at the external addresses, so that one was not offered all of them"}
	}
	return v
}

// inOrder judges packets one after the other.
func (j *Judge) inOrder(from, to time.Time, all []sent) Verdict {
	for _, s := range all {
		if v := j.one(from, to, s.step, s.packet, s.outcome); v != (Verdict{}) {
			return v
		}
	}
	return Verdict{}
}

// mostOrders is how many orders are tried of all packets that were sent with others.
const mostOrders = 500

// otherwise finds an order of the packets that were sent at one instant by which all
// agrees, also what is asked of the Judge then, and takes it.
func (j *Judge) otherwise(agrees func(*Judge) bool) bool {
	choices, at, some := make([][][]sent, len(j.past)), make([]int, len(j.past)), false
	for i, t := range j.past {
		choices[i] = orders(t.packets)
		some = some || len(choices[i]) > 1
	}
	for range mostOrders {
		if !some {
			return false
		}
		if other := j.again(choices, at); other != nil && agrees(other) {
			other.tally, other.past = j.tally, j.past
			*j = *other
			return true
		}
		some = false
		for i := range at { // the next combination
			if at[i]++; at[i] < len(choices[i]) {
				some = true
				break
			}
			at[i] = 0
		}
	}
	return false
}

// again gives another Judge that was told the same, in the orders of the choices, or
// nil where it does not agree.
func (j *Judge) again(choices [][][]sent, at []int) *Judge {
	o := &Judge{first: j.first, pair: j.pair, left: make(map[inside][]netip.AddrPort)}
	err := o.begin(j.first.Behavior, ExternalAddrs(j.first.External))
	for i, t := range j.past {
		switch {
		case err != nil:
			return nil
		case t.packets == nil:
			err = o.change(t.from, t.change)
		case o.inOrder(t.from, t.to, choices[i][at[i]]).Disagreement != "":
			return nil
		}
	}
	return o
}

// orders are all orders of packets.
func orders(all []sent) [][]sent {
	if len(all) <= 1 {
		return [][]sent{all}
	}
	var found [][]sent
	for i := range all {
		rest := slices.Delete(slices.Clone(all), i, i+1)
		for _, o := range orders(rest) {
			found = append(found, append([]sent{all[i]}, o...))
		}
	}
	return found
}

// one takes a packet of a step, which was sent between two times, and what became of
// it.
func (j *Judge) one(from, to time.Time, s Step, p table.Packet, o Outcome) Verdict {
	j.slack = max(j.slack, to.Sub(from))
	if j.slack > Tolerance {
		return Verdict{Unjudged: "the machine was busy: a packet took too long"}
	}
	if j.Uncertain(from, to) {
		return Verdict{Unjudged: "the packet came at about the end of something"}
	}
	if o.Wrong != "" {
		return Verdict{Disagreement: o.Wrong}
	}
	if p.Protocol == table.TCP && j.behavior.Kind != nat.KindRFC {
		return Verdict{Unjudged: "conntrack knows states of TCP, and the model does not"}
	}
	t := j.shadow.Table()
	late := j.lately(from, p.Protocol)
	defer func() { j.held[p.Protocol] = t.Taken(from, p.Protocol) }()
	var v table.Verdict
	var objection string
	lent := slices.Contains(j.left[inside{p.Protocol, p.Src}], o.Packet.Src)
	if s.Do == Out {
		seen := o.Mapped
		if o.Passed && o.Packet.Src != p.Src {
			seen = o.Packet.Src
		}
		v, objection = j.shadow.Outbound(from, p, seen)
		if o.Passed && o.Packet.Src != p.Src {
			j.remember(inside{p.Protocol, p.Src}, o.Packet.Src)
		}
	} else {
		v = j.shadow.Inbound(from, p)
	}
	j.tally.count(t.Behavior(), v, s)
	j.moves(v)
	if objection != "" && j.moved == "" {
		return Verdict{Disagreement: fmt.Sprintf("the kernel's packet %s; the model objects: %s", o, objection)}
	}
	if s.Do == Out && j.shadow.Guessed() && j.Blind(p, o) && o.Cause != ruleset.CauseExhausted {
		return Verdict{Unjudged: "a mapping was made by a packet that was dropped, and ended before anybody saw its port"}
	}
	model := j.expected(s, p, v)
	if model.equal(o) {
		return Verdict{}
	}
	if late && o.Cause == ruleset.CauseExhausted && (v.Drop == table.Passed || v.Hairpin) {
		return Verdict{Unjudged: "the kernel had not collected yet what has expired, and its table was full"}
	}
	if j.behavior.Kind == nat.KindMasquerade && !j.ended.IsZero() && o.Passed && lent {
		return Verdict{Unjudged: "a flow that has ended lent its port to the next one, since the kernel had not collected it"}
	}
	if j.moved != "" && s.Do == Out {
		return Verdict{Unjudged: j.moved}
	}
	return Verdict{Disagreement: fmt.Sprintf("the kernel's packet %s; the model's %s", o, model)}
}

// moves notes that a packet has found the table full, where the kernel's counters went
// on all the same: rules cannot ask beforehand whether there is room.
func (j *Judge) moves(v table.Verdict) {
	b := j.Behavior()
	inTurn := b.Ports == nat.Sequential || b.Ports == nat.Preserve && b.Fallback == nat.FallbackSequential
	if v.Drop == table.TableFull && b.Kind == nat.KindRFC && (b.Ports == nat.Block || inTurn && b.Range.Size() >= manyPorts) {
		j.moved = "a full table moved the kernel's counters on"
	}
}

// manyPorts is from how many ports on a packet that gets none moves the counter.
const manyPorts = 1024

// remember notes which external endpoint an inside one was seen with.
func (j *Judge) remember(from inside, e netip.AddrPort) {
	left := slices.DeleteFunc(j.left[from], func(o netip.AddrPort) bool { return o == e })
	j.left[from] = append(left, e)
}

// lately reports whether ports of the protocol were taken lately that are no longer.
// The kernel may still count them towards the size of its table.
func (j *Judge) lately(now time.Time, p table.Protocol) bool {
	held := j.shadow.Table().Taken(now, p)
	if held < j.held[p] {
		j.ended = now
	}
	j.held[p] = held
	return !j.ended.IsZero() && now.Sub(j.ended) < collection
}
