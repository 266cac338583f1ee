package login

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// MaxKeys is how many public keys there may be at a time.
const MaxKeys = 64

// maxKeyID is the most bytes of a key's id.
const maxKeyID = 64

// Key is a public key that signs login tokens.
type Key struct {
	// ID is what the tokens' header "kid" says; empty: KeyID of the key.
	ID     string
	Public ed25519.PublicKey
}

// KeyID is the id that a key has of itself: its JWK thumbprint (RFC 7638, with
// the members of RFC 8037 section 2).
func KeyID(key ed25519.PublicKey) string {
	jwk := `{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`
	sum := sha256.Sum256([]byte(jwk))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ParseKeys reads public keys: PEM blocks "PUBLIC KEY" (as openssl pkey -pubout
// writes them), in which a header "kid: ID" names a key for tokens that do not
// use KeyID. Errors say the file, by the name given, and the line.
func ParseKeys(file string, data []byte) ([]Key, error) {
	var keys []Key
	rest := data
	for {
		line := lineOf(data, rest)
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = after
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("%s: after line %d: a PEM block %q, want PUBLIC KEY", file, line, block.Type)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		key, ok := parsed.(ed25519.PublicKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("%s: after line %d: this is no Ed25519 key; make one with openssl genpkey -algorithm ed25519", file, line)
		}
		keys = append(keys, Key{ID: block.Headers["kid"], Public: key})
	}
	if len(bytes.TrimSpace(rest)) > 0 && bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("%s: line %d: a PEM block that cannot be read", file, lineOf(data, rest))
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no PEM block PUBLIC KEY in it", file)
	}
	if _, err := index(keys); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// lineOf is the line, from 1, at which the rest of the data begins.
func lineOf(data, rest []byte) int {
	return 1 + bytes.Count(data[:len(data)-len(rest)], []byte("\n"))
}

// FormatKey writes a public key as ParseKeys reads it.
func FormatKey(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("write a public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParsePrivateKey reads a key that signs tokens: a PEM block "PRIVATE KEY"
// (PKCS #8). Errors never repeat what is in it.
func ParsePrivateKey(file string, data []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: no PEM block PRIVATE KEY in it; make one with openssl genpkey -algorithm ed25519", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: this is no Ed25519 key; make one with openssl genpkey -algorithm ed25519", file)
	}
	return key, nil
}

// FormatPrivateKey writes a key as ParsePrivateKey reads it.
func FormatPrivateKey(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("write a private key: it is none")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// index makes a map of keys by id.
func index(keys []Key) (map[string]ed25519.PublicKey, error) {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return nil, fmt.Errorf("%d keys for login tokens, want 1 to %d", len(keys), MaxKeys)
	}
	byID := make(map[string]ed25519.PublicKey, len(keys))
	for i, k := range keys {
		if len(k.Public) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("key %d for login tokens has %d bytes, want %d", i+1, len(k.Public), ed25519.PublicKeySize)
		}
		id := k.ID
		if id == "" {
			id = KeyID(k.Public)
		}
		if len(id) > maxKeyID {
			return nil, fmt.Errorf("the id of key %d for login tokens has %d bytes, at most %d", i+1, len(id), maxKeyID)
		}
		if _, twice := byID[id]; twice {
			return nil, fmt.Errorf("two keys for login tokens have the id %q", id)
		}
		byID[id] = k.Public
	}
	return byID, nil
}
