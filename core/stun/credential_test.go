package stun

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// rfc8489Request is the sample request of RFC 8489 appendix B.1 as its erratum has it
// and other implementations test it: with PASSWORD-ALGORITHM, a length that is right,
// and the HMAC-SHA256 of that. As printed it is no STUN message.
const rfc8489Request = `
	000100902112a44278ad3433c6ad72c029da412e
	001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704
	001500296f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c394653547679363473 41000000
	0014000b6578616d706c652e6f726700
	001d000400020000
	001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65`

const rfc8489Username, rfc8489Realm = "\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9", "example.org"

func TestRFC8489(t *testing.T) {
	raw := packet(t, rfc8489Request)
	m, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	value, _ := m.Get(stun.AttrPasswordAlgorithm)
	as, ok := ParsePasswordAlgorithms(value)
	if !ok || as.Choose() != PasswordSHA256 {
		t.Errorf("PASSWORD-ALGORITHM %x is %v, want SHA-256", value, as)
	}
	hash, _ := m.Get(stun.AttrUserhash)
	if want := Userhash(rfc8489Username, rfc8489Realm); !bytes.Equal(hash, want[:]) {
		t.Errorf("USERHASH %x, want %x", hash, want)
	}
	nonce, _ := m.Get(stun.AttrNonce)
	if s, ok := SecurityOf(nonce); !ok || s != SecurityUsernameAnonymity {
		t.Errorf("the nonce declares %06x, want username anonymity", s)
	}
	key := IntegritySHA256(as.Choose().Key(rfc8489Username, rfc8489Realm, "TheMatrIX"))
	if err := key.Check(m); err != nil {
		t.Errorf("the right key: %v", err)
	}
	if err := IntegritySHA256(PasswordMD5.Key(rfc8489Username, rfc8489Realm, "TheMatrIX")).Check(m); !errors.Is(err, ErrWrongIntegrity) {
		t.Errorf("a wrong key: %v", err)
	}
	for i := range raw {
		damaged := bytes.Clone(raw)
		damaged[i] ^= 0x01
		if m, err := Parse(damaged); err == nil && key.Check(m) == nil {
			t.Errorf("byte %d damaged: still parsed and authentic", i)
		}
	}
}

// TestIntegritySHA256IsCut: RFC 8489 section 14.6 permits 16 to 32 bytes.
func TestIntegritySHA256IsCut(t *testing.T) {
	key := IntegritySHA256("key")
	for size := range 40 {
		// The HMAC is over a header whose length counts what is left of the HMAC.
		m := build(t, stun.ClassRequest, Uint32(stun.AttrLifetime, 1))
		d := digestsSHA256.Get().(*digest)
		tag := append(bytes.Clone(d.sum(key, m.Raw, size)), make([]byte, 8)...)
		m.Add(stun.AttrMessageIntegritySHA256, tag[:size])
		parsed, err := Parse(m.Raw)
		if good := size >= 16 && size <= 32 && size%4 == 0; !good {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%d bytes: %v, want ErrMalformed", size, err)
			}
			continue
		}
		if err != nil || key.Check(parsed) != nil {
			t.Errorf("%d bytes: %v, %v", size, err, key.Check(parsed))
		}
		m.Raw[len(m.Raw)-1] ^= 1
		if parsed, err = Parse(m.Raw); err != nil || !errors.Is(key.Check(parsed), ErrWrongIntegrity) {
			t.Errorf("%d bytes, the last one wrong: taken", size)
		}
	}
}

// TestBothIntegrities: with both attributes each is checked by its own key; of what
// stands between them nothing counts.
func TestBothIntegrities(t *testing.T) {
	sha1, sha256 := ShortTerm("one"), IntegritySHA256("two")
	m := build(t, stun.ClassRequest, Uint32(stun.AttrPriority, 1), sha1)
	m.Add(stun.AttrUseCandidate, nil)
	if err := sha256.AddTo(m); err != nil {
		t.Fatal(err)
	}
	m.Add(stun.AttrSoftware, []byte("late"))
	parsed, err := Parse(m.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sha1.Check(parsed), sha256.Check(parsed)); err != nil {
		t.Errorf("both are right: %v", err)
	}
	if parsed.Contains(stun.AttrUseCandidate) || parsed.Contains(stun.AttrSoftware) {
		t.Errorf("attributes left: %v", parsed.Attributes)
	}
	alone := build(t, stun.ClassRequest, sha256, Uint32(stun.AttrPriority, 1), sha1, stun.Fingerprint)
	if parsed, err = Parse(alone.Raw); err != nil || len(parsed.Attributes) != 2 {
		t.Errorf("after MESSAGE-INTEGRITY-SHA256 alone: %v, %v; want FINGERPRINT only", parsed.Attributes, err)
	}
	if err := sha256.Check(build(t, stun.ClassRequest, sha1)); !errors.Is(err, ErrNoIntegrity) {
		t.Errorf("MESSAGE-INTEGRITY-SHA256 missing: %v", err)
	}
}

func TestWriterSignsWithSHA256(t *testing.T) {
	key := IntegritySHA256(bytes.Repeat([]byte("long"), 40))
	want := build(t, stun.ClassRequest, Uint32(stun.AttrPriority, 7), key, stun.Fingerprint)
	w := Write(stun.MethodBinding, stun.ClassRequest, id, 8)
	w.Uint32(stun.AttrPriority, 7)
	w.SignSHA256(nil)
	w.SignSHA256(key)
	w.Fingerprint()
	if got := w.Raw(); !bytes.Equal(got, want.Raw) {
		t.Errorf("%x, want %x", got, want.Raw)
	}
}

func TestPasswordAlgorithms(t *testing.T) {
	for _, c := range []struct {
		value  []byte
		want   PasswordAlgorithms
		choose PasswordAlgorithm
		ok     bool
	}{
		{PasswordAlgorithms{PasswordSHA256, PasswordMD5}.Value(), PasswordAlgorithms{PasswordSHA256, PasswordMD5}, PasswordSHA256, true},
		{[]byte{0, 9, 0, 0, 0, 1, 0, 0}, PasswordAlgorithms{9, PasswordMD5}, PasswordMD5, true},
		{[]byte{0, 2, 0, 1, 7, 0, 0, 0, 0, 1, 0, 0}, PasswordAlgorithms{PasswordMD5}, PasswordMD5, true}, // parameters, padded
		{[]byte{0, 2, 0, 1, 7}, nil, 0, true},
		{nil, nil, 0, true},
		{[]byte{0, 2, 0}, nil, 0, false},
		{[]byte{0, 2, 0, 5, 1}, nil, 0, false},
	} {
		got, ok := ParsePasswordAlgorithms(c.value)
		if ok != c.ok || !slices.Equal(got, c.want) || got.Choose() != c.choose {
			t.Errorf("%x: %v, %v, chosen %v; want %v, %v, %v", c.value, got, ok, got.Choose(), c.want, c.ok, c.choose)
		}
	}
	if PasswordAlgorithm(7).Key("u", "r", "p") != nil {
		t.Error("an algorithm that nobody knows has a key")
	}
}

// TestOpaque: RFC 8265 section 4.2. The password of RFC 5769's and RFC 8489's samples
// was prepared with SASLprep, which drops a soft hyphen; OpaqueString refuses it.
func TestOpaque(t *testing.T) {
	for text, want := range map[string]string{
		"alice":                   "alice",
		"Se cret!~":               "Se cret!~",
		rfc8489Username:           rfc8489Username,
		"e\u0301":                 "\u00e9",       // composed: NFC
		"a\u00a0b\u3000c":         "a b c",        // spaces become U+0020
		"1700000000:n":            "1700000000:n", // time-limited
		"\u2168":                  "\u2168",       // compatibility forms stay
		"":                        "",             // refused
		"a\tb":                    "",             // control characters
		"M\u00ad":                 "",             // soft hyphen
		string([]byte{'a', 0xff}): "",             // not UTF-8
	} {
		got, err := Opaque(text)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestSecurityOfNonces(t *testing.T) {
	both := SecurityPasswordAlgorithms | SecurityUsernameAnonymity
	for nonce, want := range map[string]Security{
		both.Cookie() + "x":                 both,
		SecurityPasswordAlgorithms.Cookie(): SecurityPasswordAlgorithms,
		"obMatJos2gAAAmore":                 SecurityPasswordAlgorithms,
		"obMatJos2AAABmore":                 SecurityPasswordAlgorithms, // counted from the right
		"obMatJos2AAADmore":                 both,
		"obMatJos2AAAA":                     0,
	} {
		if got, ok := SecurityOf([]byte(nonce)); !ok || got != want {
			t.Errorf("%s declares %06x (%v), want %06x", nonce, got, ok, want)
		}
	}
	for _, nonce := range []string{"", "obMatJos2", "obMatJos2gAA", "obMatJos2!!!!", "ObMatJos2gAAA"} {
		if s, ok := SecurityOf([]byte(nonce)); ok {
			t.Errorf("%q declares %06x", nonce, s)
		}
	}
}

// TestDeclaredNonces: what a nonce declares cannot be changed on the way, nor be taken
// from it or put before it.
func TestDeclaredNonces(t *testing.T) {
	n, err := NewNonces(rand.NewChaCha8([32]byte{1}), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	source := netip.MustParseAddrPort("192.0.2.1:1000")
	plain := n.Issue(start, source)
	n.Declare(SecurityPasswordAlgorithms)
	nonce := n.Issue(start, source)
	n.Declare(SecurityPasswordAlgorithms | SecurityUsernameAnonymity)
	for text, want := range map[string]bool{
		plain: true, nonce: true, n.Issue(start, source): true,
		nonce[cookieSize:]:                                      false,
		SecurityPasswordAlgorithms.Cookie() + plain:             false,
		Security(0).Cookie() + nonce[cookieSize:]:               false,
		SecurityUsernameAnonymity.Cookie() + nonce[cookieSize:]: false,
	} {
		if got := n.Valid(start, source, []byte(text)); got != want {
			t.Errorf("%q: valid %v, want %v", text, got, want)
		}
	}
}

// FuzzCredentials: values of attributes that come before anybody is known.
func FuzzCredentials(f *testing.F) {
	f.Add([]byte("obMatJos2gAAAmore"))
	f.Add(PasswordAlgorithms{PasswordSHA256, PasswordMD5}.Value())
	f.Add([]byte{0, 2, 0, 1, 7})
	f.Fuzz(func(t *testing.T, value []byte) {
		if s, ok := SecurityOf(value); ok && len(s.Cookie()) != cookieSize {
			t.Errorf("%q declares %x, which is written %q", value, s, s.Cookie())
		}
		if as, ok := ParsePasswordAlgorithms(value); ok {
			again, ok := ParsePasswordAlgorithms(as.Value())
			if !ok || !slices.Equal(again, as) {
				t.Errorf("%x reads %v, which is written %x", value, as, as.Value())
			}
		}
		if text, err := Opaque(string(value)); err == nil {
			if again, err := Opaque(text); err != nil || again != text {
				t.Errorf("%q becomes %q, and that %q (%v)", value, text, again, err)
			}
		}
	})
}
