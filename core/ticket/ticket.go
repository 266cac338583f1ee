// Package ticket is what a game server gives a player for the shard's UDP
// servers: a signed statement that a peer may be in one mesh until some time. A
// rendezvous checks it with a public key and holds no secret.
//
// It says nothing of who the player is, and it is no secret either: it is of use
// only to whoever has the private key of the peer it names.
package ticket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"p2pmodel/core/identity"
)

// Errors of Verifier.Verify and VerifyFor; test with errors.Is.
var (
	ErrMalformed = errors.New("the ticket is malformed")
	ErrSignature = errors.New("the ticket is not signed by a key that is known here")
	ErrExpired   = errors.New("the ticket has expired")
	ErrPeer      = errors.New("the ticket is another peer's")
)

const (
	// MaxSize is the most bytes of a ticket.
	MaxSize = 200
	// MaxMesh is the most bytes of a mesh's name, as of a room's at the
	// rendezvous.
	MaxMesh = 64

	version       = 1
	keyIDSize     = 4
	expiresAt     = 1 + keyIDSize
	peerAt        = expiresAt + 8
	meshAt        = peerAt + identity.Size
	signatureSize = 64
	// maxExpires is the end of the year 9999: what is later is a mistake.
	maxExpires = 253402300799
)

// Ticket is what is stated.
type Ticket struct {
	// Peer may register, until Expires (whole seconds count), and may enter
	// Mesh, a room of the rendezvous, and be introduced to its members.
	Peer    identity.ID
	Mesh    string
	Expires time.Time
}

// check says what is wrong with a ticket's contents.
func (t Ticket) check() error {
	switch {
	case t.Peer.IsZero():
		return errors.New("it names no peer")
	case t.Mesh == "":
		return errors.New("it names no mesh")
	case len(t.Mesh) > MaxMesh:
		return fmt.Errorf("mesh name of %d bytes: at most %d", len(t.Mesh), MaxMesh)
	case !utf8.ValidString(t.Mesh):
		return errors.New("mesh name is not UTF-8")
	case t.Expires.Unix() <= 0 || t.Expires.Unix() > maxExpires:
		return fmt.Errorf("expiry %v is not within 1970 to 9999", t.Expires)
	}
	return nil
}

// appendTo writes what is signed:
//
//	1 byte    version: 1
//	4 bytes   the first ones of the SHA-256 of the signing public key
//	8 bytes   expiry, Unix seconds
//	32 bytes  the peer
//	1 to 64   the mesh's name
//
// A ticket is this and a signature of 64 bytes.
func (t Ticket) appendTo(b []byte, key keyID) []byte {
	b = append(b, version)
	b = append(b, key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Expires.Unix()))
	b = append(b, t.Peer[:]...)
	return append(b, t.Mesh...)
}

// decode reads a ticket without believing it.
func decode(raw []byte) (t Ticket, key keyID, signed, signature []byte, err error) {
	if len(raw) <= meshAt+signatureSize || len(raw) > meshAt+MaxMesh+signatureSize {
		return t, key, nil, nil, fmt.Errorf("%w: %d bytes, want %d to %d", ErrMalformed, len(raw), meshAt+1+signatureSize, meshAt+MaxMesh+signatureSize)
	}
	if raw[0] != version {
		return t, key, nil, nil, fmt.Errorf("%w: version %d, want %d", ErrMalformed, raw[0], version)
	}
	signed, signature = raw[:len(raw)-signatureSize], raw[len(raw)-signatureSize:]
	copy(key[:], signed[1:])
	seconds := binary.BigEndian.Uint64(signed[expiresAt:])
	if seconds > maxExpires {
		return t, key, nil, nil, fmt.Errorf("%w: expiry %d is past the year 9999", ErrMalformed, seconds)
	}
	t = Ticket{
		Peer:    identity.ID(signed[peerAt:meshAt]),
		Mesh:    string(signed[meshAt:]),
		Expires: time.Unix(int64(seconds), 0),
	}
	if err := t.check(); err != nil {
		return t, key, nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return t, key, signed, signature, nil
}
