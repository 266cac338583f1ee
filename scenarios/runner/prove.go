package runner

import (
	"fmt"
	"slices"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// prove makes sure that the phase's actions did what they say, by what the
// witness saw and what each event's proof tells: what did nothing makes the phase
// worthless. A swap is proved by the seal of the router.
func (j *judgement) prove(p *phase, res *scenarios.PhaseResult) {
	for _, d := range p.deeds {
		fact, ok := j.proved(p, d)
		switch {
		case fact == "":
		case ok:
			res.Facts = append(res.Facts, fact)
		default:
			j.proveNothing(p, "what was done had no effect: %s", fact)
		}
	}
}

// proved says in a sentence what was seen of an action, and whether that proves
// it. The sentence is empty where there is nothing to be seen.
func (j *judgement) proved(p *phase, d *deed) (fact string, ok bool) {
	switch d.Kind {
	case scenarios.ActStop, scenarios.ActRestart:
		if d.Event.Kind != "" {
			break
		}
		asked, answered := j.served(d, d.done, p.end)
		if d.Kind == scenarios.ActStop {
			return fmt.Sprintf("the stopped %s got %d datagrams and sent %d", d.Target, asked, answered), asked > 0 && answered == 0
		}
		return fmt.Sprintf("the restarted %s got %d datagrams and sent %d", d.Target, asked, answered), asked > 0 && answered > 0
	case scenarios.ActQuiet:
		n := 0
		for _, pair := range j.s.pairs() {
			n += len(sentIn(j.deliveries[pair], d.begin, d.done))
		}
		return fmt.Sprintf("in %v of quiet %d datagrams of payload were sent", d.For, n), n == 0
	}
	if d.Event.Kind == "" {
		return "", true
	}
	return j.happened(p, d)
}

// happened says what was seen of an event. What its proof tells is what the lab
// says of itself; of what crosses wires, the witness is asked.
func (j *judgement) happened(p *phase, d *deed) (fact string, ok bool) {
	switch e := d.Event; e.Kind {
	case sim.EventMove:
		n := j.count(d.done, p.end, witness.Out, func(k witness.Packet) bool {
			return k.Point == witness.Point{Node: e.Host, Interface: e.Uplink}
		})
		return fmt.Sprintf("%s sent %d packets by its uplink %s after the move", e.Host, n, e.Uplink), n > 0
	case sim.EventReboot:
		r, _ := j.s.v.lab.Router(e.Router)
		if r.NAT != nil && len(p.spec.Expect.Mapping) == 0 && !d.timeline {
			return fmt.Sprintf("nothing shows that %s rebooted: say mapping: {PEER: lost} in the phase's expectation", e.Router), false
		}
	case sim.EventSwap:
		if !d.timeline {
			return "", true // by the seal of the router
		}
	case sim.EventRestore, sim.EventHeal, sim.EventUnrestrict:
		return "", true // by what ended
	}
	if d.seen == nil {
		return "", true // the end of one that ended by itself
	}
	proof := d.seen.Proof()
	return proof.Text, proof.State == sim.Proved
}

// served counts the datagrams that came to the hosts of servers and left them.
func (j *judgement) served(d *deed, from, to time.Time) (in, out int) {
	hosts := j.s.v.hostsOf(d.Action)
	isHost := func(k witness.Packet) bool { return slices.Contains(hosts, k.Point.Node) && k.Protocol == protocolUDP }
	return j.count(from, to, witness.In, isHost), j.count(from, to, witness.Out, isHost)
}

const protocolUDP = 17 // IP protocol number

// count counts captured packets of one direction.
func (j *judgement) count(from, to time.Time, way witness.Direction, is func(witness.Packet) bool) (n int) {
	for _, k := range j.o.run.Packets {
		if k.Direction == way && !k.At.Before(from) && !k.At.After(to) && is(k) {
			n++
		}
	}
	return n
}
