package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// Derive makes a key of 32 bytes from a shared secret by HKDF-SHA-256
// (RFC 5869). The label says what the key is for; each context binds it to a
// fact that both sides know (an ID, a session). Contexts are length-prefixed:
// no two lists give the same key because of where one ends.
func Derive(shared []byte, label string, context ...[]byte) []byte {
	d := NewDeriver(shared)
	return d.Key(label, context...)
}

// Deriver is Derive for several keys of one secret: HKDF's first step is made
// once. It is not safe for concurrent use.
type Deriver struct {
	pseudorandom [sha256.Size]byte
	info         []byte
}

// NewDeriver takes a shared secret.
func NewDeriver(shared []byte) Deriver {
	m := macs.Get().(*mac)
	defer macs.Put(m)
	var salt [sha256.Size]byte // none was agreed (RFC 5869 section 2.2)
	return Deriver{pseudorandom: m.sum(salt[:], shared)}
}

// Key is Derive of the Deriver's secret.
func (d *Deriver) Key(label string, context ...[]byte) []byte {
	if d.info == nil {
		d.info = make([]byte, 0, 128)
	}
	d.info = binary.BigEndian.AppendUint32(d.info[:0], uint32(len(derivePrefix)+len(label)))
	d.info = append(append(d.info, derivePrefix...), label...)
	for _, c := range context {
		d.info = binary.BigEndian.AppendUint32(d.info, uint32(len(c)))
		d.info = append(d.info, c...)
	}
	// Of HKDF's second step a key is the first block (RFC 5869 section 2.3).
	d.info = append(d.info, 1)
	m := macs.Get().(*mac)
	defer macs.Put(m)
	key := m.sum(d.pseudorandom[:], d.info)
	return key[:]
}

const derivePrefix = "p2pmodel "

// mac computes HMAC-SHA-256 (RFC 2104) for keys of up to a block, of which each is
// used once or twice: crypto/hmac would make two hashes for each.
type mac struct {
	hash  hash.Hash
	block [sha256.BlockSize]byte
	out   [sha256.Size]byte
}

var macs = sync.Pool{New: func() any { return &mac{hash: sha256.New()} }}

func (m *mac) sum(key, text []byte) [sha256.Size]byte {
	m.block = [sha256.BlockSize]byte{}
	copy(m.block[:], key)
	m.pad(0x36)
	m.hash.Write(text)
	m.hash.Sum(m.out[:0])
	m.pad(0x36 ^ 0x5c)
	m.hash.Write(m.out[:])
	m.hash.Sum(m.out[:0])
	m.block = [sha256.BlockSize]byte{} // no key outlives its use here
	return m.out
}

// pad begins a hash with the key and a pad.
func (m *mac) pad(with byte) {
	for i := range m.block {
		m.block[i] ^= with
	}
	m.hash.Reset()
	m.hash.Write(m.block[:])
}
