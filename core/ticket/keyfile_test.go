package ticket

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

func TestReadSignerKey(t *testing.T) {
	want := signer(t, 0xfb) // its base64 has both characters that alphabets differ in
	seed := want.key.Seed()
	for name, text := range map[string]string{
		"what Secret writes": want.Secret() + "\n",
		"hexadecimal":        hex.EncodeToString(seed),
		"HEXADECIMAL":        strings.ToUpper(hex.EncodeToString(seed)),
		"base64 of URLs":     base64.URLEncoding.EncodeToString(seed),
		"without padding":    base64.RawStdEncoding.EncodeToString(seed),
		"with remarks":       "# of the shard eu-1\r\n\r\n  " + want.Secret() + " # since May\r\n",
	} {
		if s, err := ReadSignerKey([]byte(text)); err != nil || !s.Public().Equal(want.Public()) {
			t.Errorf("%s: %v, %v, want %v", name, s, err, want)
		}
	}
	for name, row := range map[string]struct{ text, want string }{
		"empty":        {"", "0 lines"},
		"remarks only": {"# key\n", "0 lines"},
		"two keys":     {want.Secret() + "\n" + want.Secret(), "2 lines"},
		"cut off":      {"\n" + want.Secret()[:20], "line 2: 20 characters"},
		"too long":     {want.Secret() + "AAAA", "48 characters"},
		"not a key":    {strings.Repeat("!", 44), "44 characters"},
	} {
		_, err := ReadSignerKey([]byte(row.text))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, row.want)
		}
		if err != nil && len(row.text) > 10 && strings.Contains(err.Error(), strings.TrimSpace(row.text)[:8]) && name != "remarks only" {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func TestReadVerifierKeys(t *testing.T) {
	a, b := signer(t, 1), signer(t, 2)
	text := "# tickets of the shards\n" + FormatPublicKey(a.Public()) + "\n" + hex.EncodeToString(b.Public()) + " # next\n"
	v, err := ReadVerifierKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Signer{a, b} {
		if _, err := v.Verify(sign(t, s, Ticket{Peer: alice, Mesh: "m", Expires: now.Add(time.Minute)}), now); err != nil {
			t.Errorf("a ticket of %v: %v", s, err)
		}
	}
	for name, row := range map[string]struct{ text, want string }{
		"empty":       {"\n# none\n", "no key"},
		"half a line": {text + FormatPublicKey(a.Public())[:30], "line 4"},
		"a big file":  {strings.Repeat(FormatPublicKey(a.Public())+"\n", maxVerifierKeys+1), "at most 64"},
	} {
		if _, err := ReadVerifierKeys([]byte(row.text)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, row.want)
		}
	}
}

func FuzzReadKeys(f *testing.F) {
	f.Add([]byte(signer(f, 1).Secret()))
	f.Add([]byte("# a\n" + hex.EncodeToString(signer(f, 2).Public()) + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := ReadSignerKey(text); err == nil {
			if again, err := ReadSignerKey([]byte(s.Secret())); err != nil || !again.Public().Equal(s.Public()) {
				t.Errorf("%q is read as %v, which is written as what reads as %v, %v", text, s, again, err)
			}
		}
		if v, err := ReadVerifierKeys(text); err == nil && len(v.keys) == 0 {
			t.Errorf("%q is read as no keys", text)
		}
	})
}
