//go:build linux

package capture

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/afpacket"
	"p2pmodel/sim/witness"
)

// run is the reader: it waits for packets, reads all that are there, and lets
// some gather before it looks again.
func (r *Recorder) run() {
	defer close(r.done)
	for {
		ready, woken, err := r.set.Wait()
		if err != nil {
			// Only a programming error gets here; a witness that went blind must not
			// look like a quiet lab.
			panic("capture: " + err.Error())
		}
		r.mu.Lock()
		closing := r.closing
		r.mu.Unlock()
		if closing {
			r.release(r.takeWaiters())
			return
		}
		r.readAll(ready)
		if !woken {
			r.set.Nap(nap)
		}
	}
}

// readAll reads the sockets that are ready, or all of them if somebody waits:
// some may have become ready since they were looked at.
func (r *Recorder) readAll(sockets []int) {
	waiters := r.takeWaiters()
	if len(waiters) > 0 {
		sockets = r.sockets()
	}
	until := time.Now()
	for _, fd := range sockets {
		r.read(fd, until)
	}
	r.release(waiters)
}

func (r *Recorder) sockets() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	sockets := make([]int, 0, len(r.points))
	for fd := range r.points {
		sockets = append(sockets, fd)
	}
	return sockets
}

func (r *Recorder) takeWaiters() []chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiters
	r.waiters = nil
	return w
}

func (r *Recorder) release(waiters []chan struct{}) {
	for _, w := range waiters {
		close(w)
	}
}

// read reads from a socket what came before a time, and perhaps some that came
// after: without an end a flood would hold up those who wait.
func (r *Recorder) read(fd int, until time.Time) {
	for {
		n, err := r.in.Receive(fd)
		if r.record(fd, n, err); n < r.in.Size() || r.in.Frame(n-1).At.After(until) {
			return
		}
	}
}

// record keeps a batch, or counts that there was none.
func (r *Recorder) record(fd, n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	point, known := r.points[fd]
	if !known {
		return
	}
	for i := range n {
		r.keep(point, r.in.Frame(i))
	}
	// ENETDOWN says that the interface went down, once; it costs no packet.
	if err != nil && !errors.Is(err, unix.ENETDOWN) {
		r.losses.Failed++
	}
}

// keep records one frame. The lock is held.
func (r *Recorder) keep(point witness.Point, f afpacket.Frame) {
	if f.Protocol != unix.ETH_P_IP && f.Protocol != unix.ETH_P_IPV6 {
		return
	}
	for _, s := range r.skip {
		if s.holds(f.At) {
			return
		}
	}
	link := linkHeader(f.Hardware)
	if f.Truncated || len(f.Data) < link {
		r.losses.Failed++
		return
	}
	direction := witness.In
	if f.Type == unix.PACKET_OUTGOING {
		direction = witness.Out
	}
	h := afpacket.ParseHeader(f.Header)
	data := f.Data[link:]
	if h.GSO == afpacket.GSOUDP {
		if parts := witness.SplitUDP(data, h.SegmentSize); parts != nil {
			for _, part := range parts {
				r.store(f.At, point, direction, part)
			}
			return
		}
	}
	if stored := r.store(f.At, point, direction, data); stored != nil && h.NeedsChecksum {
		witness.FinishChecksum(stored)
	}
}

// store copies a packet into the record and gives the copy; nil if the memory
// is full.
func (r *Recorder) store(at time.Time, point witness.Point, direction witness.Direction, data []byte) []byte {
	cost := len(data) + packetCost
	if r.used+cost > r.limit {
		r.losses.Limit++
		return nil
	}
	r.used += cost
	if cap(r.chunk)-len(r.chunk) < len(data) {
		r.chunk = make([]byte, 0, chunk)
	}
	start := len(r.chunk)
	r.chunk = append(r.chunk, data...)
	kept := r.chunk[start:len(r.chunk):len(r.chunk)]
	// What cannot be parsed is kept all the same: a program may send anything.
	p, _ := witness.Parse(at, point, direction, kept)
	if n := len(r.fresh); n == 0 || len(r.fresh[n-1]) == block {
		r.fresh = append(r.fresh, make([]witness.Packet, 0, block))
	}
	last := &r.fresh[len(r.fresh)-1]
	*last = append(*last, p)
	return kept
}

// linkHeader is the size of the link-layer header of a kind of interface.
func linkHeader(hardware uint16) int {
	switch hardware {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return 14
	}
	return 0
}
