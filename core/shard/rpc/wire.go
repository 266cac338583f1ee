package rpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
)

// Limits of what is decoded.
const (
	// MaxPass is the most bytes of a pass, MaxMessage of an error's message.
	MaxPass    = 1 << 10
	MaxMessage = 1 << 10
	// maxDepth bounds nested messages; ours need 4.
	maxDepth = 32
	// maxTimeout bounds a deadline that a caller asks for.
	maxTimeout = time.Minute
)

var unmarshal = proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxDepth}

func encodeRequest(timeout time.Duration, pass, body []byte) ([]byte, error) {
	ms := timeout.Milliseconds()
	if ms <= 0 {
		return nil, &Error{Code: connect.CodeDeadlineExceeded, Message: "there was no time left to ask", cause: context.DeadlineExceeded}
	}
	data, err := proto.Marshal(&insidev1.Request{TimeoutMs: uint32(min(ms, math.MaxUint32)), Pass: pass, Body: body})
	if err != nil {
		return nil, Errorf(connect.CodeInternal, "the request cannot be framed: %v", err)
	}
	return data, nil
}

// decodeRequest takes a request apart. Its errors are the caller's fault.
func decodeRequest(data []byte) (*insidev1.Request, error) {
	r := &insidev1.Request{}
	if err := unmarshal.Unmarshal(data, r); err != nil {
		return nil, Errorf(connect.CodeInvalidArgument, "the request's frame is malformed")
	}
	if len(r.Pass) > MaxPass {
		return nil, Errorf(connect.CodeInvalidArgument, "a pass of %d bytes, at most %d", len(r.Pass), MaxPass)
	}
	if r.TimeoutMs == 0 {
		return nil, Errorf(connect.CodeInvalidArgument, "the request has no timeout")
	}
	return r, nil
}

// timeout is how long the caller waits.
func timeout(r *insidev1.Request) time.Duration {
	return min(time.Duration(r.TimeoutMs)*time.Millisecond, maxTimeout)
}

func encodeAnswer(resp proto.Message, err error) []byte {
	r := &insidev1.Response{}
	if err == nil {
		r.Body, err = proto.Marshal(resp)
		if err != nil {
			err = Errorf(connect.CodeInternal, "the answer cannot be encoded")
		}
	}
	var e *Error
	if errors.As(err, &e) {
		r.Code, r.Message, r.RetryMs = uint32(e.Code), clip(e.Message), uint32(min(max(e.Retry.Milliseconds(), 0), math.MaxUint32))
	}
	data, err := proto.Marshal(r)
	if err == nil && len(data) <= engine.MaxPayload {
		return data
	}
	// Only a body can be that long, or text that is no UTF-8.
	return encodeAnswer(nil, Errorf(connect.CodeInternal, "the answer cannot be framed: %d bytes, at most %d", len(data), engine.MaxPayload))
}

// clip bounds a message and keeps it UTF-8, as protobuf demands.
func clip(message string) string {
	message = strings.ToValidUTF8(message[:min(len(message), MaxMessage)], "\ufffd")
	// A character that was cut has become longer, and so may have others.
	for len(message) > MaxMessage {
		_, size := utf8.DecodeLastRuneInString(message)
		message = message[:len(message)-size]
	}
	return message
}

// decodeResponse gives the error that was answered, or fills the message.
func decodeResponse(data []byte, resp proto.Message) error {
	r := &insidev1.Response{}
	if err := unmarshal.Unmarshal(data, r); err != nil {
		return Errorf(connect.CodeInternal, "the answer's frame is malformed")
	}
	if r.Code != 0 {
		code := connect.Code(r.Code)
		if r.Code > uint32(connect.CodeUnauthenticated) {
			code = connect.CodeUnknown
		}
		return &Error{Code: code, Message: clip(r.Message), Retry: time.Duration(r.RetryMs) * time.Millisecond}
	}
	if err := unmarshal.Unmarshal(r.Body, resp); err != nil {
		return Errorf(connect.CodeInternal, "the answer's body is malformed")
	}
	return nil
}

// fromEngine says in our codes what became of a call.
func fromEngine(method string, err error) error {
	code := connect.CodeUnknown
	switch {
	case errors.Is(err, engine.ErrNoResponder), errors.Is(err, engine.ErrUnavailable), errors.Is(err, engine.ErrClosed):
		code = connect.CodeUnavailable
	case errors.Is(err, engine.ErrPermission):
		code = connect.CodePermissionDenied
	case errors.Is(err, engine.ErrTooLarge):
		code = connect.CodeResourceExhausted
	case errors.Is(err, context.DeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = connect.CodeCanceled
	}
	return &Error{Code: code, Message: fmt.Sprintf("%s: %v", method, err), cause: err}
}
