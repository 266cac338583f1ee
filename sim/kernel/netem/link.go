//go:build linux

package netem

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"p2pmodel/sim/kernel/wire"
	"p2pmodel/sim/link"
)

// End is one end of a link: the inner interface, by index, and the switch of the
// offloads of the outer one, which the link owns. They are off as long as it
// stands, for netem treats a segment of offload as one packet.
type End struct {
	Index   int
	Offload *wire.Offload
}

// Link is a link that the kernel carries. Its methods are safe for concurrent use.
// It can do less than a wire: it does not tell single drops, and not how late
// packets were.
type Link struct {
	inside func(func() error) error
	seed   uint64

	mu     sync.Mutex
	ends   [2]End
	ways   [2]way // up: from the first end to the second; and down
	cut    bool
	probes *probing
}

// way is one direction.
type way struct {
	now    link.Impairment
	shaped bool
	begin  traffic // at the interface that it leaves by, when the link was added
	seen   traffic // at the same, when it was counted last
	entry  uint64  // what had come in at the other one when the link was added
	// base are what disciplines have counted that are gone, or impaired otherwise.
	base link.Counts
	// cutFrom is what had come in when the cut began.
	cutFrom uint64
	// hidden are what probes have added.
	hidden link.Counts
}

// New joins two ends, up being from the first to the second. All calls to the
// kernel are made by inside, in the namespace of the inner interfaces. It fails
// with what Refuse says where netem cannot do an impairment, and names the module
// that the kernel lacks.
func New(inside func(func() error) error, a, b End, up, down link.Impairment, seed uint64) (*Link, error) {
	l := &Link{inside: inside, seed: seed, ends: [2]End{a, b}}
	err := errors.Join(Refuse(up), Refuse(down))
	if err == nil {
		err = errors.Join(a.Offload.Set(false), b.Offload.Set(false))
	}
	if err == nil {
		err = inside(func() error { return l.begin(up, down) })
	}
	if err != nil {
		// As they were, for whoever carries the link instead.
		return nil, errors.Join(fmt.Errorf("link by netem: %w", err), a.Offload.Set(true), b.Offload.Set(true), a.Offload.Close(), b.Offload.Close())
	}
	return l, nil
}

// leaves is the index of the interface that a direction leaves by, enters that by
// which it comes in.
func (l *Link) leaves(direction int) int { return l.ends[1-direction].Index }
func (l *Link) enters(direction int) int { return l.ends[direction].Index }

func (l *Link) begin(up, down link.Impairment) error {
	for d := range l.ways {
		out, err := count(l.leaves(d))
		if err != nil {
			return err
		}
		l.ways[d].begin, l.ways[1-d].entry = out, out.in
	}
	if err := l.shape([2]link.Impairment{up, down}); err != nil {
		return err
	}
	return l.open()
}

// shape makes both directions be impaired so.
func (l *Link) shape(to [2]link.Impairment) error {
	for d := range l.ways {
		w := &l.ways[d]
		if err := shape(l.leaves(d), to[d], w.now, w.shaped, l.seed+uint64(d)); err != nil {
			return err
		}
		w.now, w.shaped = to[d], true
	}
	return nil
}

// open lets packets pass.
func (l *Link) open() error {
	for d := range l.ways {
		if err := redirect(l.enters(d), l.leaves(d)); err != nil {
			return err
		}
	}
	return nil
}

// Set changes the impairments of both directions. Packets on their way keep their
// times, but those that wait for a rate that is taken away are lost.
func (l *Link) Set(up, down link.Impairment) error {
	if err := errors.Join(up.Validate(), down.Validate(), Refuse(up), Refuse(down)); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	to := [2]link.Impairment{up, down}
	return l.inside(func() error {
		if l.cut {
			l.ways[0].now, l.ways[1].now = up, down
			return nil
		}
		for d := range l.ways {
			if err := l.settle(d, to[d].Rate == 0 && l.ways[d].now.Rate > 0); err != nil {
				return err
			}
		}
		return l.shape(to)
	})
}

// settle adds what a direction's disciplines have counted to its base. Where they
// go, what the rate kept waiting goes with them.
func (l *Link) settle(d int, limitGoes bool) error {
	w := &l.ways[d]
	t, err := count(l.leaves(d))
	if err != nil {
		return err
	}
	w.account(t)
	w.seen = t
	if limitGoes { // its counters begin anew with the next one
		w.seen.lost += t.full
		w.seen.full = 0
	}
	return nil
}

// account adds what happened since the last count.
func (w *way) account(t traffic) {
	reason := link.Loss
	if w.now.Burst != (link.Burst{}) {
		reason = link.Bursty
	}
	w.base.By[reason] += t.lost - min(t.lost, w.seen.lost)
	w.base.By[link.Queue] += t.full - min(t.full, w.seen.full)
	w.base.Overtook += t.overtook - min(t.overtook, w.seen.overtook)
	w.seen = t
}

// Cut cuts the link or restores it. While cut it loses the packets that enter; those
// on their way are lost at once.
func (l *Link) Cut(cut bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut == cut {
		return nil
	}
	err := l.inside(func() error {
		if cut {
			return l.sever()
		}
		return l.mend()
	})
	if err == nil {
		l.cut = cut
	}
	return err
}

func (l *Link) sever() error {
	for d := range l.ways {
		if err := unredirect(l.enters(d), l.leaves(d)); err != nil {
			return fmt.Errorf("cut: %w", err)
		}
	}
	for d := range l.ways {
		w := &l.ways[d]
		t, err := count(l.leaves(d))
		if err != nil {
			return err
		}
		w.account(t)
		w.base.By[link.Cut] += t.waiting
		in, err := count(l.enters(d))
		if err != nil {
			return err
		}
		w.cutFrom = in.in
		if err := unshape(l.leaves(d)); err != nil {
			return fmt.Errorf("cut: %w", err)
		}
		w.seen, w.shaped = traffic{}, false
	}
	return nil
}

func (l *Link) mend() error {
	if err := l.shape([2]link.Impairment{l.ways[0].now, l.ways[1].now}); err != nil {
		return err
	}
	for d := range l.ways {
		in, err := count(l.enters(d))
		if err != nil {
			return err
		}
		l.ways[d].base.By[link.Cut] += in.in - l.ways[d].cutFrom
	}
	return l.open()
}

// Counters gives the counts of both directions: losses as the disciplines count
// them, the rest as the interfaces do. Corrupted packets are not counted.
func (l *Link) Counters() (up, down wire.Counters) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var both [2]link.Counts
	_ = l.inside(func() error { // a closed lab has no more to say
		for d := range both {
			c, err := l.counts(d)
			if err != nil {
				return err
			}
			both[d] = c
		}
		return nil
	})
	return wire.Counters{Counts: both[0]}, wire.Counters{Counts: both[1]}
}

func (l *Link) counts(d int) (link.Counts, error) {
	w := &l.ways[d]
	in, err := count(l.enters(d))
	if err != nil {
		return link.Counts{}, err
	}
	out, err := count(l.leaves(d))
	if err != nil {
		return link.Counts{}, err
	}
	if w.shaped {
		w.account(out)
	}
	c := w.base
	c.Offered = in.in - w.entry
	c.Delivered = out.out - w.begin.out
	c.Bytes = out.outBytes - w.begin.outBytes - headerSize*c.Delivered
	if l.cut {
		c.By[link.Cut] += in.in - w.cutFrom
	}
	if came, went := c.Offered, c.Delivered+c.Lost()+out.waiting; went > came {
		c.Duplicated = went - came
	}
	c.Offered -= min(w.hidden.Offered, c.Offered)
	c.Delivered -= min(w.hidden.Delivered, c.Delivered)
	c.Bytes -= min(w.hidden.Bytes, c.Bytes)
	for r := range c.By {
		c.By[r] -= min(w.hidden.By[r], c.By[r])
	}
	return c, nil
}

// Drops tells no single packets: the kernel only counts them.
func (l *Link) Drops() (drops []link.Drop, missed uint64) { return nil, 0 }

// Late tells nothing: nobody sees when the kernel let a packet go.
func (l *Link) Late() (up, down link.Lateness) { return up, down }

// Err is nil: what the kernel carries overruns nobody.
func (l *Link) Err() error { return nil }

// Close gives up the switches of offload; the kernel takes the rest down with the
// namespace.
func (l *Link) Close() error {
	return errors.Join(l.ends[0].Offload.Close(), l.ends[1].Offload.Close())
}

// probing is a measurement: the counts when it began, and the delays that the
// model gives to such packets.
type probing struct {
	before [2]link.Counts
	delays [2][]time.Duration
}

// Probe begins a measurement. Probes are packets as all others here; what they add
// to the counts is taken off again by EndProbe, so that nothing else should pass
// meanwhile.
func (l *Link) Probe(seed uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &probing{}
	err := l.inside(func() (err error) {
		for d := range l.ways {
			if p.before[d], err = l.counts(d); err != nil {
				return err
			}
			p.delays[d] = promised(l.ways[d].now, seed)
		}
		return nil
	})
	l.probes = p
	return err
}

// promised are the delays of small packets that are far apart.
func promised(i link.Impairment, seed uint64) []time.Duration {
	const count, size = 101, 50
	i.Loss, i.Burst = 0, link.Burst{}
	shaper := link.NewShaper(i, seed, seed)
	var delays []time.Duration
	for at := time.Unix(0, 0); len(delays) < count; at = at.Add(time.Minute) {
		delays = append(delays, shaper.Next(at, size).At.Sub(at))
	}
	slices.Sort(delays)
	return delays
}

// Probed tells what became of the probes so far.
func (l *Link) Probed() (up, down wire.Probes, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.probes == nil {
		return up, down, errors.New("link by netem: no measurement runs")
	}
	var both [2]wire.Probes
	err = l.inside(func() error {
		for d := range both {
			c, err := l.counts(d)
			if err != nil {
				return err
			}
			before := l.probes.before[d]
			both[d] = wire.Probes{
				Offered: int(c.Offered - before.Offered), Delivered: int(c.Delivered - before.Delivered),
				Lost: int(c.Lost() - before.Lost()), Delays: l.probes.delays[d],
			}
		}
		return nil
	})
	return both[0], both[1], err
}

// EndProbe ends the measurement.
func (l *Link) EndProbe() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.probes
	if p == nil {
		return nil
	}
	l.probes = nil
	return l.inside(func() error {
		for d := range l.ways {
			c, err := l.counts(d)
			if err != nil {
				return err
			}
			h := &l.ways[d].hidden
			h.Offered += c.Offered - p.before[d].Offered
			h.Delivered += c.Delivered - p.before[d].Delivered
			h.Bytes += c.Bytes - p.before[d].Bytes
			for r := range h.By {
				h.By[r] += c.By[r] - p.before[d].By[r]
			}
		}
		return nil
	})
}
