package traits

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Size is how many bytes the wire form of traits has: mapping and allocation,
// flags, delta, noise, low and high.
const Size = 1 + 1 + 1 + 1 + 2 + 2

// ErrMalformed is returned for bytes that are no traits.
var ErrMalformed = errors.New("malformed traits")

const (
	flagPreserves = 1 << iota
	flagPooled
)

// Append writes traits to the end of b.
func (t Traits) Append(b []byte) []byte {
	flags := byte(0)
	if t.Preserves {
		flags |= flagPreserves
	}
	if t.Pooled {
		flags |= flagPooled
	}
	b = append(b, byte(t.Mapping)<<4|byte(t.Allocation), flags, byte(int8(t.Delta)), byte(t.Noise))
	b = binary.BigEndian.AppendUint16(b, t.Low)
	return binary.BigEndian.AppendUint16(b, t.High)
}

// Decode reads traits from the front of b. What follows them is a later version's.
func Decode(b []byte) (Traits, error) {
	if len(b) < Size {
		return Traits{}, fmt.Errorf("%w: %d bytes, want %d", ErrMalformed, len(b), Size)
	}
	t := Traits{
		Mapping: Dependence(b[0] >> 4), Allocation: Allocation(b[0] & 15),
		Preserves: b[1]&flagPreserves != 0, Pooled: b[1]&flagPooled != 0,
		Delta: int(int8(b[2])), Noise: int(b[3]),
		Low: binary.BigEndian.Uint16(b[4:]), High: binary.BigEndian.Uint16(b[6:]),
	}
	switch {
	case int(t.Mapping) >= len(dependences), int(t.Allocation) >= len(allocations):
		return Traits{}, fmt.Errorf("%w: mapping %d, allocation %d", ErrMalformed, t.Mapping, t.Allocation)
	case t.Delta > MaxDelta || t.Delta < -MaxDelta || t.Noise > MaxNoise:
		return Traits{}, fmt.Errorf("%w: delta %d, noise %d", ErrMalformed, t.Delta, t.Noise)
	case t.Allocation == Sequential && t.Delta == 0:
		return Traits{}, fmt.Errorf("%w: a sequence without a step", ErrMalformed)
	case t.Low > t.High:
		return Traits{}, fmt.Errorf("%w: ports from %d to %d", ErrMalformed, t.Low, t.High)
	}
	return t, nil
}
