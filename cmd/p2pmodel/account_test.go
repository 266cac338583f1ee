package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/login"
)

// executeWith is execute with a standard input; it gives the output.
func executeWith(ctx context.Context, stdin string, args ...string) (code int, out, errors string) {
	var stdout, stderr bytes.Buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	code = run(ctx, root)
	return code, stdout.String(), stderr.String()
}

func TestAccountsAreWrittenIntoAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts.yaml")
	write := func(stdin string, args ...string) {
		t.Helper()
		args = append([]string{"account", "--accounts-file", file}, args...)
		if code, out, says := executeWith(t.Context(), stdin, args...); code != 0 || out+says != "" {
			t.Fatalf("exit %d, %q %q", code, out, says)
		}
	}
	write("first\n", "ann", "--rating", "1500")
	write("second", "bob: the \"builder\"")
	// What a person has written stays.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte("# friends\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	write("third\n", "ann")

	text, err = os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if !strings.HasPrefix(string(text), "# friends\n\"ann\":") || strings.Contains(string(text), "third") {
		t.Errorf("the file is\n%s", text)
	}
	accounts, err := login.NewAccounts(login.AccountsConfig{}, file, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, password string
		ok             bool
		rating         int32
	}{{"ann", "third", true, openRating}, {"ann", "first", false, 0}, {"bob: the \"builder\"", "second", true, openRating}} {
		who, err := accounts.Authenticate(t.Context(), account(c.name, c.password))
		if (err == nil) != c.ok || who.Rating != c.rating {
			t.Errorf("%s with %s: %+v, %v", c.name, c.password, who, err)
		}
	}
}

func account(name, password string) *agentv1.LoginRequest {
	return &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Account{Account: &agentv1.Account{Name: name, Password: password}}}
}

func TestTokensAreWhatAgentsTake(t *testing.T) {
	dir := t.TempDir()
	key, public := filepath.Join(dir, "login.key"), filepath.Join(dir, "login.pub")
	for range 2 { // the second time they are there
		if err := keepLoginKey(key, public); err != nil {
			t.Fatal(err)
		}
	}
	code, out, says := executeWith(t.Context(), "", "token", "--key-file", key, "--player", "ann", "--rating", "1500", "--life", "2h")
	if code != 0 || says != "" {
		t.Fatalf("exit %d, %q", code, says)
	}
	keys, err := readLoginKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := login.NewTokens(login.TokensConfig{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	who, err := tokens.Authenticate(t.Context(), &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: strings.TrimSpace(out)}})
	if err != nil || who.Player != "ann" || who.Rating != 1500 || time.Until(who.Expires) < 119*time.Minute {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestTokenAndAccountBadInput(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no key":                   {[]string{"token", "--player", "ann"}, "--key-file FILE is required"},
		"no such key":              {[]string{"token", "--player", "ann", "--key-file", dir + "/none"}, "no such file"},
		"no key in the file":       {[]string{"token", "--player", "ann", "--key-file", bad}, bad},
		"no player":                {[]string{"token", "--key-file", bad}, "--player"},
		"a life too long":          {[]string{"token", "--key-file", bad, "--player", "ann", "--life", "25h"}, "24h"},
		"no accounts file":         {[]string{"account", "ann"}, "--accounts-file FILE is required"},
		"no name":                  {[]string{"account", "--accounts-file", bad}, "NAME"},
		"a file of another kind":   {[]string{"account", "--accounts-file", bad, "ann"}, bad},
		"no password":              {[]string{"account", "--accounts-file", dir + "/new", "ann"}, "no password"},
		"a name with a line's end": {[]string{"account", "--accounts-file", dir + "/new", "a\nb"}, "name"},
	} {
		stdin := "secret\n"
		if name == "no password" {
			stdin = ""
		}
		code, _, says := executeWith(t.Context(), stdin, c.args...)
		if code != exitUsage || !strings.Contains(says, c.says) || strings.Contains(says, "hunter2") || strings.Contains(says, "secret") {
			t.Errorf("%s: exit %d, %q; want exit 2 and %q", name, code, says, c.says)
		}
	}
	if _, err := os.Stat(dir + "/new"); err == nil {
		t.Error("a file was left")
	}
}

func TestOpenLetsEverybodyIn(t *testing.T) {
	as := authenticators{everybody{}}
	if who, err := as.Authenticate(t.Context(), account("ann", "")); err != nil || who.Player != "ann" {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := as.Authenticate(t.Context(), account("a\nb", "")); err == nil {
		t.Error("a name with a line's end is taken")
	}
	if _, err := as.Authenticate(t.Context(), &agentv1.LoginRequest{}); err != login.ErrKind {
		t.Errorf("no credential: %v", err)
	}
}

func TestCertificatesAreKept(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	read := func(hosts ...string) string {
		t.Helper()
		cert, key, err := keepCertificate(dir, hosts, now)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key's mode is %v, error %v", info.Mode(), err)
		}
		text, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := read("localhost", "127.0.0.1")
	if read("127.0.0.1") != first {
		t.Error("a certificate that would do is replaced")
	}
	second := read("127.0.0.1", "192.0.2.1")
	if second == first {
		t.Error("the certificate is not good for the new address")
	}
	now = now.Add(layout.CertificateLife - 29*24*time.Hour)
	if read("127.0.0.1") == second {
		t.Error("the certificate ends within a month")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
		t.Errorf("left behind: %v, error %v", entries, err)
	}
}
