// Package ticket is what a game server gives a player for the shard's UDP
// servers: a signed statement that a peer may be in one mesh until some time. A
// rendezvous checks it with a public key and holds no secret.
package ticket

import (
	"crypto/ed25519"
	"errors"
	"time"

	"p2pmodel/core/identity"
)

// Errors of Verifier.Verify.
var (
	ErrMalformed = errors.New("the ticket is malformed")
	ErrSignature = errors.New("the ticket is not signed by a key that is known here")
	ErrExpired   = errors.New("the ticket has expired")
	ErrPeer      = errors.New("the ticket is another peer's")
)

// MaxSize is the most bytes of a ticket.
const MaxSize = 200

// Ticket is what is stated.
type Ticket struct {
	// Peer may register, until Expires (whole seconds count), and may enter
	// Mesh, a room of the rendezvous, and be introduced to its members.
	Peer    identity.ID
	Mesh    string
	Expires time.Time
}

// Signer signs tickets.
type Signer struct{ key ed25519.PrivateKey }

// Verifier checks tickets by any of some public keys, so that keys can change.
type Verifier struct{ keys []ed25519.PublicKey }
