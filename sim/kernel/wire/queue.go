//go:build linux

package wire

import "time"

// frame is a frame on its way.
type frame struct {
	direction *direction
	at        time.Time // when it arrives
	order     uint64    // of entering: frames that arrive at one time keep it
	bytes     []byte    // with the virtio header
	class     int       // of the pool
}

// queue holds the frames on their way, the first to arrive at the top of a
// binary heap. It belongs to the scheduler's thread.
type queue struct {
	heap  []*frame
	order uint64
}

func (f *frame) before(g *frame) bool {
	if f.at.Equal(g.at) {
		return f.order < g.order
	}
	return f.at.Before(g.at)
}

func (q *queue) push(f *frame) {
	q.order++
	f.order = q.order
	q.heap = append(q.heap, f)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !f.before(q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = f
}

// due is the first frame to arrive if its time has come, nil otherwise.
func (q *queue) due(now time.Time) *frame {
	if len(q.heap) == 0 || q.heap[0].at.After(now) {
		return nil
	}
	return q.heap[0]
}

// pop takes out the first frame.
func (q *queue) pop() {
	n := len(q.heap) - 1
	f := q.heap[n]
	q.heap[n] = nil
	q.heap = q.heap[:n]
	if n == 0 {
		return
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && q.heap[child+1].before(q.heap[child]) {
			child++
		}
		if !q.heap[child].before(f) {
			break
		}
		q.heap[i] = q.heap[child]
		i = child
	}
	q.heap[i] = f
}

// timeout is how long the thread may sleep; negative: until something comes.
func (q *queue) timeout(now time.Time) time.Duration {
	if len(q.heap) == 0 {
		return -1
	}
	return max(q.heap[0].at.Sub(now), 0)
}

// classes are the buffer sizes of a pool: a packet of the usual MTU, and a
// segment of offload.
var classes = [...]int{2048, 1<<16 + 64}

// pool keeps frames that are not in use, so that a busy wire makes no garbage.
// It belongs to the scheduler's thread.
type pool struct {
	free [len(classes)][]*frame
}

// frame gives a frame with copies of a header and data.
func (p *pool) frame(d *direction, at time.Time, header, data []byte) *frame {
	size := len(header) + len(data)
	class := 0
	for classes[class] < size {
		class++
	}
	var f *frame
	if n := len(p.free[class]); n > 0 {
		f = p.free[class][n-1]
		p.free[class] = p.free[class][:n-1]
	} else {
		f = &frame{bytes: make([]byte, 0, classes[class]), class: class}
	}
	f.direction, f.at = d, at
	f.bytes = append(append(f.bytes[:0], header...), data...)
	return f
}

// maxFree is how many unused frames of a class are kept.
const maxFree = 1024

func (p *pool) put(f *frame) {
	f.direction = nil
	if len(p.free[f.class]) < maxFree {
		p.free[f.class] = append(p.free[f.class], f)
	}
}
