package link

import "time"

// Verdict is what becomes of a packet.
type Verdict struct {
	// Deliver: the packet arrives, At this time. Otherwise it was lost for
	// Reason and At is zero.
	Deliver bool
	At      time.Time
	Reason  Reason
	// Corrupt: a bit of the packet is flipped. Which one, Flip says: of a payload of
	// n bits, the one at Flip scaled to 0..n-1 (the high word of Flip × n).
	Corrupt bool
	Flip    uint64
	// Copy: the packet arrives a second time, CopyAt.
	Copy   bool
	CopyAt time.Time
	// Overtook: the packet skipped the delay.
	Overtook bool
}

// Shaper decides what one direction of a link does to each packet: a model
// without clock or I/O. The same impairments, seeds and calls give the same
// verdicts. It is not safe for concurrent use.
//
// A packet meets, in this order: the MTU of a black hole; loss; the queue and the
// line of a link with a Rate or Trace; the delay with its jitter. A lost packet
// does not use the line. All that is random comes from streams of its own, so
// that changing one impairment does not change what the others do.
type Shaper struct {
	imp        Impairment
	loss       stream
	jitter     jitter
	bursts     bursts
	overtaking overtaking
	duplicate  stream
	corrupt    stream
	bit        stream
	wanderSeed uint64

	line   line
	traced tracedLine
	begun  bool
	first  time.Time // when the first packet entered
	last   time.Time // the latest arrival given
}

// NewShaper makes a Shaper for an impairment that Validate accepts. Two
// directions of a link need different seeds, or they lose the same packets.
func NewShaper(imp Impairment, seed1, seed2 uint64) *Shaper {
	s := new(Shaper)
	s.Reset(imp, seed1, seed2)
	return s
}

// Reset makes it the Shaper that NewShaper would give, in its memory.
func (s *Shaper) Reset(imp Impairment, seed1, seed2 uint64) {
	of := func(number int) stream { return newStream(seed1, seed2, number) }
	*s = Shaper{
		loss:       of(streamLoss),
		jitter:     jitter{stream: of(streamJitter)},
		bursts:     bursts{state: of(streamState), loss: of(streamBurst)},
		overtaking: overtaking{share: of(streamOvertake), repeat: of(streamRepeat)},
		duplicate:  of(streamDuplicate),
		corrupt:    of(streamCorrupt),
		bit:        of(streamBit),
	}
	wander := of(streamWander)
	s.wanderSeed = wander.Uint64()
	s.Change(imp)
}

// Impairment is what the shaper does now.
func (s *Shaper) Impairment() Impairment { return s.imp }

// Change changes the impairment for packets to come. Those on their way keep
// their times, and the order of packets is kept across the change.
func (s *Shaper) Change(imp Impairment) {
	if imp.Trace != s.imp.Trace {
		s.traced = tracedLine{trace: imp.Trace}
	}
	s.imp = imp
	s.line.remainder = 0
	s.line.rate, s.line.queue = imp.Rate, queueOf(imp.Queue, imp.Rate)
	s.traced.queue = queueOf(imp.Queue, imp.Trace.Rate())
}

// Next decides about a packet of size bytes, from its IP header on, that enters
// now. Times may not go back from call to call.
func (s *Shaper) Next(now time.Time, size int) Verdict {
	if !s.begun {
		s.begun, s.first = true, now
	}
	lost, burst := s.loss.chance(s.imp.Loss), s.bursts.next(s.imp.Burst)
	jitter, overtakes := s.jitter.next(&s.imp), s.overtaking.next(s.imp.Overtake)
	copied, corrupt, flip := s.duplicate.chance(s.imp.Duplicate), s.corrupt.chance(s.imp.Corrupt), s.bit.Uint64()
	switch {
	case s.imp.Blackhole && size > s.imp.MTU:
		return Verdict{Reason: TooLarge}
	case lost:
		return Verdict{Reason: Loss}
	case burst:
		return Verdict{Reason: Bursty}
	}
	sent, ok := s.send(now, size)
	if !ok {
		return Verdict{Reason: Queue}
	}
	v := Verdict{Deliver: true, At: sent, Overtook: overtakes}
	wait := max(s.imp.Delay+jitter, 0) + s.wander(now.Sub(s.first))
	if !overtakes {
		v.At = s.arrive(sent.Add(wait))
	}
	if corrupt {
		v.Corrupt, v.Flip = true, flip
	}
	if copied {
		if sent, ok = s.send(now, size); ok {
			v.Copy, v.CopyAt = true, sent
			if !overtakes {
				v.CopyAt = s.arrive(sent.Add(wait))
			}
		}
	}
	return v
}

// send gives when a packet has left the line; false: the queue is full.
func (s *Shaper) send(now time.Time, size int) (time.Time, bool) {
	switch {
	case s.imp.Trace != Trace{}:
		return s.traced.take(now, size)
	case s.imp.Rate > 0:
		return s.line.take(now, size)
	}
	return now, true
}

// arrive keeps the order of packets where that is wanted.
func (s *Shaper) arrive(at time.Time) time.Time {
	if !s.imp.Reorder && at.Before(s.last) {
		at = s.last
	}
	if at.After(s.last) {
		s.last = at
	}
	return at
}
