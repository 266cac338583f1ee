package login_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/login"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func token(text string) *agentv1.LoginRequest {
	return &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: text}}
}

func newKey(t testing.TB) (login.Key, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return login.Key{Public: public}, private
}

func tokens(t testing.TB, keys ...login.Key) *login.Tokens {
	t.Helper()
	a, err := login.NewTokens(login.TokensConfig{Keys: keys, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// parts are a token's header and claims, to be changed before it is signed.
type parts struct{ header, claims map[string]any }

func good(key login.Key) parts {
	return parts{
		header: map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": login.KeyID(key.Public)},
		claims: map[string]any{
			"iss": login.Issuer, "aud": login.Audience, "sub": "ann", "rating": 1500, "jti": "0123456789abcdef", "exp": noon.Add(time.Hour).Unix(),
		},
	}
}

func (p parts) sign(t testing.TB, sign func(text []byte) []byte) string {
	t.Helper()
	b64 := base64.RawURLEncoding
	h, err := json.Marshal(p.header)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(p.claims)
	if err != nil {
		t.Fatal(err)
	}
	text := b64.EncodeToString(h) + "." + b64.EncodeToString(c)
	return text + "." + b64.EncodeToString(sign([]byte(text)))
}

func TestTokens(t *testing.T) {
	key, private := newKey(t)
	named, namedPrivate := newKey(t)
	named.ID = "2026-05"
	other, otherPrivate := newKey(t)
	_ = other
	a := tokens(t, key, named)
	by := func(k ed25519.PrivateKey) func([]byte) []byte {
		return func(text []byte) []byte { return ed25519.Sign(k, text) }
	}
	for _, row := range []struct {
		name   string
		change func(p *parts)
		sign   func([]byte) []byte // nil: by the key
		want   error
	}{
		{"good", func(*parts) {}, nil, nil},
		{"by a key that has a name", func(p *parts) { p.header["kid"] = "2026-05" }, by(namedPrivate), nil},
		{"several audiences", func(p *parts) { p.claims["aud"] = []string{"x", login.Audience} }, nil, nil},
		{"no rating", func(p *parts) { delete(p.claims, "rating") }, nil, nil},
		{"a claim that nobody knows", func(p *parts) { p.claims["color"] = "red" }, nil, nil},
		{"good for a second more", func(p *parts) { p.claims["exp"] = noon.Add(time.Second).Unix() }, nil, nil},
		{"of 24 h", func(p *parts) { p.claims["exp"] = noon.Add(24 * time.Hour).Unix() }, nil, nil},
		{"good from a moment ago", func(p *parts) { p.claims["nbf"], p.claims["iat"] = noon.Unix(), noon.Unix() }, nil, nil},

		{"expired", func(p *parts) { p.claims["exp"] = noon.Add(-31 * time.Second).Unix() }, nil, login.ErrExpired},
		{"expired this moment", func(p *parts) { p.claims["exp"] = noon.Unix() }, nil, login.ErrExpired},
		{"early by the leeway", func(p *parts) { p.claims["nbf"] = noon.Add(29 * time.Second).Unix() }, nil, nil},
		{"not yet", func(p *parts) { p.claims["nbf"] = noon.Add(31 * time.Second).Unix() }, nil, login.ErrEarly},
		{"made tomorrow", func(p *parts) { p.claims["iat"] = noon.Add(24 * time.Hour).Unix() }, nil, login.ErrEarly},
		{"for ever", func(p *parts) { delete(p.claims, "exp") }, nil, login.ErrClaims},
		{"of 24 h and a second", func(p *parts) { p.claims["exp"] = noon.Add(24*time.Hour + time.Second).Unix() }, nil, login.ErrClaims},
		{"exp is text", func(p *parts) { p.claims["exp"] = "tomorrow" }, nil, login.ErrMalformed},
		{"another issuer", func(p *parts) { p.claims["iss"] = "me" }, nil, login.ErrClaims},
		{"no issuer", func(p *parts) { delete(p.claims, "iss") }, nil, login.ErrClaims},
		{"another audience", func(p *parts) { p.claims["aud"] = "you" }, nil, login.ErrClaims},
		{"no audience", func(p *parts) { delete(p.claims, "aud") }, nil, login.ErrClaims},
		{"no name", func(p *parts) { delete(p.claims, "sub") }, nil, login.ErrClaims},
		{"a name with a line end", func(p *parts) { p.claims["sub"] = "a\nb" }, nil, login.ErrClaims},
		{"a long name", func(p *parts) { p.claims["sub"] = strings.Repeat("a", 65) }, nil, login.ErrClaims},
		{"no id", func(p *parts) { delete(p.claims, "jti") }, nil, login.ErrClaims},
		{"an id that is a subject", func(p *parts) { p.claims["jti"] = "a.b.c.d.*.>" }, nil, login.ErrClaims},
		{"a long id", func(p *parts) { p.claims["jti"] = strings.Repeat("a", 65) }, nil, login.ErrClaims},
		{"a rating below 0", func(p *parts) { p.claims["rating"] = -1 }, nil, login.ErrClaims},
		{"a rating of half", func(p *parts) { p.claims["rating"] = 0.5 }, nil, login.ErrClaims},
		{"a rating beyond 32 bits", func(p *parts) { p.claims["rating"] = 1 << 40 }, nil, login.ErrClaims},

		{"another key", func(*parts) {}, by(otherPrivate), login.ErrSignature},
		{"a key that nobody knows", func(p *parts) { p.header["kid"] = "x" }, nil, login.ErrSignature},
		{"no key", func(p *parts) { delete(p.header, "kid") }, nil, login.ErrSignature},
		{"a key that is a number", func(p *parts) { p.header["kid"] = 1 }, nil, login.ErrSignature},
		{"no signature", func(*parts) {}, func([]byte) []byte { return nil }, login.ErrSignature},
		{"alg none", func(p *parts) { p.header["alg"] = "none" }, func([]byte) []byte { return nil }, login.ErrSignature},
		{"an HMAC by the public key", func(p *parts) { p.header["alg"] = "HS256" }, func(text []byte) []byte {
			mac := hmac.New(sha256.New, key.Public)
			mac.Write(text)
			return mac.Sum(nil)
		}, login.ErrSignature},
		{"an extension that must be understood", func(p *parts) { p.header["crit"] = []string{"b64"} }, nil, login.ErrMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := good(key)
			row.change(&p)
			if row.sign == nil {
				row.sign = by(private)
			}
			got, err := a.Authenticate(t.Context(), token(p.sign(t, row.sign)))
			if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
				t.Fatalf("%v, want %v", err, row.want)
			}
			if err == nil && (got.Player != "ann" || got.TokenID != "0123456789abcdef" || got.Expires.Before(noon.Add(-time.Minute))) {
				t.Errorf("identity %+v", got)
			}
		})
	}
}

func TestTokensThatAreNone(t *testing.T) {
	key, _ := newKey(t)
	a := tokens(t, key)
	for _, text := range []string{"", ".", "..", "a.b.c", "a.b.c.d", strings.Repeat("a", 5000), "e30.e30.", "\x00", "eyJhbGciOiJFZERTQSJ9.bm8.AA"} {
		if _, err := a.Authenticate(t.Context(), token(text)); !errors.Is(err, login.ErrMalformed) && !errors.Is(err, login.ErrSignature) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for name, r := range map[string]*agentv1.LoginRequest{
		"nothing": {}, "nil": nil, "an account": {Credential: &agentv1.LoginRequest_Account{Account: &agentv1.Account{Name: "ann"}}},
	} {
		if _, err := a.Authenticate(t.Context(), r); !errors.Is(err, login.ErrKind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignedTokensAreGood(t *testing.T) {
	key, private := newKey(t)
	a := tokens(t, key)
	ids := map[string]bool{}
	for range 2 {
		text, err := login.Sign(private, login.Grant{Player: "Ünsal", Rating: 1700, Expires: noon.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Authenticate(t.Context(), token(text))
		if err != nil || got.Player != "Ünsal" || got.Rating != 1700 || !got.Expires.Equal(noon.Add(time.Hour)) {
			t.Errorf("%+v, %v", got, err)
		}
		ids[got.TokenID] = true
	}
	if len(ids) != 2 {
		t.Errorf("two tokens have the ids %v", ids)
	}
	if _, err := login.Sign(nil, login.Grant{}); err == nil {
		t.Error("signed without a key")
	}
}

func TestKeysChange(t *testing.T) {
	old, oldPrivate := newKey(t)
	next, nextPrivate := newKey(t)
	a := tokens(t, old)
	sign := func(k ed25519.PrivateKey) *agentv1.LoginRequest {
		text, err := login.Sign(k, login.Grant{Player: "ann", Expires: noon.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return token(text)
	}
	check := func(when string, k ed25519.PrivateKey, want error) {
		t.Helper()
		if _, err := a.Authenticate(t.Context(), sign(k)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
	}
	check("before", nextPrivate, login.ErrSignature)
	if err := a.SetKeys([]login.Key{old, next}); err != nil {
		t.Fatal(err)
	}
	check("both", oldPrivate, nil)
	check("both", nextPrivate, nil)
	if err := a.SetKeys([]login.Key{next}); err != nil {
		t.Fatal(err)
	}
	check("after", oldPrivate, login.ErrSignature)
	for name, bad := range map[string][]login.Key{"none": nil, "twice": {next, next}, "short": {{Public: next.Public[:31]}}, "65": make([]login.Key, 65)} {
		if a.SetKeys(bad) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	check("after keys that are none", nextPrivate, nil)
}

func TestKeyFiles(t *testing.T) {
	one, onePrivate := newKey(t)
	two, _ := newKey(t)
	write := func(k login.Key) string {
		text, err := login.FormatKey(k.Public)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	named := strings.Replace(write(two), "-----\n", "-----\nkid: may\n\n", 1)
	keys, err := login.ParseKeys("keys.pem", []byte("# of the account service\n"+write(one)+named))
	if err != nil || len(keys) != 2 || !keys[0].Public.Equal(one.Public) || keys[0].ID != "" || keys[1].ID != "may" || !keys[1].Public.Equal(two.Public) {
		t.Errorf("%v, %v", keys, err)
	}
	private, err := login.FormatPrivateKey(onePrivate)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := login.ParsePrivateKey("a.key", private); err != nil || !got.Equal(onePrivate) {
		t.Errorf("the private key comes back as another: %v", err)
	}
	for name, row := range map[string]struct{ text, want string }{
		"empty":         {"", "no PEM block"},
		"the private":   {string(private), `"PRIVATE KEY"`},
		"twice":         {write(one) + write(one), "the id"},
		"no key":        {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no Ed25519 key"},
		"half a second": {write(one) + "-----BEGIN PUBLIC KEY-----\nAAAA\n", "line 4"},
	} {
		if _, err := login.ParseKeys("keys.pem", []byte(row.text)); err == nil || !strings.Contains(err.Error(), row.want) || !strings.HasPrefix(err.Error(), "keys.pem: ") {
			t.Errorf("%s: %v, want %q in it", name, err, row.want)
		}
	}
	for _, text := range []string{"", write(one), strings.Replace(string(private), "M", "N", 3)} {
		if _, err := login.ParsePrivateKey("a.key", []byte(text)); err == nil || strings.Contains(err.Error(), "MC4") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// RFC 8037 appendix A.3 has the thumbprint of this key.
func TestKeyIDIsTheThumbprintOfTheRFC(t *testing.T) {
	x, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if got := login.KeyID(x); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("got %s", got)
	}
}

// FuzzToken: no text breaks the parser, and none is good that was not signed.
func FuzzToken(f *testing.F) {
	seed := make([]byte, ed25519.SeedSize)
	private := ed25519.NewKeyFromSeed(seed)
	key := login.Key{Public: private.Public().(ed25519.PublicKey)}
	a, err := login.NewTokens(login.TokensConfig{Keys: []login.Key{key}, Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	p := good(key)
	genuine := p.sign(f, func(text []byte) []byte { return ed25519.Sign(private, text) })
	f.Add(genuine)
	f.Add(genuine[:len(genuine)-1])
	f.Add("a.b.c")
	for _, alg := range []string{"none", "HS256", "ES256", ""} {
		p.header = maps.Clone(p.header)
		p.header["alg"] = alg
		f.Add(p.sign(f, func([]byte) []byte { return make([]byte, 64) }))
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := a.Authenticate(t.Context(), token(text))
		if err == nil && text != genuine {
			t.Fatalf("%q is good: %+v", text, got)
		}
		if err != nil && len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats the token: %v", err)
		}
		known := false
		for _, e := range []error{nil, login.ErrMalformed, login.ErrSignature, login.ErrExpired, login.ErrEarly, login.ErrClaims} {
			known = known || errors.Is(err, e)
		}
		if !known {
			t.Errorf("a stranger's error: %v", err)
		}
	})
}
