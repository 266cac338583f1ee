// Package link describes what a link does to packets. It is shared by all
// fabrics: a fabric asks a Shaper what becomes of each packet, so that the same
// seed gives the same losses and delays wherever it runs.
package link

import "time"

// Impairment is what one direction of a link does to packets. The zero value
// does nothing.
type Impairment struct {
	// Delay is the one-way delay.
	Delay time.Duration
	// Jitter is the half-width of a uniform spread around Delay; at most Delay.
	Jitter time.Duration
	// Reorder lets packets overtake each other where jitter would make them;
	// otherwise order is kept.
	Reorder bool
	// Loss is the probability that a packet is lost, 0 to 1, independent.
	Loss float64
	// Rate is the capacity in bits a second; 0 is unlimited.
	Rate uint64
	// Queue is the number of bytes that wait for a link with a Rate before
	// further packets are dropped; 0 means 100 ms worth of Rate, at least 3000.
	Queue int
}

// IsZero reports whether i changes nothing.
func (i Impairment) IsZero() bool { return i == Impairment{} }
