package relay

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"strconv"
	"strings"
	"time"

	"p2pmodel/core/stun"
)

// maxUsername is the longest USERNAME in bytes (RFC 8489 section 14.3).
const maxUsername = 508

// Authenticator knows the passwords of users.
type Authenticator interface {
	// Password is the password of a username as it came, and whether the user
	// may use the relay at this time.
	Password(now time.Time, username string) (password string, ok bool)
	// Account is whom the username stands for, for quotas: time-limited
	// usernames of one user differ.
	Account(username string) string
}

// Lister is an Authenticator that knows its usernames beforehand, so that USERHASH can
// stand for them (RFC 8489 section 9.2).
type Lister interface {
	Authenticator
	Usernames() iter.Seq[string]
}

// Users are long-term credentials: passwords by name.
type Users map[string]string

// Password implements Authenticator.
func (u Users) Password(_ time.Time, username string) (string, bool) {
	p, ok := u[username]
	return p, ok
}

// Account implements Authenticator.
func (u Users) Account(username string) string { return username }

// Usernames implements Lister.
func (u Users) Usernames() iter.Seq[string] { return maps.Keys(u) }

// opaque is a text as STUN prepares it, or as it is if it cannot be.
func opaque(text string) string {
	if prepared, err := stun.Opaque(text); err == nil {
		return prepared
	}
	return text
}

// ReadUsers reads lines "name:password"; the name ends at the first colon. Both are
// prepared as RFC 8489 wants it (see stun.Opaque).
// Empty lines and lines that begin with # are skipped. Errors say file:line,
// file being what the caller calls the source.
func ReadUsers(r io.Reader, file string) (Users, error) {
	users := make(Users)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, password, found := strings.Cut(line, ":")
		prepared, errName := stun.Opaque(name)
		secret, errPassword := stun.Opaque(password)
		switch {
		case !found:
			return nil, fmt.Errorf("%s:%d: no colon; a line is name:password", file, n)
		case name == "":
			return nil, fmt.Errorf("%s:%d: the name before the colon is empty", file, n)
		case len(name) > maxUsername:
			return nil, fmt.Errorf("%s:%d: the name has %d bytes; STUN carries at most %d", file, n, len(name), maxUsername)
		case password == "":
			return nil, fmt.Errorf("%s:%d: the password of %q is empty", file, n, name)
		}
		if err := errors.Join(errName, errPassword); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		if _, twice := users[prepared]; twice {
			return nil, fmt.Errorf("%s:%d: %q has a password already, above", file, n, prepared)
		}
		users[prepared] = secret
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read credentials from %s: %w", file, err)
	}
	if len(users) == 0 {
		return nil, fmt.Errorf("%s: no credentials; write lines name:password", file)
	}
	return users, nil
}

// SharedSecret makes time-limited credentials valid without a list of users: a
// service that knows the secret hands them out (draft-uberti-behave-turn-rest,
// as coturn's --use-auth-secret).
type SharedSecret []byte

// Password implements Authenticator: the username is "expiry" or "expiry:name",
// the expiry in Unix seconds.
func (s SharedSecret) Password(now time.Time, username string) (string, bool) {
	digits, _, _ := strings.Cut(username, ":")
	expiry, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || expiry <= now.Unix() {
		return "", false
	}
	return s.sign(username), true
}

// Account implements Authenticator: the name, or all of the username where
// there is none.
func (s SharedSecret) Account(username string) string {
	if _, name, found := strings.Cut(username, ":"); found && name != "" {
		return name
	}
	return username
}

// Credentials makes a username and password for name that are valid until
// expiry. An empty name is allowed.
func (s SharedSecret) Credentials(name string, expiry time.Time) (username, password string) {
	username = strconv.FormatInt(expiry.Unix(), 10)
	if name != "" {
		username += ":" + name
	}
	return username, s.sign(username)
}

func (s SharedSecret) sign(username string) string {
	mac := hmac.New(sha1.New, s)
	mac.Write([]byte(username)) // a hash never fails
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// maxSecrets is more than a change of secrets needs.
const maxSecrets = 8

// ReadSharedSecrets reads secrets, one a line: several while they change, so that
// credentials made with either are good.
func ReadSharedSecrets(r io.Reader, file string) ([]SharedSecret, error) {
	const most = 4096
	raw, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read the shared secret from %s: %w", file, err)
	}
	if len(raw) > most {
		return nil, fmt.Errorf("%s: longer than %d bytes; the file holds a secret a line", file, most)
	}
	var secrets []SharedSecret
	for i, line := range strings.Split(strings.TrimRight(string(raw), "\r\n"), "\n") {
		secret := strings.TrimSuffix(line, "\r")
		switch {
		case secret == "":
			return nil, fmt.Errorf("%s:%d: empty; the file holds a secret a line", file, i+1)
		case len(secrets) == maxSecrets:
			return nil, fmt.Errorf("%s:%d: more than %d secrets", file, i+1, maxSecrets)
		}
		secrets = append(secrets, SharedSecret(secret))
	}
	return secrets, nil
}

// ReadSharedSecret reads the only secret of a file.
func ReadSharedSecret(r io.Reader, file string) (SharedSecret, error) {
	secrets, err := ReadSharedSecrets(r, file)
	if err != nil {
		return nil, err
	}
	if len(secrets) > 1 {
		return nil, fmt.Errorf("%s:2: more than one line; the file holds one line, the secret", file)
	}
	return secrets[0], nil
}
