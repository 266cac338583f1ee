package ticket

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/identity"
)

var (
	now   = time.Unix(1_800_000_000, 0)
	alice = identity.KeyFromSeed([identity.Size]byte{1: 1}).ID()
	bob   = identity.KeyFromSeed([identity.Size]byte{1: 2}).ID()
)

func signer(t testing.TB, seed byte) *Signer {
	t.Helper()
	s, err := NewSigner(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifier(t testing.TB, of ...*Signer) *Verifier {
	t.Helper()
	var keys []ed25519.PublicKey
	for _, s := range of {
		keys = append(keys, s.Public())
	}
	v, err := NewVerifier(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func sign(t testing.TB, s *Signer, what Ticket) []byte {
	t.Helper()
	raw, err := s.Sign(what)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestVerifyGivesWhatWasSigned(t *testing.T) {
	s := signer(t, 1)
	for _, mesh := range []string{"r", "room-abcdefghijkl", "Zimmer ü", strings.Repeat("m", MaxMesh)} {
		want := Ticket{Peer: alice, Mesh: mesh, Expires: now.Add(90 * time.Second)}
		raw := sign(t, s, want)
		if size := 109 + len(mesh); len(raw) != size || size > MaxSize {
			t.Errorf("mesh %q: %d bytes, want %d, at most %d", mesh, len(raw), size, MaxSize)
		}
		got, err := verifier(t, signer(t, 9), s).Verify(raw, now)
		if err != nil || got.Peer != want.Peer || got.Mesh != want.Mesh || !got.Expires.Equal(want.Expires) {
			t.Errorf("mesh %q: %+v, %v, want %+v", mesh, got, err, want)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	s, other := signer(t, 1), signer(t, 2)
	good := Ticket{Peer: alice, Mesh: "room", Expires: now.Add(time.Minute)}
	raw := sign(t, s, good)
	change := func(at int, b byte) []byte {
		c := bytes.Clone(raw)
		c[(at+len(c))%len(c)] ^= b
		return c
	}
	plain := bytes.Clone(raw[:len(raw)-signatureSize])
	plain = append(plain, ed25519.Sign(s.key, plain)...)
	for _, row := range []struct {
		name string
		raw  []byte
		at   time.Time
		peer identity.ID
		want error
	}{
		{"its last moment", raw, good.Expires.Add(-time.Nanosecond), alice, nil},
		{"its end", raw, good.Expires, alice, ErrExpired},
		{"long past", raw, now.Add(24 * time.Hour), alice, ErrExpired},
		{"another peer", raw, now, bob, ErrPeer},
		{"nothing", nil, now, alice, ErrMalformed},
		{"cut off", raw[:len(raw)-1], now, alice, ErrSignature},
		{"no mesh", append(bytes.Clone(raw[:meshAt]), raw[len(raw)-signatureSize:]...), now, alice, ErrMalformed},
		{"too long", append(bytes.Clone(raw), make([]byte, MaxMesh)...), now, alice, ErrMalformed},
		{"another version", change(0, 3), now, alice, ErrMalformed},
		{"an expiry that is none", change(expiresAt, 0x80), now, alice, ErrMalformed},
		{"an unknown key", change(1, 1), now, alice, ErrSignature},
		{"a later expiry", change(expiresAt+7, 1), now, alice, ErrSignature},
		{"another mesh", change(meshAt, 1), now, alice, ErrSignature},
		{"a changed signature", change(-1, 1), now, alice, ErrSignature},
		{"signed by another", sign(t, other, good), now, alice, ErrSignature},
		{"signed for another purpose", plain, now, alice, ErrSignature},
	} {
		_, err := verifier(t, s).VerifyFor(row.raw, row.peer, row.at)
		if !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	for at := peerAt; at < meshAt; at++ {
		c := change(at, 0x10)
		if _, err := verifier(t, s).Verify(c, now); !errors.Is(err, ErrSignature) {
			t.Errorf("byte %d of the peer changed: %v, want %v", at, err, ErrSignature)
		}
	}
}

func TestSignRefusesWhatVerifyWould(t *testing.T) {
	s := signer(t, 1)
	for name, bad := range map[string]Ticket{
		"no peer":      {Mesh: "m", Expires: now},
		"no mesh":      {Peer: alice, Expires: now},
		"a long mesh":  {Peer: alice, Mesh: strings.Repeat("m", MaxMesh+1), Expires: now},
		"no text":      {Peer: alice, Mesh: "\xff", Expires: now},
		"no expiry":    {Peer: alice, Mesh: "m"},
		"a far expiry": {Peer: alice, Mesh: "m", Expires: time.Unix(maxExpires+1, 0)},
	} {
		if raw, err := s.Sign(bad); err == nil {
			t.Errorf("%s: signed as %x, want an error", name, raw)
		}
	}
}

func TestKeysChange(t *testing.T) {
	old, fresh := signer(t, 1), signer(t, 2)
	raw := sign(t, old, Ticket{Peer: alice, Mesh: "m", Expires: now.Add(time.Hour)})
	for _, row := range []struct {
		name string
		v    *Verifier
		want bool
	}{
		{"before", verifier(t, old), true}, {"both", verifier(t, fresh, old), true},
		{"after", verifier(t, fresh), false}, {"none", verifier(t), false},
	} {
		if _, err := row.v.Verify(raw, now); (err == nil) != row.want || row.v.Trusts(raw) != row.want {
			t.Errorf("%s: verified: %v, trusted: %v, want %v", row.name, err, row.v.Trusts(raw), row.want)
		}
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	s := signer(t, 7)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s)} {
		if strings.Contains(text, s.Secret()) || strings.Contains(text, "7, 7") || strings.Contains(text, "0x7, 0x7") || !strings.Contains(text, FormatPublicKey(s.Public())) {
			t.Errorf("a signer is written as %s, want its public key only", text)
		}
	}
}

func FuzzVerify(f *testing.F) {
	s := signer(f, 1)
	good := sign(f, s, Ticket{Peer: alice, Mesh: "room", Expires: now.Add(time.Minute)})
	f.Add(good)
	f.Add(good[:meshAt+signatureSize])
	f.Add(sign(f, s, Ticket{Peer: bob, Mesh: strings.Repeat("m", MaxMesh), Expires: now.Add(-time.Minute)}))
	v := verifier(f, s)
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := v.Verify(raw, now)
		switch {
		case err == nil:
			if again := sign(t, s, got); !bytes.Equal(again, raw) {
				t.Errorf("%x was verified, but signed anew it is %x", raw, again)
			}
		case !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrExpired):
			t.Errorf("undeclared error %v", err)
		}
		// What decodes encodes alike, whoever signed it.
		if read, id, signed, _, err := decode(raw); err == nil && !bytes.Equal(read.appendTo(nil, id), signed) {
			t.Errorf("%x is read as %+v, which is %x", signed, read, read.appendTo(nil, id))
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s := signer(b, 1)
	for b.Loop() {
		sign(b, s, Ticket{Peer: alice, Mesh: "room-abcdefghijkl", Expires: now})
	}
}

func BenchmarkVerify(b *testing.B) {
	s := signer(b, 1)
	raw, v := sign(b, s, Ticket{Peer: alice, Mesh: "room-abcdefghijkl", Expires: now.Add(time.Hour)}), verifier(b, s)
	for b.Loop() {
		if _, err := v.Verify(raw, now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefuse is what a ticket costs that names no key of ours.
func BenchmarkRefuse(b *testing.B) {
	raw, v := sign(b, signer(b, 1), Ticket{Peer: alice, Mesh: "room", Expires: now.Add(time.Hour)}), verifier(b, signer(b, 2))
	for b.Loop() {
		if _, err := v.Verify(raw, now); !errors.Is(err, ErrSignature) {
			b.Fatal(err)
		}
	}
}
