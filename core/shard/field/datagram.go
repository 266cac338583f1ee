package field

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Size is the length of a datagram, in bytes:
//
//	0  magic 'F'
//	1  version
//	2  direction
//	3  colour
//	4  sequence, 32 bits, from 1; big endian as all others
//	8  tick, 32 bits
//	12 x, 16 bits
//	14 y, 16 bits
//	16 sent at, 64 bits: µs by the sender's clock, whose zero nobody else knows
//	24 echo, 64 bits: "sent at" of the last datagram of the one it is sent to;
//	   0: none yet
//	32 held, 32 bits: µs between the arrival of that datagram and this sending
const Size = 36

const (
	magic   = 'F'
	version = 1
)

// Errors of Parse.
var (
	ErrMalformed = errors.New("not a datagram of the field")
	ErrVersion   = errors.New("a version of the field's datagrams that is not known here")
)

// Datagram is what a player tells another one each tick.
type Datagram struct {
	Sequence, Tick uint32
	At             Position
	Direction      Direction
	Colour         uint8
	// SentAt and Echo are µs by two clocks, Held is at most 71 minutes.
	SentAt, Echo uint64
	Held         time.Duration
}

// Append appends the datagram as it is sent.
func (d Datagram) Append(b []byte) []byte {
	b = append(b, magic, version, byte(d.Direction), d.Colour)
	b = binary.BigEndian.AppendUint32(b, d.Sequence)
	b = binary.BigEndian.AppendUint32(b, d.Tick)
	b = binary.BigEndian.AppendUint16(b, uint16(d.At.X))
	b = binary.BigEndian.AppendUint16(b, uint16(d.At.Y))
	b = binary.BigEndian.AppendUint64(b, d.SentAt)
	b = binary.BigEndian.AppendUint64(b, d.Echo)
	return binary.BigEndian.AppendUint32(b, uint32(min(max(d.Held.Microseconds(), 0), 1<<32-1)))
}

// Parse reads a datagram. The errors are ErrMalformed and ErrVersion; whatever
// it accepts, Append gives back byte for byte.
func Parse(b []byte) (Datagram, error) {
	if len(b) < 2 || b[0] != magic {
		return Datagram{}, ErrMalformed
	}
	if b[1] != version {
		return Datagram{}, fmt.Errorf("%w: %d", ErrVersion, b[1])
	}
	if len(b) != Size {
		return Datagram{}, fmt.Errorf("%w: %d bytes, want %d", ErrMalformed, len(b), Size)
	}
	d := Datagram{
		Direction: Direction(b[2]),
		Colour:    b[3],
		Sequence:  binary.BigEndian.Uint32(b[4:]),
		Tick:      binary.BigEndian.Uint32(b[8:]),
		At:        Position{int(binary.BigEndian.Uint16(b[12:])), int(binary.BigEndian.Uint16(b[14:]))},
		SentAt:    binary.BigEndian.Uint64(b[16:]),
		Echo:      binary.BigEndian.Uint64(b[24:]),
		Held:      time.Duration(binary.BigEndian.Uint32(b[32:])) * time.Microsecond,
	}
	switch {
	case d.Direction >= directions:
		return Datagram{}, fmt.Errorf("%w: direction %d", ErrMalformed, d.Direction)
	case d.Colour >= Colours:
		return Datagram{}, fmt.Errorf("%w: colour %d", ErrMalformed, d.Colour)
	case d.Sequence == 0:
		return Datagram{}, fmt.Errorf("%w: sequence 0", ErrMalformed)
	case !d.At.on():
		return Datagram{}, fmt.Errorf("%w: position %v is off the field", ErrMalformed, d.At)
	}
	return d, nil
}
