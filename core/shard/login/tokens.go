package login

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/limits"
)

const (
	// Issuer and Audience are the "iss" and "aud" of login tokens, unless
	// TokensConfig says others.
	Issuer   = "p2pmodel-accounts"
	Audience = "p2pmodel-agent"
	// MaxLife is how far ahead "exp" may be, by the clock of whoever checks it.
	MaxLife = 24 * time.Hour
	// Leeway is by how much clocks may differ for "nbf" and "iat". "exp" has none:
	// until then, and no longer, it is kept in mind that a token was used.
	Leeway = 30 * time.Second
	// MinTokenID and MaxTokenID bound "jti", in bytes; letters, digits, - and _.
	MinTokenID = 8
	MaxTokenID = 64
)

// TokensConfig says which tokens are good.
type TokensConfig struct {
	// Keys are the keys that sign, 1 to MaxKeys.
	Keys []Key
	// Issuer and Audience; empty: the constants.
	Issuer, Audience string
	// Now is the time; nil: time.Now.
	Now func() time.Time
}

// Tokens takes tokens that an account service has signed: JWT (RFC 7519) with
// the algorithm EdDSA and nothing else, and with
//
//	kid            in the header: the key
//	iss, aud       as configured
//	sub            the player's name
//	rating         0 to MaxRating; missing: 0
//	exp            required, at most MaxLife ahead
//	jti            required: a token is good once
//	nbf, iat       checked if they are there
type Tokens struct {
	keys   atomic.Pointer[map[string]ed25519.PublicKey]
	parser *jwt.Parser
	now    func() time.Time
}

// NewTokens makes an authenticator by tokens.
func NewTokens(cfg TokensConfig) (*Tokens, error) {
	if cfg.Issuer == "" {
		cfg.Issuer = Issuer
	}
	if cfg.Audience == "" {
		cfg.Audience = Audience
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &Tokens{now: cfg.Now}
	t.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(cfg.Issuer), jwt.WithAudience(cfg.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(Leeway), jwt.WithTimeFunc(cfg.Now), jwt.WithStrictDecoding(),
	)
	if err := t.SetKeys(cfg.Keys); err != nil {
		return nil, err
	}
	return t, nil
}

// SetKeys gives the keys that count from now on. After an error those before do.
func (t *Tokens) SetKeys(keys []Key) error {
	byID, err := index(keys)
	if err != nil {
		return err
	}
	t.keys.Store(&byID)
	return nil
}

// claims are what a login token says.
type claims struct {
	jwt.RegisteredClaims
	Rating json.Number `json:"rating,omitempty"`
}

// Authenticate implements Authenticator.
func (t *Tokens) Authenticate(_ context.Context, r *agentv1.LoginRequest) (Identity, error) {
	raw, ok := r.GetCredential().(*agentv1.LoginRequest_Token)
	if !ok {
		return Identity{}, ErrKind
	}
	return t.check(raw.Token)
}

func (t *Tokens) check(raw string) (Identity, error) {
	if len(raw) > limits.MaxToken {
		return Identity{}, ErrMalformed
	}
	var c claims
	if _, err := t.parser.ParseWithClaims(raw, &c, t.key); err != nil {
		return Identity{}, classify(err)
	}
	rating, err := ratingOf(c.Rating)
	now := t.now()
	if !now.Before(c.ExpiresAt.Time) {
		return Identity{}, ErrExpired
	}
	switch {
	case err != nil,
		limits.CheckPlayer("sub", c.Subject) != nil,
		!isTokenID(c.ID),
		c.ExpiresAt.After(now.Add(MaxLife)):
		return Identity{}, ErrClaims
	}
	return Identity{Player: c.Subject, Rating: rating, TokenID: c.ID, Expires: c.ExpiresAt.Time}, nil
}

// errUnknownKey and errCritical are refusals by the header.
var (
	errUnknownKey = errors.New("unknown key")
	errCritical   = errors.New("critical extensions")
)

// key finds the key by which a token says that it is signed.
func (t *Tokens) key(token *jwt.Token) (any, error) {
	// Extensions that a token calls critical are none of ours (RFC 7515
	// section 4.1.11).
	if _, ok := token.Header["crit"]; ok {
		return nil, errCritical
	}
	id, _ := token.Header["kid"].(string)
	if key, ok := (*t.keys.Load())[id]; ok {
		return key, nil
	}
	return nil, errUnknownKey
}

// classify makes one of our errors of one of the parser's, whose texts repeat
// parts of the token.
func classify(err error) error {
	switch {
	case errors.Is(err, errUnknownKey), errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return ErrSignature
	case errors.Is(err, errCritical), errors.Is(err, jwt.ErrTokenMalformed), errors.Is(err, jwt.ErrTokenUnverifiable):
		return ErrMalformed
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return ErrEarly
	}
	return ErrClaims
}

func ratingOf(n json.Number) (int32, error) {
	if n == "" {
		return 0, nil
	}
	rating, err := n.Int64()
	if err != nil || rating < 0 || rating > MaxRating {
		return 0, ErrClaims
	}
	return int32(rating), nil
}

func isTokenID(id string) bool {
	if len(id) < MinTokenID || len(id) > MaxTokenID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// Grant is what Sign puts into a token.
type Grant struct {
	Player string
	Rating int32
	// Expires is at most MaxLife ahead.
	Expires time.Time
	// TokenID; empty: drawn.
	TokenID string
	// KeyID; empty: that of the key itself.
	KeyID string
	// Issuer and Audience; empty: the constants.
	Issuer, Audience string
}

// Sign makes a login token, as an account service does.
func Sign(key ed25519.PrivateKey, g Grant) (string, error) {
	if len(key) != ed25519.PrivateKeySize {
		return "", errors.New("sign a login token: the key is no Ed25519 key")
	}
	if g.TokenID == "" {
		g.TokenID = rand.Text()
	}
	if g.KeyID == "" {
		g.KeyID = KeyID(key.Public().(ed25519.PublicKey))
	}
	if g.Issuer == "" {
		g.Issuer = Issuer
	}
	if g.Audience == "" {
		g.Audience = Audience
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: g.Issuer, Audience: jwt.ClaimStrings{g.Audience}, Subject: g.Player,
			ID: g.TokenID, ExpiresAt: jwt.NewNumericDate(g.Expires),
		},
		Rating: json.Number(fmt.Sprint(g.Rating)),
	})
	token.Header["kid"] = g.KeyID
	signed, err := token.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign a login token: %w", err)
	}
	return signed, nil
}
