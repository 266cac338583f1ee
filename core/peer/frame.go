package peer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
)

// SessionID names a session between two peers, for as long as it lives and
// whatever addresses it uses. It is drawn at random by the peer that connects.
type SessionID [16]byte

// String is 32 hexadecimal digits.
func (s SessionID) String() string { return hex.EncodeToString(s[:]) }

// MarshalText implements encoding.TextMarshaler.
func (s SessionID) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// IsZero reports whether s names no session.
func (s SessionID) IsZero() bool { return s == SessionID{} }

// frameType is the first byte of a frame. RFC 7983 and RFC 9443 divide the
// first byte among the protocols that may share a socket with STUN: 0–3 STUN,
// 16–19 ZRTP, 20–63 DTLS, 64–79 TURN channels, 64–127 and 192–255 QUIC,
// 128–191 RTP. Only 4–15 belong to nobody, so frames stay there and foreign
// protocols may run beside ours on one socket.
type frameType byte

const (
	// frameData carries the application's datagram.
	frameData frameType = 0x08
	// frameBye says that the sender has closed the session.
	frameBye frameType = 0x09
)

const (
	frameSession  = 1
	frameSequence = frameSession + 16
	frameHeader   = frameSequence + 8
	frameTag      = 16
	frameOverhead = frameHeader + frameTag

	// MaxPayload is the longest datagram that a session carries, in bytes: what
	// an IPv6 path of minimum MTU (1280) takes after IP, UDP, TURN's Send
	// indication (header 20, address 24, data 4 and padding 3) and the frame.
	MaxPayload = 1280 - 40 - 8 - 51 - frameOverhead
)

// Errors of frames. None of them is answered.
var (
	errFrame    = errors.New("not a frame")
	errFrameTag = errors.New("frame with a wrong tag")
)

// isFrame reports whether a datagram may be a frame of ours.
func isFrame(b []byte) bool {
	return len(b) >= frameOverhead && (frameType(b[0]) == frameData || frameType(b[0]) == frameBye)
}

// frame is a frame as read: payload and all lie in the datagram.
type frame struct {
	kind     frameType
	session  SessionID
	sequence uint64
	payload  []byte
}

// readFrame reads the fields of a frame, which still is to be verified.
func readFrame(b []byte) (frame, error) {
	if !isFrame(b) {
		return frame{}, errFrame
	}
	return frame{
		kind:     frameType(b[0]),
		session:  SessionID(b[frameSession:frameSequence]),
		sequence: binary.BigEndian.Uint64(b[frameSequence:frameHeader]),
		payload:  b[frameHeader : len(b)-frameTag],
	}, nil
}

// sealer makes and verifies the tags of one direction of one session.
type sealer struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

func newSealer(key []byte) *sealer { return &sealer{mac: hmac.New(sha256.New, key)} }

// tag is HMAC-SHA-256 truncated to 128 bits (RFC 2104 section 5). The result is
// valid until the next call.
func (s *sealer) tag(b []byte) []byte {
	s.mac.Reset()
	s.mac.Write(b)
	return s.mac.Sum(s.sum[:0])[:frameTag]
}

// frame writes a frame.
func (s *sealer) frame(kind frameType, session SessionID, sequence uint64, payload []byte) []byte {
	b := make([]byte, 0, frameOverhead+len(payload))
	b = append(b, byte(kind))
	b = append(b, session[:]...)
	b = binary.BigEndian.AppendUint64(b, sequence)
	b = append(b, payload...)
	return append(b, s.tag(b)...)
}

// verify checks the tag at the end of b, in constant time.
func (s *sealer) verify(b []byte) error {
	if len(b) < frameTag {
		return errFrame
	}
	at := len(b) - frameTag
	if !hmac.Equal(s.tag(b[:at]), b[at:]) {
		return fmt.Errorf("%w, %d bytes", errFrameTag, len(b))
	}
	return nil
}
