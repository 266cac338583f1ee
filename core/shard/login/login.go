// Package login says who a client is: by a token that the operator's account
// service has signed, or by name and password of a file of accounts.
package login

import (
	"context"
	"errors"
	"time"

	"p2pmodel/core/shard/api/agentv1"
)

// Authenticator checks the credential of a login. Its methods may be called from
// any goroutine.
type Authenticator interface {
	// Authenticate gives whom the credential stands for, or one of the errors of
	// this package; other errors (of contexts) are not the client's fault.
	Authenticate(ctx context.Context, r *agentv1.LoginRequest) (Identity, error)
}

// Identity is a player who has logged in.
type Identity struct {
	Player string
	Rating int32
	// TokenID is of a credential that is good once, and until Expires; empty: it
	// may be used again.
	TokenID string
	Expires time.Time
}

// Errors of authenticators. Their texts are for clients and never repeat what
// the client has sent.
var (
	// ErrKind: the credential is none that is taken here.
	ErrKind = errors.New("this server takes another kind of credential: a signed token or an account, as its operator says")
	// ErrMalformed: the token is no JWT, or lacks something.
	ErrMalformed = errors.New("the login token is malformed; get a new one from the account service")
	// ErrSignature: a key that is not known here, or not what it has signed.
	ErrSignature = errors.New("the login token is not signed by a key that is known here")
	// ErrExpired: the token's time is over.
	ErrExpired = errors.New("the login token has expired; get a new one from the account service")
	// ErrEarly: its time has not come.
	ErrEarly = errors.New("the login token is not valid yet; compare the clocks of account service and server")
	// ErrClaims: it is signed, but is not meant for here, or says something that
	// is not allowed.
	ErrClaims = errors.New("the login token is not one for this server: issuer, audience, life (at most 24 h), id, name or rating is wrong")
	// ErrPassword: no such name, or another password.
	ErrPassword = errors.New("name or password is wrong")
	// ErrBusy: too many passwords are being checked.
	ErrBusy = errors.New("too many logins at present; try again in a second")
)

// MaxRating bounds ratings, which go from 0.
const MaxRating = 1_000_000
