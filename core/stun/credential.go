package stun

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pion/stun/v3"
	"golang.org/x/text/secure/precis"
)

// Opaque prepares a username, realm or password as RFC 8489 section 14.3 wants it:
// the OpaqueString profile (RFC 8265 section 4.2), which leaves printable ASCII as it
// is. The error says what the text must not be or hold.
func Opaque(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", fmt.Errorf("%q is no text for STUN credentials: it is not UTF-8", text)
	}
	prepared, err := precis.OpaqueString.String(text)
	if err != nil {
		return "", fmt.Errorf("%q is no text for STUN credentials (RFC 8265, OpaqueString): %w", text, err)
	}
	return prepared, nil
}

// PasswordAlgorithm says how a password becomes a key (RFC 8489 section 18.5).
type PasswordAlgorithm uint16

// The algorithms of the registry.
const (
	PasswordMD5    PasswordAlgorithm = 1
	PasswordSHA256 PasswordAlgorithm = 2
)

// String is the registry's name.
func (a PasswordAlgorithm) String() string {
	switch a {
	case PasswordMD5:
		return "MD5"
	case PasswordSHA256:
		return "SHA-256"
	}
	return fmt.Sprintf("password algorithm %d", uint16(a))
}

// Key is the key of the long-term mechanism (RFC 8489 section 18.5.1); nil for an
// algorithm that is not in the registry. Text outside ASCII has to be prepared by
// the caller: see Opaque.
func (a PasswordAlgorithm) Key(username, realm, password string) []byte {
	switch a {
	case PasswordMD5:
		sum := md5.Sum(longTerm(username, realm, password))
		return sum[:]
	case PasswordSHA256:
		sum := sha256.Sum256(longTerm(username, realm, password))
		return sum[:]
	}
	return nil
}

// PasswordAlgorithms is the value of PASSWORD-ALGORITHMS, in the server's order of
// preference (RFC 8489 section 14.11). Both algorithms of the registry have no
// parameters.
type PasswordAlgorithms []PasswordAlgorithm

// Value is the attribute's value.
func (as PasswordAlgorithms) Value() []byte {
	var v []byte
	for _, a := range as {
		v = binary.BigEndian.AppendUint16(v, uint16(a))
		v = append(v, 0, 0)
	}
	return v
}

// ParsePasswordAlgorithms reads the value of PASSWORD-ALGORITHMS, or of
// PASSWORD-ALGORITHM, which holds one. Algorithms with parameters, which we know
// none of, are left out. False: the value is malformed.
func ParsePasswordAlgorithms(value []byte) (as PasswordAlgorithms, ok bool) {
	for len(value) > 0 {
		if len(value) < attributeHeader {
			return nil, false
		}
		size := int(binary.BigEndian.Uint16(value[2:]))
		next := attributeHeader + (size+3)&^3
		if len(value) < attributeHeader+size {
			return nil, false
		}
		if size == 0 {
			as = append(as, PasswordAlgorithm(binary.BigEndian.Uint16(value)))
		}
		value = value[min(next, len(value)):] // a last one may lack its padding
	}
	return as, true
}

// Choose is the first algorithm that we know, or zero.
func (as PasswordAlgorithms) Choose() PasswordAlgorithm {
	i := slices.IndexFunc(as, func(a PasswordAlgorithm) bool { return a == PasswordMD5 || a == PasswordSHA256 })
	if i < 0 {
		return 0
	}
	return as[i]
}

// Userhash is the value of USERHASH (RFC 8489 section 14.4), which hides the name
// from whoever reads the packets. Text outside ASCII has to be prepared by the
// caller: see Opaque.
func Userhash(username, realm string) [sha256.Size]byte {
	return sha256.Sum256([]byte(username + ":" + realm))
}

// Security are the security features that a server declares in its nonces (RFC 8489
// section 18.1), so that nobody on the way can pretend that it lacks them.
type Security uint32

// The features; bit 0 is the leftmost of 24.
const (
	SecurityPasswordAlgorithms Security = 1 << 23
	SecurityUsernameAnonymity  Security = 1 << 22

	// The sample of RFC 8489 appendix B.1 counts from the right.
	passwordAlgorithmsRight Security = 1 << 0
	usernameAnonymityRight  Security = 1 << 1
)

// nonceCookie begins a nonce that declares features (RFC 8489 section 9.2).
const nonceCookie = "obMatJos2"

// cookieSize is the length of the cookie with the features.
const cookieSize = len(nonceCookie) + 4

// Cookie is how a nonce that declares the features begins.
func (s Security) Cookie() string {
	return nonceCookie + base64.StdEncoding.EncodeToString([]byte{byte(s >> 16), byte(s >> 8), byte(s)})
}

// SecurityOf reads the features that a nonce declares, counted from either side.
// False: it declares nothing, as a server of RFC 5389.
func SecurityOf(nonce []byte) (s Security, ok bool) {
	if len(nonce) < cookieSize || !strings.HasPrefix(string(nonce), nonceCookie) {
		return 0, false
	}
	var raw [3]byte
	if _, err := base64.StdEncoding.Decode(raw[:], nonce[len(nonceCookie):cookieSize]); err != nil {
		return 0, false
	}
	s = Security(raw[0])<<16 | Security(raw[1])<<8 | Security(raw[2])
	if s&passwordAlgorithmsRight != 0 {
		s |= SecurityPasswordAlgorithms
	}
	if s&usernameAnonymityRight != 0 {
		s |= SecurityUsernameAnonymity
	}
	return s &^ (passwordAlgorithmsRight | usernameAnonymityRight), true
}

// AddTo implements stun.Setter: PASSWORD-ALGORITHMS.
func (as PasswordAlgorithms) AddTo(m *stun.Message) error {
	return Attribute{Type: stun.AttrPasswordAlgorithms, Value: as.Value()}.AddTo(m)
}
