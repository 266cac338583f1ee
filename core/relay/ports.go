package relay

import (
	"encoding/binary"
	"fmt"
	"io"
)

// parity is what EVEN-PORT asks of a relayed port.
type parity uint8

const (
	anyPort  parity = iota
	evenPort        // EVEN-PORT with R = 0
	evenPair        // EVEN-PORT with R = 1: the next higher port must be free too
)

// portRange hands out relayed ports at random, so that nobody can guess the
// next one (RFC 8656 section 7.2, RFC 6056).
type portRange struct {
	low, high uint16 // both included
	taken     map[uint16]struct{}
	random    io.Reader
}

func newPortRange(low, high uint16, random io.Reader) *portRange {
	return &portRange{low: low, high: high, taken: make(map[uint16]struct{}), random: random}
}

func (r *portRange) size() int { return int(r.high) - int(r.low) + 1 }

// blindDraws is how many ports are drawn before the rest of the range is walked
// through: while half the range is free, a free one is found with probability
// 1 - 2^-32.
const blindDraws = 32

// draw takes a free port of the wanted parity; for evenPair it takes the
// sibling too. ok is false when there is none.
func (r *portRange) draw(want parity) (port uint16, ok bool, err error) {
	size := r.size()
	start := 0
	for range blindDraws {
		if start, err = r.below(size); err != nil {
			return 0, false, err
		}
		if port = r.low + uint16(start); r.fits(port, want) {
			return r.take(port, want), true, nil
		}
	}
	for i := range size {
		if port = r.low + uint16((start+i)%size); r.fits(port, want) {
			return r.take(port, want), true, nil
		}
	}
	return 0, false, nil
}

func (r *portRange) fits(port uint16, want parity) bool {
	if !r.free(port) || (want != anyPort && port%2 != 0) {
		return false
	}
	// An even port is never 65535, so port+1 does not wrap.
	return want != evenPair || (port < r.high && r.free(port+1))
}

func (r *portRange) free(port uint16) bool {
	_, taken := r.taken[port]
	return !taken
}

func (r *portRange) take(port uint16, want parity) uint16 {
	r.taken[port] = struct{}{}
	if want == evenPair {
		r.taken[port+1] = struct{}{}
	}
	return port
}

func (r *portRange) release(port uint16) { delete(r.taken, port) }

// below draws a number in [0, n), n at most 65536; 64 bits make the modulo's
// bias less than 2^-48.
func (r *portRange) below(n int) (int, error) {
	var b [8]byte
	if _, err := io.ReadFull(r.random, b[:]); err != nil {
		return 0, fmt.Errorf("draw a relayed port: %w", err)
	}
	return int(binary.BigEndian.Uint64(b[:]) % uint64(n)), nil
}
