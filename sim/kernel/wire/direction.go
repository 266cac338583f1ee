//go:build linux

package wire

import (
	"encoding/binary"
	"slices"
	"time"

	"p2pmodel/sim/kernel/afpacket"
	"p2pmodel/sim/link"
)

// direction is one way of a link; it belongs to the scheduler's thread.
type direction struct {
	link     *Link
	towards  bool // the Internet: up
	from, to int  // sockets
	shaper   *link.Shaper
	probing  *probing // while the link is measured; else nil
	counts   link.Counts
	counters Counters // but for its Counts
	late     link.Late
	entered  time.Time // the latest frame; the shaper wants time in order
}

func (d *direction) change(i link.Impairment) {
	d.shaper.Change(i)
	if d.probing != nil {
		d.probing.shaper.Change(i)
	}
}

func (d *direction) count() Counters {
	c := d.counters
	c.Counts = d.counts
	return c
}

func (d *direction) countOverrun() {
	if n, err := afpacket.Drops(d.from); err == nil {
		d.counters.Overrun += n
	}
}

// lose counts and logs a frame that the link took, or damaged.
func (d *direction) lose(reason link.Reason, at time.Time, frame []byte) {
	d.counts.By[reason]++
	packet := frame[ethernetHeader:]
	d.link.drops.add(link.Drop{
		At: at.Round(0), Up: d.towards, Reason: reason, Protocol: binary.BigEndian.Uint16(frame[ethernetHeader-2:]),
		Size: len(packet), Head: packet[:min(len(packet), link.HeadSize)],
	})
}

// maxDrops is how many drops a link remembers.
const maxDrops = 8192

// dropLog holds the latest drops of a link.
type dropLog struct {
	ring   []link.Drop
	next   int    // the oldest, once the ring is full
	missed uint64 // drops that were overwritten
}

// add keeps a copy of a drop.
func (l *dropLog) add(d link.Drop) {
	d.Head = append([]byte(nil), d.Head...)
	if len(l.ring) < maxDrops {
		l.ring = append(l.ring, d)
		return
	}
	l.ring[l.next] = d
	l.next = (l.next + 1) % maxDrops
	l.missed++
}

// Drops gives the packets that the link has lost or corrupted so far, in the order
// in which it did, and how many of the oldest are missing because there were more
// than it remembers. Their bytes are shared and must not be changed.
func (l *Link) Drops() (drops []link.Drop, missed uint64) {
	read := func() {
		log := &l.drops
		drops = append(append(make([]link.Drop, 0, len(log.ring)), log.ring[log.next:]...), log.ring[:log.next]...)
		missed = log.missed
	}
	if l.s.do(func() {
		if !l.closed {
			l.s.drain(l)
		}
		read()
	}) != nil {
		<-l.s.done
		read()
	}
	return drops, missed
}

// Late tells how late frames were written, after the time that the model gave
// them, since the link was added or EndProbe was called last.
func (l *Link) Late() (up, down link.Lateness) {
	read := func() { up, down = l.up.late.Summary(), l.down.late.Summary() }
	if l.s.do(read) != nil {
		<-l.s.done
		read()
	}
	return up, down
}

// Probes are what became of the frames of ProbeType of one direction.
type Probes struct {
	Offered, Delivered, Lost int
	// Delays are those that the model gave to the frames that it let pass.
	Delays []time.Duration
}

// probing is the measurement of one direction.
type probing struct {
	shaper *link.Shaper
	Probes
}

// Probe begins a measurement. Until EndProbe, frames of ProbeType meet models of
// their own, with the same impairments and random numbers by the given seed, so
// that they do not change what becomes of others, and are not among the Counters.
func (l *Link) Probe(seed uint64) error {
	return l.whileOpen(func() {
		for i, d := range []*direction{l.up, l.down} {
			d.probing = &probing{shaper: link.NewShaper(d.shaper.Impairment(), seed, uint64(i))}
		}
	})
}

// Probed tells what became of probes so far.
func (l *Link) Probed() (up, down Probes, err error) {
	err = l.whileOpen(func() {
		l.s.drain(l)
		for i, d := range []*direction{l.up, l.down} {
			if d.probing != nil {
				p := []*Probes{&up, &down}[i]
				*p = d.probing.Probes
				p.Delays = slices.Clone(p.Delays)
			}
		}
	})
	return up, down, err
}

// EndProbe ends a measurement, and forgets what is known of lateness.
func (l *Link) EndProbe() error {
	return l.whileOpen(func() {
		for _, d := range []*direction{l.up, l.down} {
			d.probing = nil
			d.late.Reset()
		}
	})
}

// whileOpen has the thread call f, unless the link is closed.
func (l *Link) whileOpen(f func()) error {
	var failure error
	if err := l.s.do(func() {
		if l.closed {
			failure = ErrClosed
			return
		}
		f()
	}); err != nil {
		return err
	}
	return failure
}
