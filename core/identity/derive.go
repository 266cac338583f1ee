package identity

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Derive makes a key of 32 bytes from a shared secret by HKDF-SHA-256
// (RFC 5869). The label says what the key is for; each context binds it to a
// fact that both sides know (an ID, a session). Contexts are length-prefixed:
// no two lists give the same key because of where one ends.
func Derive(shared []byte, label string, context ...[]byte) []byte {
	return NewDeriver(shared).Key(label, context...)
}

// Deriver is Derive for several keys of one secret: HKDF's first step is made
// once. It is not safe for concurrent use.
type Deriver struct {
	expand hash.Hash // HMAC-SHA-256 under the pseudorandom key
	info   []byte
}

// NewDeriver takes a shared secret.
func NewDeriver(shared []byte) *Deriver {
	key, err := hkdf.Extract(sha256.New, shared, nil)
	if err != nil {
		// HKDF fails only where FIPS mode forbids the hash; ours is a constant.
		panic("identity: " + err.Error())
	}
	return &Deriver{expand: hmac.New(sha256.New, key), info: make([]byte, 0, 128)}
}

// Key is Derive of the Deriver's secret.
func (d *Deriver) Key(label string, context ...[]byte) []byte {
	d.info = binary.BigEndian.AppendUint32(d.info[:0], uint32(len(derivePrefix)+len(label)))
	d.info = append(append(d.info, derivePrefix...), label...)
	for _, c := range context {
		d.info = binary.BigEndian.AppendUint32(d.info, uint32(len(c)))
		d.info = append(d.info, c...)
	}
	// Of HKDF's second step a key is the first block (RFC 5869 section 2.3).
	d.info = append(d.info, 1)
	d.expand.Reset()
	d.expand.Write(d.info)
	return d.expand.Sum(make([]byte, 0, Size))
}

const derivePrefix = "p2pmodel "
