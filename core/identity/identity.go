// Package identity says who a peer is: its static X25519 key pair. The public
// half is the peer's ID, the name others know it by; secrets shared with
// another peer or with a server come from Diffie-Hellman between static keys,
// as in the Noise framework, whose key format this is.
//
// It draws no randomness of its own: a key is made from a seed or a reader, so
// that a simulation which gives the same seed gets the same peers.
package identity

import (
	"bytes"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Size is the length in bytes of an ID, of a seed and of a shared secret.
const Size = 32

// shortLength is how many characters of an ID suffice to tell peers apart in a
// log: 40 bits.
const shortLength = 8

// encoding is the text form of keys: lower-case base32 without padding. Unlike
// base64url it never begins with a hyphen, which a command line would take for
// a flag, and it survives a change of case.
var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ErrUnusable is returned for a public key with which no secret can be shared
// (a point of low order, RFC 7748 section 6.1).
var ErrUnusable = errors.New("public key is of low order and gives no shared secret")

// ID is a peer's public key. IDs compare with ==; the zero ID names nobody.
type ID [Size]byte

// ParseID reads the text form that String writes.
func ParseID(text string) (ID, error) {
	var id ID
	raw, err := decode(text)
	if err != nil {
		return id, fmt.Errorf("peer id %q: %w", text, err)
	}
	copy(id[:], raw)
	return id, nil
}

// IDFromBytes reads an ID off the wire: exactly 32 bytes.
func IDFromBytes(raw []byte) (ID, error) {
	var id ID
	if len(raw) != Size {
		return id, fmt.Errorf("peer id of %d bytes, want %d", len(raw), Size)
	}
	copy(id[:], raw)
	return id, nil
}

// String is the text form: 52 characters of lower-case base32.
func (id ID) String() string { return encoding.EncodeToString(id[:]) }

// Short is the beginning of the text form, for logs. It identifies nobody.
func (id ID) Short() string { return id.String()[:shortLength] }

// IsZero reports whether the ID names nobody.
func (id ID) IsZero() bool { return id == ID{} }

// Compare orders IDs as byte strings: -1, 0 or +1. Both sides of a session
// reach the same order, so it can settle who does what.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// Key is a peer's static key pair. The zero Key is not usable; make one with
// NewKey, KeyFromSeed or ParseKey. A Key never changes and may be copied.
type Key struct {
	private *scalar
	id      ID
	circle  *circle // nil as a rule
}

// NewKey makes a key from 32 bytes of r, which has to be unpredictable
// (crypto/rand.Reader) wherever the key is to be a secret.
func NewKey(r io.Reader) (Key, error) {
	var seed [Size]byte
	if _, err := io.ReadFull(r, seed[:]); err != nil {
		return Key{}, fmt.Errorf("draw a key: %w", err)
	}
	return KeyFromSeed(seed), nil
}

// KeyFromSeed makes the key whose private half is the seed. Every seed is
// valid: X25519 clamps it (RFC 7748 section 5).
func KeyFromSeed(seed [Size]byte) Key {
	private, id := newScalar(seed)
	return Key{private: private, id: id}
}

// ParseKey reads the text form of a seed, as Secret writes it. Errors do not
// repeat the text.
func ParseKey(text string) (Key, error) {
	raw, err := decode(text)
	if err != nil {
		return Key{}, fmt.Errorf("private key: %w", err)
	}
	return KeyFromSeed([Size]byte(raw)), nil
}

// ID is the public half.
func (k Key) ID() ID { return k.id }

// IsZero reports whether k is the unusable zero Key.
func (k Key) IsZero() bool { return k.private == nil }

// Secret is the text form of the private half, to be kept in a file. String
// does not show it.
func (k Key) Secret() string { return encoding.EncodeToString(k.private.bytes()) }

// String names the key by its public half.
func (k Key) String() string {
	if k.IsZero() {
		return "no key"
	}
	return "key of " + k.id.String()
}

// GoString keeps the private half out of %#v.
func (k Key) GoString() string { return k.String() }

// Shared is the secret that k and the owner of other both can compute and
// nobody else: 32 bytes, not uniformly distributed. Feed it to Derive; do not
// use it as a key. The error is ErrUnusable.
func (k Key) Shared(other ID) ([]byte, error) {
	if k.circle == nil {
		return k.shared(other)
	}
	known := k.circle.secret(k.id, other)
	if known == nil {
		return k.shared(other)
	}
	if secret := known.Load(); secret != nil {
		return bytes.Clone(secret[:]), nil
	}
	secret, err := k.shared(other)
	if err == nil {
		known.Store((*[Size]byte)(bytes.Clone(secret)))
	}
	return secret, err
}

// shared is Shared, computed.
func (k Key) shared(other ID) ([]byte, error) {
	secret, ok := k.private.multiply(other)
	if !ok {
		return nil, ErrUnusable
	}
	return secret[:], nil
}

// decode reads 32 bytes of base32, in any case, surrounded by any white space.
func decode(text string) ([]byte, error) {
	raw, err := encoding.DecodeString(strings.ToLower(strings.TrimSpace(text)))
	if err != nil {
		return nil, fmt.Errorf("not base32 (letters a-z and digits 2-7): %w", err)
	}
	if len(raw) != Size {
		return nil, fmt.Errorf("%d bytes, want %d (52 characters of base32)", len(raw), Size)
	}
	return raw, nil
}
