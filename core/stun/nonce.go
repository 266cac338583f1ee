package stun

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"net/netip"
	"time"
)

const (
	nonceTagSize = 8
	// DefaultNonceLifetime is how long a nonce may be used, as RFC 8656
	// section 5 recommends at least hourly change.
	DefaultNonceLifetime = time.Hour
)

// nonceEncoding is legal inside a quoted-string, as NONCE has to be.
var nonceEncoding = base64.RawURLEncoding

// Nonces issues and checks nonces without remembering them: a nonce carries its
// time and an HMAC over that time and the source, so it proves that whoever
// sends it received what we sent to that address, and a flood of first requests
// costs no memory. They are not safe for concurrent use.
type Nonces struct {
	cookie   string
	mac      hash.Hash
	lifetime time.Duration
	buffer   [sha256.Size]byte
}

// NewNonces draws the secret from r. A lifetime of zero is
// DefaultNonceLifetime; seconds count.
func NewNonces(r io.Reader, lifetime time.Duration) (*Nonces, error) {
	n := &Nonces{lifetime: lifetime}
	if n.lifetime == 0 {
		n.lifetime = DefaultNonceLifetime
	}
	var secret [32]byte
	if _, err := io.ReadFull(r, secret[:]); err != nil {
		return nil, fmt.Errorf("draw the secret of nonces: %w", err)
	}
	n.mac = hmac.New(sha256.New, secret[:])
	return n, nil
}

// Declare has the nonces that are issued from now on begin with the cookie of these
// features. Those issued before stay good.
func (n *Nonces) Declare(s Security) { n.cookie = s.Cookie() }

// Issue gives the nonce for a source at a time.
func (n *Nonces) Issue(now time.Time, source netip.AddrPort) string {
	seconds := uint32(now.Unix())
	raw := binary.BigEndian.AppendUint32(make([]byte, 0, 4+nonceTagSize), seconds)
	return n.cookie + nonceEncoding.EncodeToString(append(raw, n.tag([]byte(n.cookie), seconds, source)...))
}

// Valid reports whether the nonce was issued to this source and is not stale.
func (n *Nonces) Valid(now time.Time, source netip.AddrPort, nonce []byte) bool {
	var cookie []byte
	if _, declares := SecurityOf(nonce); declares {
		cookie, nonce = nonce[:cookieSize], nonce[cookieSize:]
	}
	var raw [4 + nonceTagSize]byte
	if nonceEncoding.DecodedLen(len(nonce)) != len(raw) {
		return false
	}
	if _, err := nonceEncoding.Strict().Decode(raw[:], nonce); err != nil {
		return false
	}
	seconds := binary.BigEndian.Uint32(raw[:4])
	if !hmac.Equal(raw[4:], n.tag(cookie, seconds, source)) {
		return false
	}
	// Modulo 2³²: right in 2106, too.
	age := uint32(now.Unix()) - seconds
	return age <= uint32(n.lifetime/time.Second)
}

// tag is valid until the next call.
func (n *Nonces) tag(cookie []byte, seconds uint32, source netip.AddrPort) []byte {
	addr := source.Addr().Unmap().As16()
	b := binary.BigEndian.AppendUint32(n.buffer[:0], seconds)
	b = binary.BigEndian.AppendUint16(b, source.Port())
	n.mac.Reset()
	n.mac.Write(append(b, addr[:]...))
	n.mac.Write(cookie) // whoever changes what is declared has another nonce
	return n.mac.Sum(n.buffer[:0])[:nonceTagSize]
}
