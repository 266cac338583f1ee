//go:build linux

package wire

import (
	"encoding/binary"
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
	probe    *link.Shaper // of probes while the link is measured; else nil
	counts   link.Counts
	counters Counters // but for its Counts
	late     link.Late
	entered  time.Time // the latest frame; the shaper wants time in order
}

func (d *direction) change(i link.Impairment) {
	d.shaper.Change(i)
	if d.probe != nil {
		d.probe.Change(i)
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

// maxDrops is how many drops a link remembers until somebody asks.
const maxDrops = 8192

// dropLog holds the latest drops of a link.
type dropLog struct {
	ring   []link.Drop
	next   int    // the oldest, once the ring is full
	missed uint64 // drops that were overwritten
}

// add keeps a copy of a drop. Memory is taken as drops come, and used again when
// the ring is full.
func (l *dropLog) add(d link.Drop) {
	if len(l.ring) < maxDrops {
		d.Head = append(make([]byte, 0, link.HeadSize), d.Head...)
		l.ring = append(l.ring, d)
		return
	}
	old := &l.ring[l.next]
	d.Head = append(old.Head[:0], d.Head...)
	*old = d
	l.next = (l.next + 1) % maxDrops
	l.missed++
}

// take gives all drops, the oldest first, and forgets them.
func (l *dropLog) take() ([]link.Drop, uint64) {
	all := append(append(make([]link.Drop, 0, len(l.ring)), l.ring[l.next:]...), l.ring[:l.next]...)
	missed := l.missed
	*l = dropLog{}
	return all, missed
}

// Drops gives the packets that the link has lost or corrupted since the last
// call, in the order in which it did, and how many of the oldest are missing
// because nobody asked for too long.
func (l *Link) Drops() (drops []link.Drop, missed uint64) {
	take := func() { drops, missed = l.drops.take() }
	if l.s.do(func() {
		if !l.closed {
			l.s.drain(l)
		}
		take()
	}) != nil {
		<-l.s.done
		take()
	}
	return drops, missed
}

// Late tells how late frames were written, after the time that the model gave
// them, since the link was added or Probe was called last.
func (l *Link) Late() (up, down link.Lateness) {
	read := func() { up, down = l.up.late.Summary(), l.down.late.Summary() }
	if l.s.do(read) != nil {
		<-l.s.done
		read()
	}
	return up, down
}

// Probe begins or ends a measurement. Meanwhile frames of ProbeType meet models of
// their own, with the same impairments and random numbers by the given seed, so
// that they do not change what becomes of others. They are not counted. At the end
// what is known of lateness is forgotten.
func (l *Link) Probe(on bool, seed uint64) error {
	var failure error
	if err := l.s.do(func() {
		if l.closed {
			failure = ErrClosed
			return
		}
		for i, d := range []*direction{l.up, l.down} {
			d.probe = nil
			if on {
				d.probe = link.NewShaper(d.shaper.Impairment(), seed, uint64(i))
			} else {
				d.late.Reset()
			}
		}
	}); err != nil {
		return err
	}
	return failure
}
