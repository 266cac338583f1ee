package link

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"time"
)

// stream is a source of random numbers for one purpose. Every stream gives one
// number for each packet, used or not: changing one impairment does not change
// what the others do.
type stream struct{ rand.PCG }

// The streams of a Shaper.
const (
	streamLoss = iota
	streamJitter
	streamState
	streamBurst
	streamOvertake
	streamRepeat
	streamDuplicate
	streamCorrupt
	streamBit
	streamWander
)

// newStream gives one of several streams of a pair of seeds.
func newStream(seed1, seed2 uint64, number int) stream {
	var s stream
	s.Seed(mix(seed1+uint64(number)), mix(seed2^uint64(number)<<32))
	return s
}

// mix spreads neighbouring numbers over all (the finalizer of SplitMix64), for
// PCG's sequences of neighbouring seeds are alike.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hits reports whether a number falls to a probability: never at 0, always at 1.
func hits(number uint64, probability float64) bool {
	return float64(number>>11)/(1<<53) < probability
}

// chance draws whether something of a probability happens.
func (s *stream) chance(probability float64) bool { return hits(s.Uint64(), probability) }

// jitter is a sequence of jitters, each with a memory of the one before.
type jitter struct {
	stream
	begun bool
	last  uint64  // uniform: of the whole range of a word
	z     float64 // normal
}

// next gives the next jitter of an impairment.
func (j *jitter) next(i *Impairment) time.Duration {
	u := j.Uint64()
	if i.Jitter <= 0 {
		return 0
	}
	if i.Distribution == Normal {
		return time.Duration(j.normal(u, i.Correlation) * float64(i.Jitter))
	}
	if c := uint64(i.Correlation * (1 << 53)); c > 0 && j.begun {
		// (1-c)·u + c·last in whole numbers, so that all machines agree.
		fresh, _ := bits.Mul64(u, (1<<53-c)<<11)
		old, _ := bits.Mul64(j.last, c<<11)
		u = fresh + old
	}
	j.begun, j.last = true, u
	// The high word of u × n is uniform over 0..n-1: -Jitter to +Jitter, both included.
	offset, _ := bits.Mul64(u, 2*uint64(i.Jitter)+1)
	return time.Duration(offset) - i.Jitter
}

// deviations is where a normal distribution ends.
const deviations = 4

func (j *jitter) normal(u uint64, c float64) float64 {
	z := math.Sqrt2 * math.Erfinv((float64(u>>12)+.5)/(1<<51)-1)
	if c > 0 && j.begun {
		z = math.Sqrt(1-c*c)*z + c*j.z
	}
	j.begun, j.z = true, z
	return min(max(z, -deviations), deviations)
}

// wander is the part of Wander that holds at a time since the first packet. It
// depends on the time only, not on how many packets there were.
func (s *Shaper) wander(since time.Duration) time.Duration {
	w := s.imp.Wander
	if w.Delay <= 0 || w.Every <= 0 {
		return 0
	}
	offset, _ := bits.Mul64(mix(s.wanderSeed+uint64(since/w.Every)), uint64(w.Delay)+1)
	return time.Duration(offset)
}

// bursts is the state of a link of Gilbert and Elliott.
type bursts struct {
	state, loss stream
	bad         bool
}

// next decides a packet's loss by the present state, and then the next state.
func (b *bursts) next(m Burst) (lost bool) {
	state, loss := b.state.Uint64(), b.loss.Uint64()
	if b.bad {
		lost = hits(loss, m.Bad)
		b.bad = !hits(state, m.R)
		return lost
	}
	lost = hits(loss, m.Good)
	b.bad = hits(state, m.P)
	return lost
}

// overtaking decides which packets overtake.
type overtaking struct {
	share, repeat stream
	since         int  // packets since the last that overtook
	last          bool // what the last packet that might have done it was drawn
}

func (o *overtaking) next(m Overtake) bool {
	drawn, repeat := o.share.chance(m.Share), o.repeat.chance(m.Correlation)
	if m.Share == 0 || o.since < m.Gap-1 {
		o.since++
		return false
	}
	if !repeat {
		o.last = drawn
	}
	if o.last {
		o.since = 0
		return true
	}
	o.since++
	return false
}
