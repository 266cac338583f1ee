package sim

import (
	"sync"
	"time"
)

// Proof is what was seen of an event.
type Proof struct {
	State ProofState `json:"state"`
	// Text says it in a sentence.
	Text string `json:"text"`
	// Before and After are what was read before and after it, a line each: the
	// mappings of a NAT, addresses, processes.
	Before []string `json:"before,omitempty"`
	After  []string `json:"after,omitempty"`
	// Packets are those that a fault took.
	Packets uint64 `json:"packets,omitempty"`
}

// ProofState says whether an event was seen to have an effect.
type ProofState string

// The states of a proof.
const (
	// Proved: its effect was seen.
	Proved ProofState = "proved"
	// Pending: it began a fault that is in force; what that takes is counted when
	// it ends.
	Pending ProofState = "pending"
	// Nothing: it was done, and nothing came of it: a cut link that no packet met, a
	// reboot of a NAT that knew nothing.
	Nothing ProofState = "nothing"
)

// Occurrence is an event that was done.
type Occurrence struct {
	Event Event
	// Begin and End are when it was begun and done, in the fabric's time. A fault
	// that it began may last longer.
	Begin, End time.Time
	// Failures are when a flapping link went down, one after another.
	Failures []time.Time

	mu    sync.Mutex
	proof Proof
}

// Proof is what has been seen of it so far. Of a fault that is in force it
// changes when the fault ends.
func (o *Occurrence) Proof() Proof {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.proof
}

func (o *Occurrence) prove(p Proof) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.proof = p
}

// proved gives a state: Proved where something was seen.
func proved(seen bool) ProofState {
	if seen {
		return Proved
	}
	return Nothing
}
