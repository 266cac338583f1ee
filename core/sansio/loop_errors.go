package sansio

import "time"

// tell gives errors to the machine.
func (l *Loop) tell(us []Undeliverable) {
	m, ok := l.machine.(ErrorMachine)
	if !ok {
		return
	}
	now := time.Now()
	for _, u := range us {
		m.HandleUndeliverable(now, u)
	}
}
