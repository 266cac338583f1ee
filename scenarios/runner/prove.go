package runner

import (
	"fmt"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// prove makes sure that the phase's faults fired, by what the witness saw: a
// fault that did nothing makes the phase worthless. Cuts and flaps count the
// packets that they took; a reboot is proved by the mapping that it loses.
func (j *judgement) prove(p *phase, res *scenarios.PhaseResult) {
	for _, a := range p.spec.Actions {
		var fact string
		ok := true
		switch a.Kind {
		case scenarios.ActMove:
			n := j.count(p, func(k witness.Packet) bool {
				return k.Direction == witness.Out && k.Point == witness.Point{Node: a.Target, Interface: a.Uplink}
			})
			fact, ok = fmt.Sprintf("%s sent %d packets by its uplink %s after the move", a.Target, n, a.Uplink), n > 0
		case scenarios.ActStop:
			host := j.s.v.scenario.Rendezvous
			if a.Target == scenarios.ServerRelay {
				host = j.s.v.scenario.Relay
			}
			asked := j.count(p, func(k witness.Packet) bool {
				return k.Direction == witness.In && k.Point.Node == host && k.Protocol == 17
			})
			answered := j.count(p, func(k witness.Packet) bool {
				return k.Direction == witness.Out && k.Point.Node == host && k.Protocol == 17
			})
			fact = fmt.Sprintf("the stopped %s got %d datagrams and sent %d", a.Target, asked, answered)
			ok = asked > 0 && answered == 0
		case scenarios.ActReboot, scenarios.ActSwap:
			if len(p.spec.Expect.Mapping) == 0 && a.Kind == scenarios.ActReboot {
				j.vacuous = append(j.vacuous, j.in(p)+fmt.Sprintf(
					"nothing proves that %s rebooted: say mapping: {PEER: lost} in the phase's expectation", a.Target))
			}
			continue
		default:
			continue
		}
		if !ok {
			j.vacuous = append(j.vacuous, j.in(p)+"the fault did not fire: "+fact)
			continue
		}
		res.Facts = append(res.Facts, fact)
	}
}

// count counts the packets of a phase after its change.
func (j *judgement) count(p *phase, is func(witness.Packet) bool) (n int) {
	for _, k := range j.o.run.Packets {
		if !k.At.Before(p.changed) && !k.At.After(p.end) && is(k) {
			n++
		}
	}
	return n
}
