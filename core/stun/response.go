package stun

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pion/stun/v3"
)

// ResponseError is an error response, as its receiver sees it.
type ResponseError struct {
	Code int
	// Reason is the server's text; bytes that are not printable are gone.
	Reason string
}

func (e *ResponseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("refused with error %d", e.Code)
	}
	return fmt.Sprintf("refused with error %d (%s)", e.Code, e.Reason)
}

// IsCode reports whether err is an error response with the given code.
func IsCode(err error, code int) bool {
	var r *ResponseError
	return errors.As(err, &r) && r.Code == code
}

// Success answers a request.
func Success(request *stun.Message, attributes ...stun.Setter) (*stun.Message, error) {
	return Build(request.Type.Method, stun.ClassSuccessResponse, request.TransactionID, attributes...)
}

// Error answers a request with ERROR-CODE and further attributes. Requests
// only: an error never answers a response or an indication.
func Error(request *stun.Message, code int, reason string, attributes ...stun.Setter) (*stun.Message, error) {
	if request.Type.Class != stun.ClassRequest {
		return nil, fmt.Errorf("%v is no request and gets no error", request.Type)
	}
	all := append([]stun.Setter{stun.ErrorCodeAttribute{Code: stun.ErrorCode(code), Reason: []byte(reason)}}, attributes...)
	return Build(request.Type.Method, stun.ClassErrorResponse, request.TransactionID, all...)
}

// Unknown answers a request that has required attributes which we do not know
// (RFC 8489 section 6.3.1).
func Unknown(request *stun.Message, unknown []stun.AttrType, attributes ...stun.Setter) (*stun.Message, error) {
	all := append([]stun.Setter{stun.UnknownAttributes(unknown)}, attributes...)
	return Error(request, CodeUnknownAttribute, "Unknown Attribute", all...)
}

// ErrorOf reads an error response; nil for a message of another class. A
// response without a readable ERROR-CODE gives code 0.
func ErrorOf(m *stun.Message) error {
	if m.Type.Class != stun.ClassErrorResponse {
		return nil
	}
	var code stun.ErrorCodeAttribute
	if code.GetFrom(m) != nil {
		return &ResponseError{}
	}
	reason := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || r == '\uFFFD' {
			return -1
		}
		return r
	}, string(code.Reason))
	return &ResponseError{Code: int(code.Code), Reason: reason}
}
