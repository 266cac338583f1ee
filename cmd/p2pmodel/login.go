package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/login"
	"p2pmodel/core/shard/service"
)

// loginFlags say who may log in.
type loginFlags struct {
	keysFile         string
	issuer, audience string
	accountsFile     string
	open             bool
}

func (f *loginFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.keysFile, "login-keys-file", "", "PEM `FILE` with the public keys (Ed25519) that sign login tokens")
	flags.StringVar(&f.issuer, "login-issuer", login.Issuer, "`ISSUER` of login tokens")
	flags.StringVar(&f.audience, "login-audience", login.Audience, "`AUDIENCE` of login tokens")
	flags.StringVar(&f.accountsFile, "accounts-file", "", "YAML `FILE` of names and passwords, which p2pmodel account writes; for development and small groups")
	flags.BoolVar(&f.open, "open", false, "let everybody in, under any name, with any password; for development")
}

// given reports whether anything says who may log in.
func (f *loginFlags) given() bool { return f.keysFile != "" || f.accountsFile != "" || f.open }

// authenticators are asked one after another, until one takes the kind of
// credential.
type authenticators []login.Authenticator

// Authenticate implements login.Authenticator.
func (as authenticators) Authenticate(ctx context.Context, r *agentv1.LoginRequest) (login.Identity, error) {
	for _, a := range as {
		who, err := a.Authenticate(ctx, r)
		if !errors.Is(err, login.ErrKind) {
			return who, err
		}
	}
	return login.Identity{}, login.ErrKind
}

// openRating is what everybody has where everybody is let in.
const openRating = 1000

// everybody takes any name with any password.
type everybody struct{}

// Authenticate implements login.Authenticator.
func (everybody) Authenticate(_ context.Context, r *agentv1.LoginRequest) (login.Identity, error) {
	account := r.GetAccount()
	if account == nil {
		return login.Identity{}, login.ErrKind
	}
	if err := limits.CheckPlayer("name", account.GetName()); err != nil {
		return login.Identity{}, login.ErrPassword
	}
	return login.Identity{Player: account.GetName(), Rating: openRating}, nil
}

// authenticator reads the files that say who may log in, and has them read again
// when they change.
func (f *loginFlags) authenticator(s *service.Service) (login.Authenticator, error) {
	if f.open && f.accountsFile != "" {
		return nil, usage("--open lets everybody in, so --accounts-file has no effect: give one of them")
	}
	var as authenticators
	if f.keysFile != "" {
		keys, err := readLoginKeys(f.keysFile)
		if err != nil {
			return nil, usage("--login-keys-file: %w", err)
		}
		tokens, err := login.NewTokens(login.TokensConfig{Keys: keys, Issuer: f.issuer, Audience: f.audience})
		if err != nil {
			return nil, usage("--login-keys-file: %w", err)
		}
		s.Watch("login keys", func() error {
			keys, err := readLoginKeys(f.keysFile)
			if err != nil {
				return err
			}
			return tokens.SetKeys(keys)
		}, f.keysFile)
		as = append(as, tokens)
	}
	if f.accountsFile != "" {
		data, err := os.ReadFile(f.accountsFile)
		if err != nil {
			return nil, usage("--accounts-file: %w", err)
		}
		accounts, err := login.NewAccounts(login.AccountsConfig{}, f.accountsFile, data)
		if err != nil {
			return nil, usage("--accounts-file: %w", err)
		}
		s.Watch("accounts", func() error {
			data, err := os.ReadFile(f.accountsFile)
			if err != nil {
				return err
			}
			return accounts.Set(f.accountsFile, data)
		}, f.accountsFile)
		as = append(as, accounts)
	}
	if f.open {
		s.Log().Warn("EVERYBODY MAY LOG IN under any name: --open is for development")
		as = append(as, everybody{})
	}
	if len(as) == 0 {
		return nil, usage("nothing says who may log in: give --login-keys-file or --accounts-file (or --open, for development)")
	}
	return as, nil
}

func readLoginKeys(file string) ([]login.Key, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keys, err := login.ParseKeys(file, data)
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("%s: no public key in it", file)
	}
	return keys, err
}
