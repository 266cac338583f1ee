package stun

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"
	"sync"

	"github.com/pion/stun/v3"
)

// Errors of Integrity.Check and IntegritySHA256.Check.
var (
	ErrNoIntegrity    = errors.New("MESSAGE-INTEGRITY is missing")
	ErrWrongIntegrity = errors.New("MESSAGE-INTEGRITY is wrong")
)

const (
	// integritySize is the length of an HMAC-SHA1.
	integritySize = sha1.Size
	// integritySHA256Size is the length of an HMAC-SHA256, and the least that may be
	// left of one that was cut (RFC 8489 section 14.6).
	integritySHA256Size    = sha256.Size
	integritySHA256Minimum = 16
)

// Integrity is a key for MESSAGE-INTEGRITY (HMAC-SHA1, RFC 8489 section 14.5).
// As a stun.Setter it authenticates all that precedes it.
type Integrity []byte

// ShortTerm is the key of the short-term mechanism: the password itself
// (RFC 8489 section 9.1.1). Text outside ASCII has to be prepared by the
// caller: see Opaque.
func ShortTerm(password string) Integrity { return Integrity(password) }

// LongTerm is the key of the long-term mechanism with MD5 (RFC 8489 section
// 9.2.2, PasswordMD5), which clients of RFC 5389 use. Text outside ASCII has to
// be prepared by the caller: see Opaque.
func LongTerm(username, realm, password string) Integrity {
	sum := md5.Sum(longTerm(username, realm, password))
	return sum[:]
}

func longTerm(username, realm, password string) []byte {
	text := make([]byte, 0, 128)
	text = append(append(text, username...), ':')
	text = append(append(text, realm...), ':')
	return append(text, password...)
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
		right := hmac.Equal(d.sum(i, m.Raw[:covered], integritySize), a.Value)
		digests.Put(d)
		if !right {
			return ErrWrongIntegrity
		}
		return nil
	}
	return ErrNoIntegrity
}

// IntegritySHA256 is a key for MESSAGE-INTEGRITY-SHA256 (HMAC-SHA256, RFC 8489
// section 14.6). As a stun.Setter it authenticates all that precedes it.
type IntegritySHA256 []byte

// AddTo implements stun.Setter.
func (i IntegritySHA256) AddTo(m *stun.Message) error {
	d := digestsSHA256.Get().(*digest)
	defer digestsSHA256.Put(d)
	m.Add(stun.AttrMessageIntegritySHA256, d.sum(i, m.Raw, integritySHA256Size))
	return nil
}

// Check verifies a parsed message, comparing in constant time. An HMAC that its
// sender has cut, to 16 bytes at least, is good as far as it goes. The error is
// ErrNoIntegrity or ErrWrongIntegrity.
func (i IntegritySHA256) Check(m *stun.Message) error {
	// By the bytes and not by the attributes: what follows MESSAGE-INTEGRITY is
	// covered, too, although it was left out of them.
	for at := headerSize; at+attributeHeader <= len(m.Raw); {
		size := int(binary.BigEndian.Uint16(m.Raw[at+2:]))
		next := at + attributeHeader + (size+3)&^3
		if next > len(m.Raw) {
			break
		}
		if stun.AttrType(binary.BigEndian.Uint16(m.Raw[at:])) != stun.AttrMessageIntegritySHA256 {
			at = next
			continue
		}
		if !cutRightly(size) {
			return ErrWrongIntegrity
		}
		d := digestsSHA256.Get().(*digest)
		right := hmac.Equal(d.sum(i, m.Raw[:at], size)[:size], m.Raw[at+attributeHeader:at+attributeHeader+size])
		digestsSHA256.Put(d)
		if !right {
			return ErrWrongIntegrity
		}
		return nil
	}
	return ErrNoIntegrity
}

// cutRightly reports whether an HMAC-SHA256 may have so many bytes.
func cutRightly(size int) bool {
	return size >= integritySHA256Minimum && size <= integritySHA256Size && size%4 == 0
}

// digests are used again and again: a session's checks alone are dozens of
// messages, each signed once and verified once.
var (
	digests       = sync.Pool{New: func() any { return &digest{hash: sha1.New()} }}
	digestsSHA256 = sync.Pool{New: func() any { return &digest{hash: sha256.New()} }}
)

// blockSize is that of SHA-1 and of SHA-256.
const blockSize = 64

// digest computes an HMAC (RFC 2104) as MESSAGE-INTEGRITY wants it.
type digest struct {
	hash   hash.Hash
	key    [blockSize]byte
	padded [blockSize]byte
	out    [sha256.Size]byte
	header [headerSize]byte
}

// sum is the HMAC of what precedes the attribute, with the length in the header of a
// message that ends with it, its value being of size bytes. It is the digest's until
// the next call.
func (d *digest) sum(key, covered []byte, size int) []byte {
	copy(d.header[:], covered)
	binary.BigEndian.PutUint16(d.header[2:], uint16(len(covered)+attributeHeader+size-headerSize))
	d.key = [blockSize]byte{}
	if len(key) > blockSize {
		d.hash.Reset()
		d.hash.Write(key)
		key = d.hash.Sum(d.out[:0])
	}
	copy(d.key[:], key)
	d.begin(&innerPad)
	d.hash.Write(d.header[:])
	d.hash.Write(covered[headerSize:])
	inner := d.hash.Sum(d.out[:0])
	d.begin(&outerPad)
	d.hash.Write(inner)
	return d.hash.Sum(d.out[:0])
}

// begin begins a hash with the key and a pad.
func (d *digest) begin(pad *[blockSize]byte) {
	subtle.XORBytes(d.padded[:], d.key[:], pad[:])
	d.hash.Reset()
	d.hash.Write(d.padded[:])
}

// The pads of RFC 2104.
var innerPad, outerPad = [blockSize]byte(bytes.Repeat([]byte{0x36}, blockSize)), [blockSize]byte(bytes.Repeat([]byte{0x5c}, blockSize))
