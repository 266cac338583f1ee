package identity

import (
	"crypto/subtle"

	"github.com/cloudflare/circl/dh/x25519"
)

// scalar is a private key. X25519 is circl's on this architecture, in constant time as
// well: of crypto/ecdh's time it takes two thirds, and less than half where a public key
// is made, for which it has a table. All of it that a session costs is X25519 nearly.
type scalar [Size]byte

// newScalar gives a private key and its public half.
func newScalar(seed [Size]byte) (s *scalar, public ID) {
	s = (*scalar)(&seed)
	x25519.KeyGen((*x25519.Key)(&public), (*x25519.Key)(s))
	return s, public
}

// bytes is the seed.
func (s *scalar) bytes() []byte { return s[:] }

// multiply is X25519; false: the point is of low order.
func (s *scalar) multiply(point ID) (secret [Size]byte, ok bool) {
	ok = x25519.Shared((*x25519.Key)(&secret), (*x25519.Key)(s), (*x25519.Key)(&point))
	// Whatever it knows of such points: what they give is zero (RFC 7748 section 6.1).
	var zero [Size]byte
	return secret, ok && subtle.ConstantTimeCompare(secret[:], zero[:]) == 0
}
