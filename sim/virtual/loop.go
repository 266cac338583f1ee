package virtual

import (
	"fmt"
	"time"
)

// maxSpins is how many events may come at one time before the lab takes somebody
// for stuck: a machine, say, that always wants to be called at once.
const maxSpins = 1_000_000

// schedule puts an event among those that will happen and gives its number.
func (n *Network) schedule(e event) uint64 {
	n.seq++
	e.seq = n.seq
	n.events.push(e)
	return e.seq
}

// after has f called when a time has passed; it is for what happens now and then.
func (n *Network) after(d time.Duration, f func()) {
	n.errands = append(n.errands, f)
	n.schedule(event{at: n.now + instant(d), what: errand, who: int32(len(n.errands) - 1)})
}

// step has the next event happen, if it is not later than the limit. It is false if
// none can.
func (n *Network) step(limit instant) bool {
	if n.fault != nil {
		return false
	}
	for len(n.events) > 0 && n.events[0].at <= limit {
		e := n.events.pop()
		// What has become pointless does not make time pass.
		switch e.what {
		case timeout:
			m := n.machines[e.who]
			if m.alarm != e.seq {
				continue
			}
			if m.alarm = 0; m.due > e.at {
				m.arm()
				continue
			}
			n.advance(e.at)
			m.call()
		case start:
			m := n.machines[e.who]
			if m.began {
				continue
			}
			n.advance(e.at)
			m.begin()
		case interfaces:
			m := n.machines[e.who]
			if m.ended {
				continue
			}
			n.advance(e.at)
			m.tellInterfaces()
		case alarm:
			if !n.ring(e.seq) {
				continue
			}
			n.advance(e.at)
			n.stirred = true
		case arrival:
			n.advance(e.at)
			n.lanes[e.who].arrive(n, e.packet)
		case loopback:
			n.advance(e.at)
			n.hosts[e.who].deliver(e.packet)
		case errand:
			n.advance(e.at)
			f := n.errands[e.who]
			n.errands[e.who] = nil
			n.stirred = true
			f()
		}
		return true
	}
	return false
}

// advance lets time pass.
func (n *Network) advance(to instant) {
	if to > n.now {
		n.now, n.time, n.spins = to, to.time(), 0
		return
	}
	if n.spins++; n.spins > maxSpins {
		n.fault = fmt.Errorf("at %v of the lab's time %d things happened without time passing: a machine wants to be called all the time",
			time.Duration(n.now), maxSpins)
	}
}
