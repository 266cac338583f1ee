package secure

import (
	"encoding/binary"
	"fmt"
	"time"
)

// A frame is a datagram of the session: in clear a type, the receiver's index and a
// number, then what is sealed under the number as nonce. The header and the session's
// id are authenticated with it.
const (
	frameIndex  = 1
	frameNumber = frameIndex + indexSize
	frameHeader = frameNumber + numberBytes
	// numberBytes of a number are on the wire: its upper byte stays zero.
	numberBytes = 7
	// Overhead is how much longer a frame is than what it carries, in bytes.
	Overhead = frameHeader + tagSize
	// lastNumber is far below what Noise forbids (2^64-1).
	lastNumber = 1<<(8*numberBytes) - 1
)

// Slot reads from a frame which channel it is for, by the slot that its owner gave
// it. It proves nothing; false means that the datagram is too short for a frame.
func Slot(datagram []byte) (uint32, bool) {
	if len(datagram) < Overhead {
		return 0, false
	}
	return binary.BigEndian.Uint32(datagram[frameIndex:]) >> 8, true
}

// Seal makes the next frame. Its bytes are the same whatever path they take. The
// error is ErrNoKeys.
func (c *Channel) Seal(kind byte, payload []byte) ([]byte, error) {
	k := c.sending
	if k == nil || k.sent >= lastNumber {
		return nil, ErrNoKeys
	}
	k.sent++ // frames are numbered from 1
	b := make([]byte, 0, Overhead+len(payload))
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, k.remote)
	number := [8]byte{}
	binary.BigEndian.PutUint64(number[:], k.sent)
	b = append(b, number[8-numberBytes:]...)
	var room [associatedSize]byte
	return k.out.Encrypt(b, k.sent, c.associated(&room, b), payload), nil
}

// Open gives what a frame carries, once. The error is ErrMalformed, ErrNoKeys,
// ErrReplayed or ErrForged, and then nothing has changed.
func (c *Channel) Open(now time.Time, frame []byte) (kind byte, payload []byte, err error) {
	if len(frame) < Overhead {
		return 0, nil, fmt.Errorf("%w: frame of %d bytes, want %d at least", ErrMalformed, len(frame), Overhead)
	}
	c.forget(now)
	k := c.keysOf(binary.BigEndian.Uint32(frame[frameIndex:]))
	if k == nil {
		return 0, nil, ErrNoKeys
	}
	number := binary.BigEndian.Uint64(frame[frameNumber-1:]) &^ (0xff << 56)
	if !k.window.fresh(number) {
		return 0, nil, ErrReplayed
	}
	var room [associatedSize]byte
	payload, err = k.in.Decrypt(nil, number, c.associated(&room, frame[:frameHeader]), frame[frameHeader:])
	if err != nil {
		return 0, nil, ErrForged
	}
	k.window.accept(number)
	if !c.initiator && k.number == c.number {
		c.confirm(now) // who seals by these keys has message 2
	}
	return frame[0], payload, nil
}

func (c *Channel) keysOf(index uint32) *keys {
	for _, k := range [...]*keys{c.sending, c.next, c.previous} {
		if k != nil && k.local == index {
			return k
		}
	}
	return nil
}

const associatedSize = 16 + frameHeader

// associated is what is authenticated with a frame and not in its sealed part.
func (c *Channel) associated(room *[associatedSize]byte, header []byte) []byte {
	return append(append(room[:0], c.cfg.Session[:]...), header...)
}
