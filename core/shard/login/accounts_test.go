package login_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/login"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func account(name, password string) *agentv1.LoginRequest {
	return &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Account{Account: &agentv1.Account{Name: name, Password: password}}}
}

func accounts(t testing.TB, cfg login.AccountsConfig, text string) *login.Accounts {
	t.Helper()
	a, err := login.NewAccounts(cfg, "accounts.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// file is a file of one account.
func file(name, password string) string {
	return name + ":\n  password: " + login.HashPassword(password) + "\n"
}

func TestAccounts(t *testing.T) {
	a := accounts(t, login.AccountsConfig{}, fmt.Sprintf("# players\nann:\n  password: %s\n  rating: 1500\n\"007\":\n  password: '%s'\n42:\n  password: \"%s\"\n",
		login.HashPassword("correct horse"), login.HashPassword("bond"), login.HashPassword("answer")))
	for _, row := range []struct {
		name, password string
		rating         int32
		want           error
	}{
		{"ann", "correct horse", 1500, nil},
		{"007", "bond", 0, nil},
		{"42", "answer", 0, nil},
		{"ann", "correct horse ", 0, login.ErrPassword},
		{"ann", "", 0, login.ErrPassword},
		{"Ann", "correct horse", 0, login.ErrPassword},
		{"bob", "correct horse", 0, login.ErrPassword},
		{"", "", 0, login.ErrPassword},
		{"ann", strings.Repeat("a", 10000), 0, login.ErrPassword},
		{strings.Repeat("a", 10000), "x", 0, login.ErrPassword},
	} {
		got, err := a.Authenticate(t.Context(), account(row.name, row.password))
		if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
			t.Errorf("%.10q with %.20q: %v, want %v", row.name, row.password, err, row.want)
		}
		if err == nil && (got.Player != row.name || got.Rating != row.rating || got.TokenID != "") {
			t.Errorf("%+v", got)
		}
	}
	for name, r := range map[string]*agentv1.LoginRequest{"a token": token("a.b.c"), "nothing": {}, "an empty account": {Credential: &agentv1.LoginRequest_Account{}}} {
		if _, err := a.Authenticate(t.Context(), r); !errors.Is(err, login.ErrKind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFileCanChange(t *testing.T) {
	a := accounts(t, login.AccountsConfig{}, file("ann", "one"))
	if err := a.Set("accounts.yaml", []byte("ann:\n  password: plain\n")); err == nil {
		t.Error("a password that is no hash was taken")
	}
	if _, err := a.Authenticate(t.Context(), account("ann", "one")); err != nil {
		t.Errorf("after a file that is none: %v", err)
	}
	if err := a.Set("accounts.yaml", []byte(file("ann", "two"))); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), account("ann", "one")); !errors.Is(err, login.ErrPassword) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := a.Authenticate(t.Context(), account("ann", "two")); err != nil {
		t.Errorf("the new password: %v", err)
	}
}

func TestFilesThatAreWrong(t *testing.T) {
	h := login.HashPassword("secret")
	weak := "$argon2id$v=19$m=16,t=1,p=1$c29tZXNhbHQ$" + strings.Repeat("A", 43)
	for _, row := range []struct{ name, text, want string }{
		{"empty", "", "accounts.yaml: no accounts"},
		{"a remark", "# nobody\n", "accounts.yaml: no accounts"},
		{"a list", "- ann\n", "accounts.yaml:1: here have to be names"},
		{"no YAML", "ann: {\n\n", "accounts.yaml:"},
		{"a plain password", "ann:\n  password: hunter2\n", "accounts.yaml:2: the password is no hash"},
		{"the password alone", "ann: hunter2\n", "accounts.yaml:1: here have to be password and rating"},
		{"no password", "bob:\n  password: " + h + "\nann:\n  rating: 3\n", "accounts.yaml:3: the account has no password"},
		{"another key", "ann:\n  password: " + h + "\n  admin: true\n", "accounts.yaml:3: "},
		{"another key with text", "ann:\n  password: " + h + "\n  mail: x\n", "accounts.yaml:3: an account has the keys"},
		{"a bad rating", "ann:\n  password: " + h + "\n  rating: good\n", "accounts.yaml:3: a rating is"},
		{"a negative rating", "ann:\n  password: " + h + "\n  rating: -5\n", "accounts.yaml:3: a rating is"},
		{"twice", "ann:\n  password: " + h + "\nann:\n  password: " + h + "\n", "accounts.yaml:3: "},
		{"a cost that protects nothing", "ann:\n  password: " + weak + "\n", "accounts.yaml:2: the password's cost is m=16,t=1,p=1"},
		{"another cost", "ann:\n  password: " + h + "\nbob:\n  password: " + strings.Replace(h, "t=2", "t=3", 1) + "\n", "accounts.yaml:3: the password's cost is m=19456,t=3,p=1, that of line 1"},
		{"a cost without end", "ann:\n  password: " + strings.Replace(h, "m=19456", "m=4000000000", 1) + "\n", "accounts.yaml:2: the password's cost"},
		{"argon2i", "ann:\n  password: " + strings.Replace(h, "argon2id", "argon2i", 1) + "\n", "accounts.yaml:2: the password is no hash"},
		{"a name with a tab", "\"a\\tb\":\n  password: " + h + "\n", "accounts.yaml:1: a name has"},
		{"anchors", "ann: &a\n  password: " + h + "\nbob: *a\n", "accounts.yaml:"},
		{"a megabyte", strings.Repeat("#", 1<<20+1), "accounts.yaml: the file has"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := login.NewAccounts(login.AccountsConfig{}, "accounts.yaml", []byte(row.text))
			if err == nil || !strings.HasPrefix(err.Error(), row.want) {
				t.Fatalf("%v\nwant %s…", err, row.want)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), h) || strings.Contains(err.Error(), "argon2id$v=19$m=1") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// What a login takes must not tell which names there are.
func TestUnknownNamesTakeAsLong(t *testing.T) {
	a := accounts(t, login.AccountsConfig{}, file("ann", "one"))
	took := func(name string) time.Duration {
		best := time.Hour
		for range 7 { // the best of some, since the machine has other things to do
			began := time.Now()
			if _, err := a.Authenticate(t.Context(), account(name, "wrong")); !errors.Is(err, login.ErrPassword) {
				t.Fatal(err)
			}
			best = min(best, time.Since(began))
		}
		return best
	}
	known, unknown := took("ann"), took("bob")
	if unknown < known/2 || known < unknown/2 {
		t.Errorf("a known name takes %v, an unknown one %v", known, unknown)
	}
}

func TestChecksAreBounded(t *testing.T) {
	a := accounts(t, login.AccountsConfig{Checks: 1, Waiting: 2}, file("ann", "one"))
	var mu sync.Mutex
	done, busy := 0, 0
	var all sync.WaitGroup
	start := make(chan struct{})
	for range 20 {
		all.Go(func() {
			<-start
			_, err := a.Authenticate(t.Context(), account("ann", "one"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done++
			case errors.Is(err, login.ErrBusy):
				busy++
			default:
				t.Error(err)
			}
		})
	}
	close(start)
	all.Wait()
	if done < 3 || busy == 0 || done+busy != 20 {
		t.Errorf("%d done and %d refused, want at least 3 done, and some refused", done, busy)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Authenticate(ctx, account("ann", "one")); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
}

// FuzzAccounts: no file breaks the parser, and no error shows what was in it.
func FuzzAccounts(f *testing.F) {
	h := "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzYWx0c2E$" + strings.Repeat("A", 43)
	for _, text := range []string{"", "ann:\n  password: " + h + "\n  rating: 1500\n", "ann: {password: " + h + "}\nbob: {password: hunter2secret}", "- a", "a: &b\nc: *b",
		"a: !!binary x", "? a\n: b", "a: |\n  b", "{}", "---\na: 1\n---\nb: 2", "\"a", "a:\n\tb: c"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := login.NewAccounts(login.AccountsConfig{}, "f", text)
		if (a == nil) != (err != nil) {
			t.Fatalf("%v with %v", a, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2secret") {
			t.Errorf("the error shows a password: %v", err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("the error does not name the file: %v", err)
		}
	})
}
