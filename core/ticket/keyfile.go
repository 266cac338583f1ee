package ticket

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Key files are text. Empty lines and what follows a # count for nothing; a key
// is 32 bytes in base64, standard or of URLs, padded or not, or 64 hexadecimal
// digits. A file of a signer has one line, the seed; one of verifiers has a public
// key in each. All of a file has to be understood, so that one that is being
// written at the moment is an error and not fewer keys.

// maxVerifierKeys is more than a change of keys needs, and keeps a wrong file
// from being read as one of keys.
const maxVerifierKeys = 64

// ReadSignerKey reads the contents of a signer's key file. Errors do not repeat
// what is in it.
func ReadSignerKey(text []byte) (*Signer, error) {
	lines := keyLines(text)
	if len(lines) != 1 {
		return nil, fmt.Errorf("signer's key file: %d lines with keys, want one", len(lines))
	}
	seed, err := parseKey(lines[0].text)
	if err != nil {
		return nil, fmt.Errorf("signer's key file: line %d: %w", lines[0].number, err)
	}
	return NewSigner(seed)
}

// ReadVerifierKeys reads the contents of a file of public keys: 1 to 64.
func ReadVerifierKeys(text []byte) (*Verifier, error) {
	lines := keyLines(text)
	switch {
	case len(lines) == 0:
		return nil, errors.New("file of ticket keys: it has no key; without any no ticket would be good")
	case len(lines) > maxVerifierKeys:
		return nil, fmt.Errorf("file of ticket keys: %d keys, at most %d", len(lines), maxVerifierKeys)
	}
	var keys []ed25519.PublicKey
	for _, l := range lines {
		key, err := parseKey(l.text)
		if err != nil {
			return nil, fmt.Errorf("file of ticket keys: line %d: %w", l.number, err)
		}
		keys = append(keys, key)
	}
	return NewVerifier(keys...)
}

// FormatPublicKey is a public key as a line of a file of them: base64.
func FormatPublicKey(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }

// Secret is the line of a signer's key file. String does not show it.
func (s *Signer) Secret() string { return base64.StdEncoding.EncodeToString(s.key.Seed()) }

type keyLine struct {
	number int
	text   string
}

func keyLines(text []byte) (lines []keyLine) {
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, keyLine{number, line})
		}
	}
	return lines
}

// parseKey reads 32 bytes. Its errors say nothing of their value.
func parseKey(text string) ([]byte, error) {
	if len(text) == hex.EncodedLen(ed25519.SeedSize) {
		if key, err := hex.DecodeString(text); err == nil {
			return key, nil
		}
	}
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	key, err := base64.RawStdEncoding.Strict().DecodeString(plain)
	if err != nil || len(key) != ed25519.SeedSize {
		return nil, fmt.Errorf("%d characters that are no key: want %d bytes as 44 characters of base64 or 64 hexadecimal digits", len(text), ed25519.SeedSize)
	}
	return key, nil
}
