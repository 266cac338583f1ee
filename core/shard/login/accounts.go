package login

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/limits"
)

const (
	// DefaultChecks is how many passwords are checked at once,
	// DefaultWaiting how many logins wait for that.
	DefaultChecks  = 2
	DefaultWaiting = 32
)

// AccountsConfig says how much work checking passwords may be.
type AccountsConfig struct {
	// Checks is how many passwords are checked at once, each with the memory
	// that its cost says; 0: DefaultChecks. Waiting is how many logins may wait
	// for that, beyond which they get ErrBusy; 0: DefaultWaiting.
	Checks, Waiting int
}

// Accounts takes names and passwords of a file, for development and for small
// groups:
//
//	ann:
//	  password: $argon2id$v=19$m=19456,t=2,p=1$…$…
//	  rating: 1500
//
// All passwords are hashed at one cost, and a name that is not there takes as
// long to refuse as a wrong password.
type Accounts struct {
	file    atomic.Pointer[accountFile]
	running chan struct{} // has a place for each check
	entered chan struct{} // has a place for each check and each that waits
}

// account is one entry of the file.
type account struct {
	password hash
	rating   int32
}

// accountFile is what a file says.
type accountFile struct {
	byName map[string]account
	nobody hash // what names that are not there are checked against
}

// NewAccounts makes an authenticator by the contents of a file of accounts;
// errors have its name, as given, and lines.
func NewAccounts(cfg AccountsConfig, file string, data []byte) (*Accounts, error) {
	if cfg.Checks < 0 || cfg.Waiting < 0 {
		return nil, errors.New("accounts: negative bounds")
	}
	if cfg.Checks == 0 {
		cfg.Checks = DefaultChecks
	}
	if cfg.Waiting == 0 {
		cfg.Waiting = DefaultWaiting
	}
	a := &Accounts{
		running: make(chan struct{}, cfg.Checks),
		entered: make(chan struct{}, cfg.Checks+cfg.Waiting),
	}
	if err := a.Set(file, data); err != nil {
		return nil, err
	}
	return a, nil
}

// Set reads a file's contents, which count from now on. After an error those
// before do.
func (a *Accounts) Set(file string, data []byte) error {
	f, err := parseAccounts(file, data)
	if err != nil {
		return err
	}
	a.file.Store(f)
	return nil
}

// Authenticate implements Authenticator.
func (a *Accounts) Authenticate(ctx context.Context, r *agentv1.LoginRequest) (Identity, error) {
	given, ok := r.GetCredential().(*agentv1.LoginRequest_Account)
	if !ok || given.Account == nil {
		return Identity{}, ErrKind
	}
	name, password := given.Account.Name, given.Account.Password
	if len(password) > limits.MaxPassword || len(name) > 4*limits.MaxAccountName {
		return Identity{}, ErrPassword
	}
	f := a.file.Load()
	known, found := f.byName[name]
	if !found {
		known.password = f.nobody
	}
	matches, err := a.check(ctx, known.password, password)
	switch {
	case err != nil:
		return Identity{}, err
	case !matches || !found:
		return Identity{}, ErrPassword
	}
	return Identity{Player: name, Rating: known.rating}, nil
}

// check compares when there is a place for it.
func (a *Accounts) check(ctx context.Context, h hash, password string) (bool, error) {
	select {
	case a.entered <- struct{}{}:
		defer func() { <-a.entered }()
	default:
		return false, ErrBusy
	}
	select {
	case a.running <- struct{}{}:
		defer func() { <-a.running }()
	case <-ctx.Done():
		return false, fmt.Errorf("check a password: %w", ctx.Err())
	}
	return h.matches(password), nil
}
