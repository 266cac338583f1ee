package agent

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/login"
	"p2pmodel/core/shard/rpc"
)

// errLeaving: the Agent is ending.
var errLeaving = errors.New("agent: ending")

// busy is a refusal because of a limit.
func busy(retry time.Duration, format string, args ...any) *rpc.Error {
	e := rpc.Errorf(connect.CodeResourceExhausted, format, args...)
	e.Retry = retry
	return e
}

// public makes what a client gets of an error: a code, a message that says what
// to do, and when to try again. Nothing of it names a server of the inside.
func (s *Server) public(err error) *connect.Error {
	var ready *connect.Error
	if errors.As(err, &ready) {
		return ready
	}
	code, message, retry := s.explain(err)
	e := connect.NewError(code, errors.New(message))
	if errors.Is(err, errLeaving) {
		e.Meta().Set(shard.ElsewhereHeader, "1")
	}
	if retry > 0 {
		e.Meta().Set("Retry-After", strconv.Itoa(int((retry+time.Second-1)/time.Second)))
	}
	return e
}

// explain finds the words for an error.
func (s *Server) explain(err error) (connect.Code, string, time.Duration) {
	var e *rpc.Error
	switch {
	case errors.Is(err, errLeaving):
		return connect.CodeUnavailable, leaving.reason, time.Second
	case errors.As(err, &e):
	case errors.Is(err, errFull):
		return connect.CodeResourceExhausted, "the server has too much to do; try again in a second", time.Second
	case errors.Is(err, context.DeadlineExceeded):
		return connect.CodeDeadlineExceeded, noAnswer, 0
	case errors.Is(err, context.Canceled):
		return connect.CodeCanceled, "the request was cancelled", 0
	default:
		s.log.Error("agent: a request failed", "error", err)
		return connect.CodeInternal, internal, 0
	}
	switch e.Code {
	case connect.CodeUnavailable:
		message := unreachable
		if errors.Unwrap(e) == nil { // a server says so, not what became of the call
			message = s.discreetText(e.Message, unreachable)
		}
		return e.Code, message, max(e.Retry, time.Second)
	case connect.CodeAborted:
		return connect.CodeUnavailable, "the room is moving to another server; try again in a second", time.Second
	case connect.CodeDeadlineExceeded:
		return e.Code, noAnswer, 0
	case connect.CodeCanceled:
		return e.Code, "the request was cancelled", 0
	case connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeAlreadyExists, connect.CodePermissionDenied,
		connect.CodeFailedPrecondition, connect.CodeResourceExhausted, connect.CodeUnauthenticated:
		return e.Code, s.discreetText(e.Message, "the request is refused: "+e.Code.String()), e.Retry
	}
	s.log.Error("agent: a request failed inside", "error", err)
	return connect.CodeInternal, internal, 0
}

const (
	unreachable = "the server that is needed cannot be reached at present; try again in a second"
	noAnswer    = "there was no answer in time; the request may have been done or not: ask for the state, then try again"
	internal    = "an internal error; the server's operator finds more in its log"
)

// insideWords are what texts about the inside have in them.
var insideWords = regexp.MustCompile(`(?i)\b(shard|directory|lobby|game|agent|member)s?\.|\bnats\b|\bsubject\b|\b(shards?|director(y|ies)|incarnation|epoch)\b`)

// discreetText is the text, or another one if it names the inside.
func (s *Server) discreetText(text, other string) string {
	if insideWords.MatchString(text) {
		return other
	}
	tokens := strings.FieldsFunc(text, func(r rune) bool {
		return !(r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	})
	for _, t := range tokens {
		if len(t) > 1 && s.places.isShard(t) {
			return other
		}
	}
	return text
}

// loginError makes a code of what an authenticator says.
func loginError(err error) error {
	switch {
	case errors.Is(err, login.ErrBusy):
		return busy(time.Second, "%s", login.ErrBusy.Error())
	case errors.Is(err, login.ErrKind):
		return rpc.Errorf(connect.CodeInvalidArgument, "%s", login.ErrKind.Error())
	}
	for _, known := range []error{login.ErrMalformed, login.ErrSignature, login.ErrExpired, login.ErrEarly, login.ErrClaims, login.ErrPassword} {
		if errors.Is(err, known) {
			return rpc.Errorf(connect.CodeUnauthenticated, "%s", known.Error())
		}
	}
	return err
}
