package peer

import "time"

// sleepAfter is how late a machine may be called before it takes itself for one that
// slept: a laptop that was shut, a process that was stopped.
const sleepAfter = 5 * time.Second

// wake begins anew after a sleep: mappings, registration and allocations may all have
// ended meanwhile, and the others may have given us up. at is when the machine wanted
// to be called.
func (m *Machine) wake(now, at time.Time) {
	if at.IsZero() || now.Sub(at) < sleepAfter {
		return
	}
	m.stats.Sleeps++
	m.rendezvous.Rebind(now)
	m.doubtRelay(now)
	m.rebindAll(now)
}
