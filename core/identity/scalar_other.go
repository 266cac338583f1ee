//go:build !amd64

package identity

import "crypto/ecdh"

// scalar is a private key. X25519 is the standard library's on this architecture.
type scalar struct{ key *ecdh.PrivateKey }

// newScalar gives a private key and its public half.
func newScalar(seed [Size]byte) (*scalar, ID) {
	key, err := ecdh.X25519().NewPrivateKey(seed[:])
	if err != nil {
		// The only error of X25519 is a seed of another length.
		panic("identity: " + err.Error())
	}
	return &scalar{key}, ID(key.PublicKey().Bytes())
}

// bytes is the seed.
func (s *scalar) bytes() []byte { return s.key.Bytes() }

// multiply is X25519; false: the point is of low order.
func (s *scalar) multiply(point ID) (secret [Size]byte, ok bool) {
	public, err := ecdh.X25519().NewPublicKey(point[:])
	if err != nil {
		return secret, false
	}
	shared, err := s.key.ECDH(public)
	if err != nil {
		return secret, false
	}
	return [Size]byte(shared), true
}
