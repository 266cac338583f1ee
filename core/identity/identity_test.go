package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func seed(b byte) (s [Size]byte) {
	for i := range s {
		s[i] = b
	}
	return s
}

func unhex(t *testing.T, s string) [Size]byte {
	t.Helper()
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != Size {
		t.Fatalf("test vector %q: %d bytes, %v", s, len(raw), err)
	}
	return [Size]byte(raw)
}

// TestRFC7748 takes the key pairs and the secret of RFC 7748 section 6.1.
func TestRFC7748(t *testing.T) {
	alice := KeyFromSeed(unhex(t, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
	bob := KeyFromSeed(unhex(t, "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
	if want := ID(unhex(t, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")); alice.ID() != want {
		t.Errorf("Alice's public key is %x, want %x", alice.ID(), want)
	}
	if want := ID(unhex(t, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")); bob.ID() != want {
		t.Errorf("Bob's public key is %x, want %x", bob.ID(), want)
	}
	want := unhex(t, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
	for name, secret := range map[string]func() ([]byte, error){
		"Alice": func() ([]byte, error) { return alice.Shared(bob.ID()) },
		"Bob":   func() ([]byte, error) { return bob.Shared(alice.ID()) },
	} {
		if got, err := secret(); err != nil || !bytes.Equal(got, want[:]) {
			t.Errorf("%s computes %x (%v), want %x", name, got, err, want)
		}
	}
}

func TestTextForms(t *testing.T) {
	key := KeyFromSeed(seed(7))
	text := key.ID().String()
	if len(text) != 52 || text != strings.ToLower(text) {
		t.Errorf("text form %q: want 52 lower-case characters", text)
	}
	for _, form := range []string{text, strings.ToUpper(text), "  " + text + "\n"} {
		if got, err := ParseID(form); err != nil || got != key.ID() {
			t.Errorf("ParseID(%q) = %v, %v; want %v", form, got, err, key.ID())
		}
	}
	if got, err := ParseKey(key.Secret()); err != nil || got.ID() != key.ID() {
		t.Errorf("ParseKey(Secret()) = %v, %v; want %v", got, err, key)
	}
	for _, form := range []string{fmt.Sprint(key), fmt.Sprintf("%#v", key), fmt.Sprintf("%+v", struct{ K Key }{key})} {
		if strings.Contains(form, key.Secret()) {
			t.Errorf("printing a key shows its secret: %q", form)
		}
	}
	raw, err := json.Marshal(map[string]ID{"peer": key.ID()})
	if err != nil || string(raw) != `{"peer":"`+text+`"}` {
		t.Errorf("JSON form is %s (%v)", raw, err)
	}
}

func TestBadText(t *testing.T) {
	for name, text := range map[string]string{
		"empty":        "",
		"not base32":   strings.Repeat("1", 52),
		"too short":    KeyFromSeed(seed(1)).ID().String()[:50],
		"too long":     KeyFromSeed(seed(1)).ID().String() + "aaaaaaaa",
		"with padding": KeyFromSeed(seed(1)).ID().String() + "====",
	} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("%s: ParseID(%q) = %v, want an error", name, text, id)
		}
	}
	secret := KeyFromSeed(seed(9)).Secret()
	if _, err := ParseKey(secret[:51] + "!"); err == nil || strings.Contains(err.Error(), secret[:20]) {
		t.Errorf("ParseKey of a damaged secret: error %v; want one that does not repeat the secret", err)
	}
}

// TestLowOrderPoint: with none of the points of low order, nor with another way to write
// one (p is 2^255-19, and the highest bit counts for nothing), a secret is shared.
func TestLowOrderPoint(t *testing.T) {
	for _, point := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", // 0
		"0100000000000000000000000000000000000000000000000000000000000000", // 1
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", // of order 8
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p-1
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p+1
	} {
		for _, high := range []byte{0, 0x80} {
			id := ID(unhex(t, point))
			id[Size-1] |= high
			if secret, err := KeyFromSeed(seed(1)).Shared(id); !errors.Is(err, ErrUnusable) || secret != nil {
				t.Errorf("a shared secret with %x: %x, %v; want ErrUnusable", id, secret, err)
			}
		}
	}
}

// asTheStandardLibrary compares a key pair, and what it shares with a point, with
// crypto/ecdh's.
func asTheStandardLibrary(t *testing.T, private, point [Size]byte) {
	t.Helper()
	reference, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		t.Fatal(err)
	}
	key := KeyFromSeed(private)
	if id := key.ID(); !bytes.Equal(id[:], reference.PublicKey().Bytes()) {
		t.Errorf("the public key of %x is %x, want %x", private, id, reference.PublicKey().Bytes())
	}
	other, err := ecdh.X25519().NewPublicKey(point[:])
	if err != nil {
		t.Fatal(err)
	}
	want, wantErr := reference.ECDH(other)
	got, err := key.Shared(point)
	if (err != nil) != (wantErr != nil) || !bytes.Equal(got, want) {
		t.Errorf("%x with %x: %x (%v), want %x (%v)", private, point, got, err, want, wantErr)
	}
}

// TestAsTheStandardLibrary: of any private key and any 32 bytes.
func TestAsTheStandardLibrary(t *testing.T) {
	random := rand.NewChaCha8(seed(11))
	var private, point [Size]byte
	for i := range 500 {
		_, _ = random.Read(private[:]) // never fails
		_, _ = random.Read(point[:])
		if i%4 == 0 { // around p and around 2^255
			for j := 1; j < Size; j++ {
				point[j] = 0xff
			}
			point[Size-1] = 0x7f | point[0]<<7
		}
		asTheStandardLibrary(t, private, point)
	}
}

// FuzzShared: the same, wherever that leads.
func FuzzShared(f *testing.F) {
	one, two := seed(1), KeyFromSeed(seed(2)).ID()
	f.Add(one[:], two[:])
	f.Add(one[:], make([]byte, Size))
	f.Add(bytes.Repeat([]byte{0xff}, Size), bytes.Repeat([]byte{0xff}, Size))
	f.Fuzz(func(t *testing.T, private, point []byte) {
		if len(private) == Size && len(point) == Size {
			asTheStandardLibrary(t, [Size]byte(private), [Size]byte(point))
		}
	})
}

func TestNewKeyIsDeterminedByItsReader(t *testing.T) {
	s := seed(5)
	key, err := NewKey(bytes.NewReader(s[:]))
	if err != nil || key.ID() != KeyFromSeed(s).ID() {
		t.Errorf("NewKey = %v, %v; want %v", key, err, KeyFromSeed(s))
	}
	if _, err := NewKey(bytes.NewReader(s[:31])); err == nil {
		t.Error("NewKey of a reader with 31 bytes: want an error")
	}
}

func TestDerive(t *testing.T) {
	secret := bytes.Repeat([]byte{1}, Size)
	base := Derive(secret, "x", []byte("ab"), []byte("c"))
	if !bytes.Equal(base, Derive(secret, "x", []byte("ab"), []byte("c"))) {
		t.Error("the same inputs give two keys")
	}
	for name, other := range map[string][]byte{
		"another label":            Derive(secret, "y", []byte("ab"), []byte("c")),
		"another split of context": Derive(secret, "x", []byte("a"), []byte("bc")),
		"context joined":           Derive(secret, "x", []byte("abc")),
		"label and context joined": Derive(secret, "xab", []byte("c")),
		"another secret":           Derive(bytes.Repeat([]byte{2}, Size), "x", []byte("ab"), []byte("c")),
	} {
		if bytes.Equal(base, other) {
			t.Errorf("%s gives the same key", name)
		}
	}
}

// TestDeriverIsHKDF: of RFC 5869, as the standard library has it.
func TestDeriverIsHKDF(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, Size)
	d := NewDeriver(secret)
	for _, label := range []string{"checks", "data", "checks"} {
		info := []byte("\x00\x00\x00")
		info = append(info, byte(len("p2pmodel ")+len(label)))
		info = append(info, "p2pmodel "+label+"\x00\x00\x00\x02ab"...)
		want, err := hkdf.Key(sha256.New, secret, nil, string(info), Size)
		if got := d.Key(label, []byte("ab")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x (%v)", label, got, want, err)
		}
	}
}

// TestCircle: its keys share what they would share without it, whoever asks and
// however often, and with others as well.
func TestCircle(t *testing.T) {
	var keys []Key
	for i := range 5 {
		keys = append(keys, KeyFromSeed(seed(byte(i+1))))
	}
	stranger := KeyFromSeed(seed(99)).ID()
	members := Circle(keys...)
	for range 2 {
		for i, k := range members {
			for j, o := range members {
				want, _ := keys[i].Shared(keys[j].ID())
				if got, err := k.Shared(o.ID()); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d with %d: %x (%v), want %x", i, j, got, err, want)
				}
			}
			want, _ := keys[i].Shared(stranger)
			if got, err := k.Shared(stranger); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d with a stranger: %x (%v), want %x", i, got, err, want)
			}
		}
	}
	if _, err := members[0].Shared(ID{}); !errors.Is(err, ErrUnusable) {
		t.Errorf("a member with the all-zero key: %v, want ErrUnusable", err)
	}
	secret, _ := members[0].Shared(members[1].ID())
	secret[0]++
	if again, _ := members[0].Shared(members[1].ID()); bytes.Equal(again, secret) {
		t.Error("who gets a secret can change what is remembered of it")
	}
}

func BenchmarkShared(b *testing.B) {
	key, other := KeyFromSeed(seed(1)), KeyFromSeed(seed(2)).ID()
	for b.Loop() {
		if _, err := key.Shared(other); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzParseID: whatever is accepted is written back the same.
func FuzzParseID(f *testing.F) {
	f.Add(KeyFromSeed(seed(3)).ID().String())
	f.Add("")
	f.Add(strings.Repeat("a", 52))
	f.Add(strings.Repeat("z", 52))
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if err != nil {
			return
		}
		if again, err := ParseID(id.String()); err != nil || again != id {
			t.Errorf("ParseID(%q) = %v, whose text form reads as %v (%v)", text, id, again, err)
		}
	})
}

// FuzzParseKey: whatever is accepted is written back the same, and errors do not tell
// what they refuse.
func FuzzParseKey(f *testing.F) {
	f.Add(KeyFromSeed(seed(3)).Secret())
	f.Add(" " + strings.ToUpper(KeyFromSeed(seed(4)).Secret()) + "\n")
	f.Add("")
	f.Add(strings.Repeat("z", 52))
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKey(text)
		if err != nil {
			if len(text) > 40 && strings.Contains(err.Error(), text) {
				t.Errorf("the error repeats a key: %v", err)
			}
			return
		}
		if again, err := ParseKey(k.Secret()); err != nil || again.ID() != k.ID() {
			t.Errorf("ParseKey(%q) reads back as %v (%v)", text, again, err)
		}
	})
}
