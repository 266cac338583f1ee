package search

import (
	"math/rand/v2"
	"time"
)

// Prober says when the easy side probes which port: each at most once.
type Prober struct {
	random *rand.Rand
	likely ports
	all    ports
	number map[uint16]int // of each port that was probed, from 1
	probes int            // left
	next   time.Time
}

// likelyWidth is the widest range that ports which were seen make likely: a NAT
// that draws from blocks gives 512 to 4096 ports to one subscriber.
const likelyWidth = 4096

// NewProber begins at now. seed orders the ports; probes bounds them, at most Probes. low
// and high are between which ports of the other side have been seen: where they are
// close together, half of the probes go there first. 0: nothing is known.
func NewProber(now time.Time, seed [16]byte, probes int, low, high uint16) *Prober {
	var a, b uint64
	for i := range 8 {
		a, b = a<<8|uint64(seed[i]), b<<8|uint64(seed[8+i])
	}
	p := &Prober{
		random: rand.New(rand.NewPCG(a, b)),
		all:    ports{first: FirstPort, left: Ports},
		probes: min(probes, Probes), next: now, number: make(map[uint16]int),
	}
	if width := int(high) - int(low) + 1; low >= FirstPort && width > 0 && width <= likelyWidth/2 {
		first := max(FirstPort, int(low)-width/2)
		p.likely = ports{first: first, left: min(65536, int(high)+width/2+1) - first}
	}
	return p
}

// Poll gives the port that is to be probed now.
func (p *Prober) Poll(now time.Time) (port uint16, ok bool) {
	if now.Before(p.next) || p.probes == 0 {
		return 0, false
	}
	p.next = paced(p.next, now, ProbeEvery)
	p.probes--
	if p.likely.left > 0 && p.probes >= Probes/2 {
		port = p.likely.draw(p.random)
	} else {
		for again := true; again; again = p.number[port] > 0 {
			port = p.all.draw(p.random)
		}
	}
	p.number[port] = len(p.number) + 1
	return port, true
}

// Pause keeps probes back until a time: one has been answered, and what comes of it
// is to be seen.
func (p *Prober) Pause(until time.Time) {
	if p.next.Before(until) {
		p.next = until
	}
}

// Number says which of the probes went to a port, from 1; 0: none did.
func (p *Prober) Number(port uint16) int { return p.number[port] }

// Left is how many probes are still to be sent.
func (p *Prober) Left() int { return p.probes }

// Over reports whether the last probes have had their time to be answered.
func (p *Prober) Over(now time.Time) bool { return !now.Before(p.PollTimeout()) && p.probes == 0 }

// answerTime is what the last probe gets.
const answerTime = 2 * time.Second

// PollTimeout is when there is something to do.
func (p *Prober) PollTimeout() time.Time {
	if p.probes == 0 {
		return p.next.Add(answerTime)
	}
	return p.next
}

// ports are those of a range that have not been drawn yet: a shuffle of all of them, of
// which only what was moved is kept.
type ports struct {
	first int
	left  int
	moved map[int]int
}

// draw takes one of the ports that are left, each with equal chance.
func (s *ports) draw(r *rand.Rand) uint16 {
	if s.moved == nil {
		s.moved = make(map[int]int)
	}
	at := func(i int) int {
		if v, ok := s.moved[i]; ok {
			return v
		}
		return i
	}
	i := r.IntN(s.left)
	s.left--
	drawn := at(i)
	s.moved[i] = at(s.left)
	delete(s.moved, s.left)
	return uint16(s.first + drawn)
}
