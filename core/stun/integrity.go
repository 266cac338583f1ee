package stun

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"hash"
	"sync"

	"github.com/pion/stun/v3"
)

// Errors of Integrity.Check.
var (
	ErrNoIntegrity    = errors.New("MESSAGE-INTEGRITY is missing")
	ErrWrongIntegrity = errors.New("MESSAGE-INTEGRITY is wrong")
)

// Integrity is a key for MESSAGE-INTEGRITY (HMAC-SHA1, RFC 8489 section 14.5).
// As a stun.Setter it authenticates all that precedes it.
type Integrity []byte

// ShortTerm is the key of the short-term mechanism: the password itself
// (RFC 8489 section 9.1.1). Text outside ASCII has to be prepared by the
// caller (RFC 8265, OpaqueString).
func ShortTerm(password string) Integrity { return Integrity(password) }

// LongTerm is the key of the long-term mechanism, MD5 (RFC 8489 section
// 9.2.2), which TURN clients use. Text outside ASCII has to be prepared by the
// caller.
func LongTerm(username, realm, password string) Integrity {
	text := make([]byte, 0, 128)
	text = append(append(text, username...), ':')
	text = append(append(text, realm...), ':')
	sum := md5.Sum(append(text, password...))
	return sum[:]
}

// AddTo implements stun.Setter.
func (i Integrity) AddTo(m *stun.Message) error { return stun.MessageIntegrity(i).AddTo(m) }

// Check verifies a parsed message, comparing in constant time. The error is
// ErrNoIntegrity or ErrWrongIntegrity.
func (i Integrity) Check(m *stun.Message) error {
	covered := headerSize
	for _, a := range m.Attributes {
		if a.Type != stun.AttrMessageIntegrity {
			covered += attributeHeader + (int(a.Length)+3)&^3
			continue
		}
		d := digests.Get().(*digest)
		right := hmac.Equal(d.sum(i, m.Raw[:covered]), a.Value)
		digests.Put(d)
		if !right {
			return ErrWrongIntegrity
		}
		return nil
	}
	return ErrNoIntegrity
}

// digests are used again and again: a session's checks alone are dozens of
// messages, each signed once and verified once.
var digests = sync.Pool{New: func() any { return &digest{hash: sha1.New()} }}

// digest computes HMAC-SHA1 (RFC 2104) as MESSAGE-INTEGRITY wants it.
type digest struct {
	hash   hash.Hash
	key    [sha1.BlockSize]byte
	out    [sha1.Size]byte
	header [headerSize]byte
}

// sum is the HMAC of what precedes the attribute, with the length in the header of a
// message that ends with it. It is the digest's until the next call.
func (d *digest) sum(key, covered []byte) []byte {
	copy(d.header[:], covered)
	binary.BigEndian.PutUint16(d.header[2:], uint16(len(covered)+attributeHeader+integritySize-headerSize))
	d.key = [sha1.BlockSize]byte{}
	if len(key) > sha1.BlockSize {
		d.hash.Reset()
		d.hash.Write(key)
		key = d.hash.Sum(d.out[:0])
	}
	copy(d.key[:], key)
	d.pad(0x36)
	d.hash.Write(d.header[:])
	d.hash.Write(covered[headerSize:])
	inner := d.hash.Sum(d.out[:0])
	d.pad(0x36 ^ 0x5c)
	d.hash.Write(inner)
	return d.hash.Sum(d.out[:0])
}

// pad begins a hash with the key and a pad.
func (d *digest) pad(with byte) {
	for i := range d.key {
		d.key[i] ^= with
	}
	d.hash.Reset()
	d.hash.Write(d.key[:])
}
