package virtual

import (
	"time"

	"p2pmodel/sim"
)

// Play lets time pass until something is so, at most the limit. It is Wait for who is
// alone in the lab: there is no channel, and it is asked after whatever machines do.
// The error is sim.ErrTimeout, or why the lab cannot go on.
func (n *Network) Play(limit time.Duration, until func() bool) error {
	if n.closed {
		return errClosed
	}
	end := n.now + instant(limit)
	for n.stirred = true; ; {
		if n.stirred {
			if n.stirred = false; until() {
				return nil
			}
		}
		if n.step(end) {
			continue
		}
		if n.fault != nil {
			return n.fault
		}
		n.now, n.time = end, end.time()
		return sim.ErrTimeout
	}
}

// reuse takes the memory of a lab that was closed: events, packets, cables. Nothing of
// what happened in it is left.
func (n *Network) reuse(old *Network) {
	for i := range old.events {
		if p := old.events[i].packet; p != nil {
			old.put(p)
		}
	}
	clear(old.events)
	n.events, n.packets = old.events[:0], old.packets
	n.laneMemory, n.shapers = old.laneMemory, old.shapers
	for i := range n.laneMemory {
		if s := n.laneMemory[i].shaper; s != nil {
			n.shapers = append(n.shapers, s)
		}
	}
	n.nodes, n.cables, n.lanes = old.nodes, old.cables, old.lanes
	n.hosts, n.routers, n.machines = old.hosts, old.routers, old.machines
	*old = Network{closed: true}
}

// sized gives a list of so many zero values, in the memory of another one if that is
// large enough.
func sized[T any](old []T, size int) []T {
	clear(old)
	if cap(old) < size {
		return make([]T, size)
	}
	return old[:size]
}
