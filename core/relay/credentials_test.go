package relay

import (
	"strings"
	"testing"
	"time"
)

func TestSharedSecretCredentials(t *testing.T) {
	secret := SharedSecret("north")
	expiry := time.Unix(1770000000, 0)
	name, password := secret.Credentials("carol", expiry)
	// printf 1770000000:carol | openssl dgst -sha1 -hmac north -binary | base64
	if want := "LaMCuGQTGkUThU2JY9WevEaE/hw="; name != "1770000000:carol" || password != want {
		t.Errorf("%q with %q, want 1770000000:carol with %q", name, password, want)
	}
	for _, c := range []struct {
		username string
		at       time.Time
		valid    bool
		account  string
	}{
		{"1770000000:carol", expiry.Add(-time.Second), true, "carol"},
		{"1770000000:carol", expiry, false, "carol"},
		{"1770000000", expiry.Add(-time.Second), true, "1770000000"},
		{"1770000000:", expiry.Add(-time.Second), true, "1770000000:"},
		{"1770000000:a:b", expiry.Add(-time.Second), true, "a:b"},
		{"carol", expiry, false, "carol"},
		{"99999999999999999999:carol", expiry, false, "carol"},
		{"", expiry, false, ""},
	} {
		if _, ok := secret.Password(c.at, c.username); ok != c.valid {
			t.Errorf("%q at %d: valid %v, want %v", c.username, c.at.Unix(), ok, c.valid)
		}
		if got := secret.Account(c.username); got != c.account {
			t.Errorf("%q counts for %q, want %q", c.username, got, c.account)
		}
	}
}

func TestReadUsersSplitsAtTheFirstColon(t *testing.T) {
	users, err := ReadUsers(strings.NewReader("# ours\n\nalice:se:cret\r\nbob: spaces stay \n"), "users")
	if err != nil || len(users) != 2 || users["alice"] != "se:cret" || users["bob"] != " spaces stay " {
		t.Errorf("%q (%v)", users, err)
	}
}

func FuzzReadSharedSecrets(f *testing.F) {
	f.Add("north\n")
	f.Add("south\r\nnorth")
	f.Add("a\n\nb\n")
	f.Fuzz(func(t *testing.T, text string) {
		secrets, err := ReadSharedSecrets(strings.NewReader(text), "secrets")
		if err != nil {
			if !strings.Contains(err.Error(), "secrets:") || len(secrets) != 0 {
				t.Fatalf("error %q with %d secrets: it does not name the file", err, len(secrets))
			}
			return
		}
		if len(secrets) == 0 || len(secrets) > maxSecrets {
			t.Fatalf("%d secrets out of %q", len(secrets), text)
		}
		for _, s := range secrets {
			if len(s) == 0 || strings.Contains(string(s), "\n") || !strings.Contains(text, string(s)) {
				t.Fatalf("secret %q out of %q", s, text)
			}
		}
	})
}

func FuzzReadUsers(f *testing.F) {
	f.Add("alice:secret\n# x\n\nbob:b\r\n")
	f.Add("alice\n")
	f.Fuzz(func(t *testing.T, text string) {
		users, err := ReadUsers(strings.NewReader(text), "users")
		if err != nil {
			if !strings.Contains(err.Error(), "users") {
				t.Fatalf("error %q does not name the file", err)
			}
			return
		}
		if len(users) == 0 {
			t.Fatal("neither users nor an error")
		}
		for name, password := range users {
			if name == "" || password == "" || strings.ContainsAny(name+password, "\n") || !strings.Contains(text, name+":"+password) {
				t.Fatalf("user %q with %q out of %q", name, password, text)
			}
		}
	})
}
