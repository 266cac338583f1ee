package pass

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/insidev1"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// key gives one of several keys, always the same.
func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func public(n byte) ed25519.PublicKey { return key(n).Public().(ed25519.PublicKey) }

func of(session string, gen uint64, ends time.Duration) *insidev1.Pass {
	return &insidev1.Pass{
		Session: session, Player: "ann", Rating: -12, Generation: gen,
		ExpiresMs: start.Add(ends).UnixMilli(), Agent: "agent-1",
	}
}

func sign(t testing.TB, n byte, p *insidev1.Pass) []byte {
	t.Helper()
	raw, err := Sign(key(n), p)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAPassSaysWhatWasSigned(t *testing.T) {
	v := New(public(1), public(2))
	for _, n := range []byte{1, 2} {
		want := of("s", uint64(n), time.Minute)
		for range 2 { // the second time out of the cache
			got, err := v.Verify(sign(t, n, want), start)
			if err != nil || !proto.Equal(got, want) {
				t.Errorf("key %d: got %v, %v; signed was %v", n, got, err, want)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	good := sign(t, 1, of("s", 1, time.Minute))
	body := good[:len(good)-ed25519.SignatureSize]
	flipped := func(i int) []byte {
		b := bytes.Clone(good)
		b[i] ^= 1
		return b
	}
	signing := func(body []byte) []byte { return append(bytes.Clone(body), ed25519.Sign(key(1), signed(body))...) }
	for _, c := range []struct {
		name string
		raw  []byte
		at   time.Duration
		want error
	}{
		{"none", nil, 0, ErrMissing},
		{"a signature and nothing else", signing(nil), 0, ErrMalformed},
		{"shorter than a signature", good[:20], 0, ErrMalformed},
		{"oversized", make([]byte, MaxSize+1), 0, ErrMalformed},
		{"another key", sign(t, 3, of("s", 1, time.Minute)), 0, ErrSignature},
		{"a changed body", flipped(0), 0, ErrSignature},
		{"a changed signature", flipped(len(good) - 1), 0, ErrSignature},
		{"signed for another purpose", append(bytes.Clone(body), ed25519.Sign(key(1), body)...), 0, ErrSignature},
		{"signed rubbish", signing([]byte{0xff, 0xff}), 0, ErrMalformed},
		{"no session", signing(mustMarshal(t, &insidev1.Pass{ExpiresMs: start.Add(time.Minute).UnixMilli()})), 0, ErrMalformed},
		{"at its end", good, time.Minute, ErrExpired},
		{"just before its end", good, time.Minute - time.Millisecond, nil},
		{"far too long a life", sign(t, 1, of("s", 1, 11*time.Minute)), 0, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := New(public(1), public(2)).Verify(c.raw, start.Add(c.at))
			if !errors.Is(err, c.want) || (p == nil) != (c.want != nil) {
				t.Errorf("got %v, %v; wanted error %v", p, err, c.want)
			}
		})
	}
}

func mustMarshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestANewAttachmentEndsEarlierPasses(t *testing.T) {
	v := New(public(1))
	first, second, renewed := sign(t, 1, of("s", 1, time.Minute)), sign(t, 1, of("s", 2, time.Minute)), sign(t, 1, of("s", 2, 2*time.Minute))
	for i, c := range []struct {
		raw  []byte
		at   time.Duration
		want error
	}{
		{first, 0, nil}, {second, 1, nil}, {first, 2, ErrSuperseded}, {renewed, 3, nil}, {second, 4, nil},
		{sign(t, 1, of("other", 1, time.Minute)), 5, nil},
		{first, 30 * time.Second, ErrSuperseded},
		{second, time.Minute, ErrExpired},
	} {
		if _, err := v.Verify(c.raw, start.Add(c.at)); !errors.Is(err, c.want) {
			t.Errorf("step %d: got %v, wanted %v", i, err, c.want)
		}
	}
}

func TestSignedAsksForTheSignatureOnly(t *testing.T) {
	v, old := New(public(1)), sign(t, 1, of("s", 1, -time.Hour))
	for range 2 {
		if p, err := v.Signed(old); err != nil || p.Session != "s" {
			t.Errorf("%v, %v", p, err)
		}
	}
	if _, err := v.Signed(sign(t, 2, of("s", 1, time.Minute))); !errors.Is(err, ErrSignature) {
		t.Errorf("another's key: %v", err)
	}
	if _, err := v.Signed(nil); !errors.Is(err, ErrMissing) {
		t.Errorf("no pass: %v", err)
	}
}

func TestKeysChangeWithoutARestart(t *testing.T) {
	v, raw := New(), sign(t, 1, of("s", 1, time.Minute))
	for i, c := range []struct {
		keys []ed25519.PublicKey
		want error
	}{
		{nil, ErrSignature},
		{[]ed25519.PublicKey{public(1)}, nil},
		{[]ed25519.PublicKey{public(2), public(1)}, nil},
		{[]ed25519.PublicKey{public(2), {1, 2, 3}}, ErrSignature}, // also what was good before
	} {
		v.SetKeys(c.keys...)
		if _, err := v.Verify(raw, start); !errors.Is(err, c.want) {
			t.Errorf("step %d: got %v, wanted %v", i, err, c.want)
		}
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	v, k := New(public(1)), key(1)
	for i := range 2*cached + 100 {
		p := of(fmt.Sprint("s", i), 1, time.Minute)
		// Remembered without the cost of a signature each.
		v.remember(fmt.Sprint(i), p)
		if err := v.attached(p, start.Add(time.Minute), start); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(v.young) + len(v.old); n > 2*cached {
		t.Errorf("%d passes are remembered, at most %d may be", n, 2*cached)
	}
	raw, err := Sign(k, of("late", 1, 3*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(raw, start.Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if len(v.newest) != 1 {
		t.Errorf("%d sessions are remembered after all but one pass expired", len(v.newest))
	}
}

func TestSignRefusesWhatNobodyWouldAccept(t *testing.T) {
	for name, p := range map[string]*insidev1.Pass{
		"no session": {ExpiresMs: 1}, "no end": {Session: "s"},
		"too long": {Session: string(make([]byte, MaxSize)), ExpiresMs: 1},
	} {
		if raw, err := Sign(key(1), p); err == nil {
			t.Errorf("%s: signed, %d bytes", name, len(raw))
		}
	}
	if _, err := Sign(nil, of("s", 1, 0)); err == nil {
		t.Error("signed without a key")
	}
}

func BenchmarkVerifyKnown(b *testing.B) {
	v, raw := New(public(1)), sign(b, 1, of("s", 1, time.Minute))
	for b.Loop() {
		if _, err := v.Verify(raw, start); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyNew(b *testing.B) {
	v, raw := New(public(1)), sign(b, 1, of("s", 1, time.Minute))
	for b.Loop() {
		if _, err := open(v.keys, raw); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzVerify: whatever arrives, only what a known key signed is believed.
func FuzzVerify(f *testing.F) {
	f.Add(sign(f, 1, of("s", 1, time.Minute)))
	f.Add(sign(f, 2, of("s", 1, time.Minute)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := New(public(1)).Verify(raw, start)
		if (p == nil) == (err == nil) {
			t.Fatalf("%v and %v", p, err)
		}
		if err == nil && !ed25519.Verify(public(1), signed(raw[:len(raw)-64]), raw[len(raw)-64:]) {
			t.Fatalf("believed without a signature: %x", raw)
		}
		// A body is decoded only after its signature is good; here also without.
		q, err := open([]ed25519.PublicKey{public(1)}, append(bytes.Clone(raw), ed25519.Sign(key(1), signed(raw))...))
		if err == nil && (q.Session == "" || q.ExpiresMs <= 0) {
			t.Fatalf("an empty pass was believed: %x", raw)
		}
	})
}
