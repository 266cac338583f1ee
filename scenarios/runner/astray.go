package runner

import (
	"fmt"
	"slices"

	"p2pmodel/sim/witness"
)

// slotSent is a slot that a host's datagrams begin with.
type slotSent struct{ from, slot string }

// astray takes out of the deliveries what reached another host than it was said to.
// A relay that starts anew may give a relayed address to somebody else, and a NAT a port:
// until its sender notices, what it says to the one arrives at the other, who cannot
// read it and has not been told it. It is known by its slot, which is that of the session
// in which most of its datagrams arrived. Two slots of one pair stay two.
func (j *judgement) astray() {
	arrived := map[slotSent]map[string]int{} // how many, by receiver
	for _, pair := range j.s.pairs() {
		for _, d := range j.deliveries[pair] {
			if d.Lost() {
				continue
			}
			s := slotSent{d.From, slotOf(d.Payload)}
			if arrived[s] == nil {
				arrived[s] = map[string]int{}
			}
			arrived[s][d.To]++
		}
	}
	for _, pair := range j.s.pairs() {
		strays := map[string]int{} // by sender
		j.deliveries[pair] = slices.DeleteFunc(j.deliveries[pair], func(d witness.Delivery) bool {
			if d.Lost() || !outnumbered(arrived[slotSent{d.From, slotOf(d.Payload)}], d.To) {
				return false
			}
			strays[d.From]++
			return true
		})
		for _, way := range both(pair) {
			if n := strays[j.s.host(way[0])]; n > 0 {
				j.seen = append(j.seen, fmt.Sprintf("%d datagrams of %s for somebody else arrived at %s, who could not read them", n, way[0], way[1]))
			}
		}
	}
}

// outnumbered says that more arrived at another receiver.
func outnumbered(arrived map[string]int, to string) bool {
	for _, n := range arrived {
		if n > arrived[to] {
			return true
		}
	}
	return false
}

// confusions makes sure that no application was told anything that was not said to it by
// the peer that it was told of, be it said to another peer or by another one.
func (j *judgement) confusions() {
	for _, a := range j.s.cast() {
		a.mu.Lock()
		n := a.confused
		a.mu.Unlock()
		if n > 0 {
			j.wrong = append(j.wrong, fmt.Sprintf("%d datagrams were delivered to the application of %s as from a peer that did not say them to it", n, a.name))
		}
	}
}
