//go:build linux

// Package capture records the packets of many interfaces in memory, for the
// witness. It listens on packet sockets, does not touch the packets, and says
// when it could not keep one: an incomplete record is an error, never silence.
package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/afpacket"
	"p2pmodel/sim/kernel/readiness"
	"p2pmodel/sim/witness"
)

const (
	// DefaultLimit is the memory that a Recorder may use for packets, in bytes.
	DefaultLimit = 512 << 20
	// packetCost is what a packet takes besides its bytes.
	packetCost = int(unsafe.Sizeof(witness.Packet{}))
	// batch is how many packets one system call reads.
	batch = 32
	// nap is how long packets wait to be read. Waking for each would slow the lab
	// that is watched; the kernel stamps them, so nothing is lost by waiting.
	nap = 5 * time.Millisecond
	// chunk is the unit in which memory for packets is allocated, block the same in
	// packets for what is known of them.
	chunk = 1 << 20
	block = 4096
)

// ErrClosed is the error of calls on a closed Recorder.
var ErrClosed = errors.New("capture: closed")

// Losses are the packets that a Recorder does not have though they were there.
type Losses struct {
	Kernel uint64 // the kernel had no room to queue them
	Limit  uint64 // the Recorder's memory was full
	Failed uint64 // the kernel could not hand them over, or they were cut off
}

// Err is an error that says what is missing, nil if nothing is.
func (l Losses) Err() error {
	if l == (Losses{}) {
		return nil
	}
	return fmt.Errorf("the capture is incomplete, nothing can be concluded from it: %d packets were not queued (the machine is too busy), %d did not fit into the recorder's memory, %d could not be read", l.Kernel, l.Limit, l.Failed)
}

// span is a time of which packets are left out: from (included) to (excluded;
// zero: open).
type span struct{ from, to time.Time }

func (s span) holds(t time.Time) bool {
	return !t.Before(s.from) && (s.to.IsZero() || t.Before(s.to))
}

// Recorder records packets. Its methods are safe for concurrent use.
type Recorder struct {
	limit int
	set   *readiness.Set
	done  chan struct{} // closed when the reader has ended

	mu      sync.Mutex
	points  map[int]witness.Point // by socket
	sorted  []witness.Packet      // never changed in place beyond its length: snapshots share it
	fresh   [][]witness.Packet    // not sorted; in blocks, so that they need not move for more of them
	chunk   []byte
	used    int
	skip    []span
	paused  bool // the last of skip is open
	losses  Losses
	waiters []chan struct{}
	closing bool
	ended   []int // sockets that are not read any more

	in *afpacket.Receiver // of the reader
}

// New starts a Recorder that keeps at most limit bytes; 0 means DefaultLimit.
func New(limit int) (*Recorder, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	set, err := readiness.New()
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	r := &Recorder{
		limit: limit, set: set,
		done:   make(chan struct{}),
		points: map[int]witness.Point{},
		in:     afpacket.NewReceiver(batch),
	}
	go r.run()
	return r, nil
}

// Open opens a socket for Add on an interface (by index) of the calling thread's
// network namespace.
func Open(ifindex int) (fd int, err error) {
	return afpacket.Open(ifindex, afpacket.Options{})
}

// Add records what passes an interface from now on. fd comes from Open; the
// Recorder owns it from here on, also when Add fails.
func (r *Recorder) Add(point witness.Point, fd int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		unix.Close(fd)
		return ErrClosed
	}
	if err := r.set.Add(fd); err != nil {
		unix.Close(fd)
		return fmt.Errorf("capture at %s: %w", point, err)
	}
	r.points[fd] = point
	return nil
}

// Filter gives all sockets another filter, at once for each: none sees a packet
// that neither the former nor the new one lets through.
func (r *Recorder) Filter(f *unix.SockFprog) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return ErrClosed
	}
	for fd, point := range r.points {
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, f); err != nil {
			return fmt.Errorf("capture at %s: change the filter: %w", point, err)
		}
	}
	return nil
}

// Points are the places that the Recorder watches.
func (r *Recorder) Points() []witness.Point {
	r.mu.Lock()
	defer r.mu.Unlock()
	points := make([]witness.Point, 0, len(r.points))
	for _, p := range r.points {
		points = append(points, p)
	}
	slices.SortFunc(points, witness.Point.Compare)
	return points
}

// Flush waits until all packets that passed the interfaces before the call are
// recorded.
func (r *Recorder) Flush(ctx context.Context) error {
	waiter, err := r.ask()
	if err != nil {
		return err
	}
	select {
	case <-waiter:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("capture: flush: %w", context.Cause(ctx))
	}
}

// ask wakes the reader; it closes the channel when it has read everything.
func (r *Recorder) ask() (<-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return nil, ErrClosed
	}
	waiter := make(chan struct{})
	r.waiters = append(r.waiters, waiter)
	if err := r.set.Wake(); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return waiter, nil
}

// Packets gives what passed the interfaces so far, in order of time. The slices
// are shared and must not be changed.
func (r *Recorder) Packets() []witness.Packet {
	if waiter, err := r.ask(); err == nil { // a closed Recorder has read everything
		<-waiter
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.merge()
	return slices.Clip(r.sorted)
}

// Take gives what passed the interfaces since the last Take, in order of time,
// and keeps it no longer.
func (r *Recorder) Take() []witness.Packet {
	if waiter, err := r.ask(); err == nil { // a closed Recorder has read everything
		<-waiter
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.merge()
	taken := r.sorted
	r.sorted, r.used = nil, 0
	return taken
}

// merge moves fresh packets to the sorted ones.
func (r *Recorder) merge() {
	if len(r.fresh) == 0 {
		return
	}
	fresh := inOrder(slices.Concat(r.fresh...))
	r.fresh = nil
	overlap := len(r.sorted)
	for overlap > 0 && r.sorted[overlap-1].At.After(fresh[0].At) {
		overlap--
	}
	if overlap < len(r.sorted) {
		// Snapshots hold the old slice: what must move goes into a new one.
		late := inOrder(slices.Concat(r.sorted[overlap:], fresh))
		r.sorted = slices.Concat(r.sorted[:overlap], late)
	} else {
		r.sorted = append(r.sorted, fresh...)
	}
}

// inOrder gives packets in order of time, those of one time as they come. A packet is
// large: what is sorted is their times, while nobody reads the sockets.
func inOrder(packets []witness.Packet) []witness.Packet {
	type place struct {
		at int64
		i  int
	}
	places := make([]place, len(packets))
	for i := range packets {
		places[i] = place{packets[i].At.UnixNano(), i}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.i, b.i)) })
	out := make([]witness.Packet, len(packets))
	for i, p := range places {
		out[i] = packets[p.i]
	}
	return out
}

// Cut leaves out the packets of a time, from (included) to (excluded): those
// recorded, and those yet to be read.
func (r *Recorder) Cut(from, to time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := span{from, to}
	r.merge()
	kept := make([]witness.Packet, 0, len(r.sorted))
	r.used = 0
	for _, p := range r.sorted {
		if !s.holds(p.At) {
			kept = append(kept, p)
			r.used += len(p.Data) + packetCost
		}
	}
	r.sorted = kept
	r.addSkip(s)
}

// addSkip adds a span that is over; one that is open stays the last.
func (r *Recorder) addSkip(s span) {
	r.skip = append(r.skip, s)
	if n := len(r.skip); r.paused {
		r.skip[n-1], r.skip[n-2] = r.skip[n-2], r.skip[n-1]
	}
}

// Reset leaves out all packets until now.
func (r *Recorder) Reset() { r.Cut(time.Time{}, time.Now()) }

// Pause leaves out all packets from now until Resume.
func (r *Recorder) Pause() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.paused {
		r.skip = append(r.skip, span{from: time.Now()})
		r.paused = true
	}
}

// Resume ends a Pause.
func (r *Recorder) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paused {
		r.skip[len(r.skip)-1].to = time.Now()
		r.paused = false
	}
}

// Dropped counts the packets that are missing. Lost packets of a Pause or Cut
// count too: the kernel does not say which it dropped.
func (r *Recorder) Dropped() Losses {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.countDrops()
	return r.losses
}

func (r *Recorder) countDrops() {
	for fd := range r.points {
		if n, err := afpacket.Drops(fd); err == nil {
			r.losses.Kernel += n
		}
	}
}

// End records what has passed so far and ends the reader. The packets stay, and the
// sockets are open until Close, which takes the kernel a while. It may be called
// twice.
func (r *Recorder) End() error {
	if waiter, err := r.ask(); err == nil {
		<-waiter
	}
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		<-r.done
		return nil
	}
	r.closing = true
	err := r.set.Wake()
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	r.countDrops()
	r.ended = slices.Collect(maps.Keys(r.points))
	clear(r.points)
	return r.set.Close()
}

// Close is End, and closes the sockets. It may be called twice.
func (r *Recorder) Close() error {
	err := r.End()
	r.mu.Lock()
	sockets := r.ended
	r.ended = nil
	r.mu.Unlock()
	return errors.Join(err, afpacket.Close(sockets...))
}
