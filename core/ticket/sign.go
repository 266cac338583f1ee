package ticket

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"p2pmodel/core/identity"
)

// context keeps a signature of a ticket from being one of anything else that
// the same key might sign (Ed25519ctx, RFC 8032 section 5.1).
const context = "p2pmodel ticket"

var signOptions = &ed25519.Options{Hash: crypto.Hash(0), Context: context}

// keyID tells keys apart, so that one check suffices as a rule.
type keyID [keyIDSize]byte

func idOf(key ed25519.PublicKey) keyID {
	sum := sha256.Sum256(key)
	return keyID(sum[:keyIDSize])
}

// Signer signs tickets. It never changes and may be used by any goroutine.
type Signer struct {
	key    ed25519.PrivateKey
	public ed25519.PublicKey
	id     keyID
}

// NewSigner makes a signer from a seed of 32 bytes (RFC 8032 section 5.1.5), or
// from a private key as ed25519 has it, 64 bytes, which begins with its seed.
func NewSigner(key []byte) (*Signer, error) {
	switch len(key) {
	case ed25519.SeedSize:
	case ed25519.PrivateKeySize:
		if !ed25519.NewKeyFromSeed(key[:ed25519.SeedSize]).Equal(ed25519.PrivateKey(key)) {
			return nil, errors.New("the private key's two halves do not belong together")
		}
	default:
		return nil, fmt.Errorf("signing key of %d bytes, want a seed of %d or a private key of %d", len(key), ed25519.SeedSize, ed25519.PrivateKeySize)
	}
	private := ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])
	public := private.Public().(ed25519.PublicKey)
	return &Signer{key: private, public: public, id: idOf(public)}, nil
}

// Public is what verifiers need.
func (s *Signer) Public() ed25519.PublicKey { return slices.Clone(s.public) }

// Sign makes a ticket's bytes, at most MaxSize. The error says what is wrong
// with the contents.
func (s *Signer) Sign(t Ticket) ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("sign a ticket: %w", err)
	}
	raw := t.appendTo(make([]byte, 0, MaxSize), s.id)
	signature, err := s.key.Sign(nil, raw, signOptions)
	if err != nil {
		return nil, fmt.Errorf("sign a ticket: %w", err)
	}
	return append(raw, signature...), nil
}

// String names the signer by its public key and keeps the private one out of
// logs.
func (s *Signer) String() string { return "signer of tickets " + FormatPublicKey(s.public) }

// GoString keeps the private key out of %#v.
func (s *Signer) GoString() string { return s.String() }

// Verifier checks tickets by any of some public keys, so that keys can change.
// It never changes itself, costs about 60 µs for a ticket that is signed by a
// known key and less than one otherwise, and may be used by any goroutine.
type Verifier struct{ keys map[keyID][]ed25519.PublicKey }

// NewVerifier makes a verifier; without keys it believes nothing.
func NewVerifier(keys ...ed25519.PublicKey) (*Verifier, error) {
	v := &Verifier{keys: make(map[keyID][]ed25519.PublicKey, len(keys))}
	for _, k := range keys {
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("public key of %d bytes, want %d", len(k), ed25519.PublicKeySize)
		}
		id := idOf(k)
		v.keys[id] = append(v.keys[id], slices.Clone(k))
	}
	return v, nil
}

// Verify reads a ticket and believes it: it is signed by a known key and has not
// expired. The error is ErrMalformed, ErrSignature or ErrExpired. An expired
// ticket is given back with its error.
func (v *Verifier) Verify(raw []byte, now time.Time) (Ticket, error) {
	t, id, signed, signature, err := decode(raw)
	if err != nil {
		return Ticket{}, err
	}
	return v.believe(t, id, signed, signature, now)
}

// VerifyFor is Verify for a ticket that a peer has shown, which has to be its
// own (ErrPeer).
func (v *Verifier) VerifyFor(raw []byte, peer identity.ID, now time.Time) (Ticket, error) {
	t, id, signed, signature, err := decode(raw)
	if err != nil {
		return Ticket{}, err
	}
	if t.Peer != peer {
		return Ticket{}, fmt.Errorf("%w: of %s, shown by %s", ErrPeer, t.Peer.Short(), peer.Short())
	}
	return v.believe(t, id, signed, signature, now)
}

func (v *Verifier) believe(t Ticket, id keyID, signed, signature []byte, now time.Time) (Ticket, error) {
	if !slices.ContainsFunc(v.keys[id], func(k ed25519.PublicKey) bool {
		return ed25519.VerifyWithOptions(k, signed, signature, signOptions) == nil
	}) {
		return Ticket{}, ErrSignature
	}
	if !now.Before(t.Expires) {
		return t, fmt.Errorf("%w, at %s", ErrExpired, t.Expires.UTC().Format(time.RFC3339))
	}
	return t, nil
}

// Trusts reports whether a ticket that was verified before names a key that is
// known here; it does not check the signature again.
func (v *Verifier) Trusts(raw []byte) bool {
	_, id, _, _, err := decode(raw)
	return err == nil && len(v.keys[id]) > 0
}
