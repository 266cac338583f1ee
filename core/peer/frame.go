package peer

import (
	"encoding/hex"

	"p2pmodel/core/secure"
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

// MaxPayload is the longest datagram that a session carries, in bytes: what an IPv6
// path of minimum MTU (1280) takes after IP, UDP, TURN's ChannelData and the frame.
// It is what QUIC needs (RFC 9000 section 14). Until a relay's channel is bound, which
// takes a round trip to the relay, a datagram has up to 47 bytes more around it there.
const MaxPayload = 1280 - 40 - 8 - 4 - secure.Overhead

// isFrame reports whether a datagram may be a frame of ours.
func isFrame(b []byte) bool {
	return len(b) >= secure.Overhead && (frameType(b[0]) == frameData || frameType(b[0]) == frameBye)
}
