package secure

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/flynn/noise"

	"p2pmodel/core/identity"
)

const (
	protocol = "p2pmodel session 1"

	indexSize  = 4
	numberSize = 4
	tagSize    = 16
	// messageSize is that of both messages: the number of the handshake, an
	// ephemeral public key, and the sealed index of the sender.
	messageSize = numberSize + identity.Size + indexSize + tagSize
	// acknowledgementSize is that of the initiator's word that it has message 2: the
	// number. differenceSize is that of the responder's word that it knows another
	// handshake: the number of that one, and of the one that it heard of.
	acknowledgementSize = numberSize
	differenceSize      = 2 * numberSize
	// MaxMessage is the longest message of a handshake, in bytes.
	MaxMessage = messageSize
)

// prologue is what both sides have to agree on, besides the keys: it is mixed into
// every handshake.
func prologue(session [16]byte, initiator, responder identity.ID) []byte {
	b := make([]byte, 0, len(protocol)+len(session)+2*identity.Size+numberSize)
	b = append(b, protocol...)
	b = append(b, session[:]...)
	b = append(b, initiator[:]...)
	return append(b, responder[:]...)
}

// newHandshake begins the handshake of a number, on either side.
func (c *Channel) newHandshake(number uint32) *noise.HandshakeState {
	initiator, responder := c.cfg.Key.ID(), c.cfg.Peer
	if !c.initiator {
		initiator, responder = responder, initiator
	}
	own, peer := c.cfg.Key.ID(), c.cfg.Peer
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: noise.NewCipherSuite(&curve{static: c.cfg.Key, peer: c.cfg.Peer, shared: c.cfg.Shared}, noise.CipherChaChaPoly, noise.HashSHA256),
		Random:      c.cfg.Rand,
		Pattern:     noise.HandshakeKK,
		Initiator:   c.initiator,
		Prologue:    binary.BigEndian.AppendUint32(prologue(c.cfg.Session, initiator, responder), number),

		StaticKeypair: noise.DHKey{Private: staticHandle, Public: own[:]},
		PeerStatic:    peer[:],
	})
	if err != nil {
		panic("secure: " + err.Error()) // it knows errors of pre-shared keys only
	}
	return hs
}

// write makes a message: the number in clear, and the rest.
func (c *Channel) write(hs *noise.HandshakeState, number, index uint32) (message []byte, a, b *noise.CipherState) {
	message = binary.BigEndian.AppendUint32(make([]byte, 0, messageSize), number)
	message, a, b, err := hs.WriteMessage(message, binary.BigEndian.AppendUint32(nil, index))
	if err != nil {
		// The peer's static key was tried when the channel was made, its ephemeral
		// key when it was read: what is left is the random source.
		panic("secure: " + err.Error())
	}
	return message, a, b
}

// read takes a message, without its number, and gives the index that it holds.
func read(hs *noise.HandshakeState, message []byte) (index uint32, a, b *noise.CipherState, err error) {
	payload, a, b, err := hs.ReadMessage(nil, message)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if len(payload) != indexSize {
		return 0, nil, nil, fmt.Errorf("%w: %d bytes in a message of a handshake, want %d", ErrMalformed, len(payload), indexSize)
	}
	return binary.BigEndian.Uint32(payload), a, b, nil
}

// curve is X25519 by package identity's keys, whose private halves stay there: what
// Noise holds as private keys are the names of these two. What the static keys share
// was computed before.
type curve struct {
	static, ephemeral identity.Key
	peer              identity.ID
	shared            []byte
}

var staticHandle, ephemeralHandle = []byte{0}, []byte{1}

func (*curve) DHLen() int     { return identity.Size }
func (*curve) DHName() string { return "25519" }

func (c *curve) GenerateKeypair(random io.Reader) (noise.DHKey, error) {
	k, err := c.static.Ephemeral(random)
	if err != nil {
		return noise.DHKey{}, err
	}
	c.ephemeral = k
	public := k.ID()
	return noise.DHKey{Private: ephemeralHandle, Public: public[:]}, nil
}

func (c *curve) DH(private, public []byte) ([]byte, error) {
	id, err := identity.IDFromBytes(public)
	if err != nil {
		return nil, err
	}
	switch {
	case private[0] == ephemeralHandle[0]:
		return c.ephemeral.Shared(id)
	case id == c.peer:
		return c.shared, nil
	}
	return c.static.Shared(id)
}
