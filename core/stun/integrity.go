package stun

import (
	"crypto/md5"
	"errors"

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
	sum := md5.Sum([]byte(username + ":" + realm + ":" + password))
	return sum[:]
}

// AddTo implements stun.Setter.
func (i Integrity) AddTo(m *stun.Message) error { return stun.MessageIntegrity(i).AddTo(m) }

// Check verifies a parsed message, comparing in constant time. The error is
// ErrNoIntegrity or ErrWrongIntegrity.
func (i Integrity) Check(m *stun.Message) error {
	if !m.Contains(stun.AttrMessageIntegrity) {
		return ErrNoIntegrity
	}
	if stun.MessageIntegrity(i).Check(m) != nil {
		return ErrWrongIntegrity
	}
	return nil
}
