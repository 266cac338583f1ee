package field

import (
	"math/bits"
	"time"
)

// Link is how another player is heard.
type Link struct {
	// RTT is the smoothed round-trip time of datagrams, without the time for
	// which the other side held the echo; 0: not known yet. The other side could
	// lie about it.
	RTT time.Duration
	// Loss is the part of the last LossWindow datagrams that did not arrive, 0
	// to 1.
	Loss float64
	// Silence is how long nothing was heard, Gap the longest silence so far.
	Silence, Gap time.Duration
	// Received are datagrams that arrived, Late those among them that came after
	// later ones, Lost those that did not arrive and are not expected any more.
	Received, Late, Lost uint64
}

// LossWindow is how many datagrams Loss counts: 6.4 s of them.
const LossWindow = 128

// longest is the longest round-trip time that is believed.
const longest = time.Minute

// link measures one direction of a link and its round trip.
type link struct {
	sent uint32 // sequence of our last datagram

	highest uint32 // sequence of the newest datagram; 0: none
	counted uint32 // how many of the window are of its time
	// window has a bit for each of the last datagrams, the newest the lowest of
	// window[0].
	window         [LossWindow / 64]uint64
	received, late uint64
	lost           uint64
	gap            time.Duration
	heard          time.Time // when the newest came
	rtt            time.Duration
}

// arrived counts a datagram, and reports whether it is newer than all others.
// After so long a silence that the player was gone, whatever comes is: it may
// have begun to count anew.
func (l *link) arrived(now time.Time, sequence uint32) bool {
	ahead := int32(sequence - l.highest)
	if l.highest == 0 || ahead <= 0 && now.Sub(l.heard) >= GoneAfter {
		l.begin(now, sequence)
		return true
	}
	if ahead <= 0 {
		if back := uint32(-ahead); back < l.counted && l.window[back/64]>>(back%64)&1 == 0 {
			l.window[back/64] |= 1 << (back % 64)
			l.received++
			l.late++
		}
		return false
	}
	l.shift(uint32(ahead))
	l.window[0] |= 1
	l.highest = sequence
	l.received++
	l.gap = max(l.gap, now.Sub(l.heard))
	l.heard = now
	return true
}

// begin begins to count at a datagram.
func (l *link) begin(now time.Time, sequence uint32) {
	if l.highest != 0 {
		l.gap = max(l.gap, now.Sub(l.heard))
		l.lost += uint64(l.missing())
	}
	l.highest, l.counted, l.window = sequence, 1, [LossWindow / 64]uint64{1}
	l.received++
	l.heard = now
}

// shift makes room for n newer datagrams. Those that leave the window unheard
// are lost.
func (l *link) shift(n uint32) {
	for range min(n, LossWindow) {
		if l.counted == LossWindow {
			l.lost += 1 - l.window[len(l.window)-1]>>63
		} else {
			l.counted++
		}
		for i := len(l.window) - 1; i > 0; i-- {
			l.window[i] = l.window[i]<<1 | l.window[i-1]>>63
		}
		l.window[0] <<= 1
	}
	if n > LossWindow {
		l.lost += uint64(n - LossWindow)
	}
}

// missing is how many datagrams of the window have not arrived.
func (l *link) missing() int {
	n := int(l.counted)
	for _, w := range l.window {
		n -= bits.OnesCount64(w)
	}
	return n
}

// sample takes a measured round-trip time, smoothed as RFC 6298 section 2.3 does.
func (l *link) sample(rtt time.Duration) {
	switch {
	case rtt < 0 || rtt > longest: // no echo of ours
	case l.rtt == 0:
		l.rtt = max(rtt, time.Microsecond)
	default:
		l.rtt += (rtt - l.rtt) / 8
	}
}

// measured is what was measured. A silence counts as loss from the third tick on.
func (l *link) measured(now time.Time) Link {
	m := Link{RTT: l.rtt, Gap: l.gap, Received: l.received, Late: l.late, Lost: l.lost}
	if l.highest == 0 {
		return m
	}
	m.Silence = max(now.Sub(l.heard), 0)
	m.Gap = max(m.Gap, m.Silence)
	m.Lost += uint64(l.missing())
	silent := int(min(m.Silence/TickInterval, LossWindow))
	if silent < 3 {
		silent = 0
	}
	// As if the silent ticks had been shifted into the window.
	whole := min(int(l.counted)+silent, LossWindow)
	heardBits := 0
	for back := range whole - silent {
		heardBits += int(l.window[back/64] >> (back % 64) & 1)
	}
	m.Loss = 1 - float64(heardBits)/float64(whole)
	return m
}
