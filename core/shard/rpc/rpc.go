// Package rpc carries protobuf calls over an engine, in the Request and Response
// of insidev1: deadlines travel with calls, work is bounded, errors have codes,
// and a breaker for each target keeps callers of a dead server from waiting.
package rpc

import (
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
)

// Error is an error that crosses a call: a code of Connect and gRPC, and a
// message that may be shown to a client. Anything else that a handler returns
// reaches the caller as CodeInternal with no details.
type Error struct {
	Code    connect.Code
	Message string
	// Retry is when it makes sense to try again; 0: never, or at once.
	Retry time.Duration

	cause error
}

// Unwrap gives the engine's or the context's error behind it, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// Error implements error.
func (e *Error) Error() string { return e.Code.String() + ": " + e.Message }

// Errorf makes an Error.
func Errorf(code connect.Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of an error, CodeUnknown if it is none of ours, 0 for nil.
func CodeOf(err error) connect.Code {
	var e *Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	}
	return connect.CodeUnknown
}
