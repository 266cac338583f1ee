// Package pass signs and checks insidev1.Pass: what a directory gives an Agent so
// that shards see which session a call is for. A pass is the message's bytes
// followed by an Ed25519 signature of 64 bytes over Context and those bytes.
//
// A pass is a bearer's: whoever has it acts for the session until it expires. It
// never leaves the inside; clients have other tokens.
package pass

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/insidev1"
)

// Errors of Verifier.Verify.
var (
	ErrMissing   = errors.New("the call carries no pass")
	ErrMalformed = errors.New("the pass is malformed")
	ErrSignature = errors.New("the pass is not signed by a key that is known here")
	ErrExpired   = errors.New("the pass has expired; its Agent has to renew it")
	// ErrSuperseded: the session was attached again since; only the newer pass is
	// good.
	ErrSuperseded = errors.New("the session is held by another Agent now")
)

const (
	// MaxSize is the most bytes of a pass.
	MaxSize = 1024
	// MaxLife is how far ahead a pass may end; what ends later was not meant as
	// a pass.
	MaxLife = 10 * time.Minute
	// Context begins what is signed, so that no other statement of the same key
	// is a pass.
	Context = "p2pmodel pass 1\x00"
)

// Sign gives the pass in the form in which it travels.
func Sign(key ed25519.PrivateKey, p *insidev1.Pass) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("sign a pass: the key has %d bytes instead of %d", len(key), ed25519.PrivateKeySize)
	}
	if p.GetSession() == "" || p.GetExpiresMs() == 0 {
		return nil, errors.New("sign a pass: it names no session, or does not end")
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("sign a pass: %w", err)
	}
	if len(body)+ed25519.SignatureSize > MaxSize {
		return nil, fmt.Errorf("sign a pass: %d bytes, more than %d", len(body)+ed25519.SignatureSize, MaxSize)
	}
	return append(body, ed25519.Sign(key, signed(body))...), nil
}

// signed is what the signature is over.
func signed(body []byte) []byte { return append([]byte(Context), body...) }

// open checks form and signature, by any of the keys.
func open(keys []ed25519.PublicKey, raw []byte) (*insidev1.Pass, error) {
	if len(raw) <= ed25519.SignatureSize || len(raw) > MaxSize {
		return nil, ErrMalformed
	}
	body, signature := raw[:len(raw)-ed25519.SignatureSize], raw[len(raw)-ed25519.SignatureSize:]
	message, good := signed(body), false
	for _, k := range keys {
		if good = ed25519.Verify(k, message, signature); good {
			break
		}
	}
	if !good {
		return nil, ErrSignature
	}
	p := new(insidev1.Pass)
	if err := proto.Unmarshal(body, p); err != nil || p.Session == "" || p.ExpiresMs <= 0 {
		return nil, ErrMalformed
	}
	return p, nil
}
