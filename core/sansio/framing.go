package sansio

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What a stream carries tells its own length: STUN messages (RFC 8489 section 5)
// and ChannelData (RFC 8656 section 12.4), the latter padded to a multiple of four
// bytes on a stream (section 12.5).
const (
	frameHead      = 4 // both have their length in these
	stunHeaderSize = 20
	stunCookie     = 0x2112A442
)

// Errors of framing. After one, nothing on the stream makes sense any more.
var (
	errFrame     = errors.New("neither a STUN message nor ChannelData")
	errFrameSize = errors.New("message too long for the stream")
)

// frame measures the message that b begins with: its size, and what it takes on a
// stream. Both are zero while b is too short to tell.
func frame(b []byte) (size, onStream int, err error) {
	if len(b) > 0 && b[0]>>6 > 1 {
		return 0, 0, fmt.Errorf("%w: it begins with %#02x", errFrame, b[0])
	}
	if len(b) < frameHead {
		return 0, 0, nil
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>6 == 1 {
		size = frameHead + length
		return size, (size + 3) &^ 3, nil
	}
	if length%4 != 0 {
		return 0, 0, fmt.Errorf("%w: its attributes have %d bytes, no multiple of four", errFrame, length)
	}
	if len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) != stunCookie {
		return 0, 0, fmt.Errorf("%w: no magic cookie", errFrame)
	}
	return stunHeaderSize + length, stunHeaderSize + length, nil
}

// deframe cuts the first message off b: the message without padding, and what
// follows. ok is false while it is not all there.
func deframe(b []byte, most int) (message, rest []byte, ok bool, err error) {
	size, onStream, err := frame(b)
	switch {
	case err != nil:
		return nil, b, false, err
	case onStream > most:
		return nil, b, false, fmt.Errorf("%w: %d bytes, at most %d", errFrameSize, onStream, most)
	case size == 0 || len(b) < onStream:
		return nil, b, false, nil
	}
	return b[:size:size], b[onStream:], true, nil
}

// appendFrame appends a message as it is on a stream; false if it cannot be on one.
func appendFrame(b, message []byte, most int) ([]byte, bool) {
	size, onStream, err := frame(message)
	if err != nil || size == 0 || size != len(message) || onStream > most {
		return b, false
	}
	b = append(b, message...)
	return append(b, make([]byte, onStream-size)...), true
}
