package relay

// Buffers of the data path: of one size, so that any fits, and few kept, so
// that a burst's memory goes back to the collector.
const (
	bufferSize  = 2048
	buffersKept = 512
)

// bufferPool recycles the buffers of sent datagrams. What was lent to a driver
// by PollTransmit comes back with the next Handle call: a driver may gather
// datagrams into one system call before it goes on.
type bufferPool struct{ free, lent [][]byte }

// get is an empty buffer with room for n bytes.
func (p *bufferPool) get(n int) []byte {
	if n > bufferSize {
		return make([]byte, 0, n)
	}
	if last := len(p.free) - 1; last >= 0 {
		b := p.free[last]
		p.free = p.free[:last]
		return b
	}
	return make([]byte, 0, bufferSize)
}

func (p *bufferPool) lend(b []byte) {
	if cap(b) == bufferSize && len(p.lent) < buffersKept {
		p.lent = append(p.lent, b)
	}
}

func (p *bufferPool) reclaim() {
	for _, b := range p.lent {
		if len(p.free) < buffersKept {
			p.free = append(p.free, b[:0])
		}
	}
	p.lent = p.lent[:0]
}
