package search

import "time"

// Opener says when the hard side sends from which of its sockets.
type Opener struct {
	sockets int
	sent    int // in this round
	round   int
	next    time.Time
	ends    time.Time
}

// NewOpener begins at now, with at most Sockets of them.
func NewOpener(now time.Time, sockets int) *Opener {
	return &Opener{sockets: min(sockets, Sockets), next: now, ends: now.Add(time.Duration(Sockets)*OpenEvery + Longest)}
}

// Poll gives the number, from 0, of the socket that is to send now; in the first
// round it is to be opened first.
func (o *Opener) Poll(now time.Time) (socket int, ok bool) {
	if now.Before(o.next) || o.Over(now) {
		return 0, false
	}
	socket = o.sent
	o.sent++
	o.next = paced(o.next, now, OpenEvery)
	if o.sent == o.sockets {
		o.sent = 0
		o.round++
		o.next = now.Add(OpenAgain - time.Duration(o.sockets)*OpenEvery)
	}
	return socket, true
}

// Opened reports whether all sockets have sent.
func (o *Opener) Opened() bool { return o.round > 0 }

// Over reports whether the search has taken too long.
func (o *Opener) Over(now time.Time) bool { return !now.Before(o.ends) }

// PollTimeout is when there is something to do.
func (o *Opener) PollTimeout() time.Time {
	if o.next.Before(o.ends) {
		return o.next
	}
	return o.ends
}
