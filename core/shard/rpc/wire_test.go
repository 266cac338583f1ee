package rpc

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
)

func frame(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDecodeRequest(t *testing.T) {
	for _, row := range []struct {
		name    string
		data    []byte
		wants   string // of the error; empty: none
		timeout time.Duration
	}{
		{"all of it", frame(t, &insidev1.Request{TimeoutMs: 1500, Pass: []byte("p"), Body: []byte("b")}), "", 1500 * time.Millisecond},
		{"a timeout only", frame(t, &insidev1.Request{TimeoutMs: 1}), "", time.Millisecond},
		{"a timeout of weeks is clipped", frame(t, &insidev1.Request{TimeoutMs: 1 << 31}), "", maxTimeout},
		{"the largest pass", frame(t, &insidev1.Request{TimeoutMs: 1, Pass: make([]byte, MaxPass)}), "", time.Millisecond},
		{"a pass too large", frame(t, &insidev1.Request{TimeoutMs: 1, Pass: make([]byte, MaxPass+1)}), "at most 1024", 0},
		{"nothing", nil, "no timeout", 0},
		{"no protobuf", []byte("GET / HTTP/1.1"), "malformed", 0},
		{"cut off", frame(t, &insidev1.Request{TimeoutMs: 1, Body: []byte("body")})[:4], "malformed", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, err := decodeRequest(row.data)
			if row.wants != "" {
				if err == nil || CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), row.wants) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || timeout(r) != row.timeout {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat("ä", MaxMessage)
	for _, row := range []struct {
		name string
		resp proto.Message
		err  error
		want *Error
	}{
		{"a message", &insidev1.RoomPlace{Room: "r"}, nil, nil},
		{"an empty message", &insidev1.RoomPlace{}, nil, nil},
		{"an error", nil, Errorf(connect.CodeAborted, "gone"), &Error{Code: connect.CodeAborted, Message: "gone"}},
		{"a time to retry", nil, &Error{Code: connect.CodeUnavailable, Message: "m", Retry: 1500 * time.Millisecond}, &Error{Code: connect.CodeUnavailable, Message: "m", Retry: 1500 * time.Millisecond}},
		{"a long error", nil, Errorf(connect.CodeAborted, "%s", long), &Error{Code: connect.CodeAborted, Message: long[:MaxMessage]}},
		{"text that is none", nil, Errorf(connect.CodeAborted, "a\xffb"), &Error{Code: connect.CodeAborted, Message: "a\ufffdb"}},
		{"a message too large", &insidev1.Request{Body: make([]byte, engine.MaxPayload)}, nil, &Error{Code: connect.CodeInternal, Message: "the answer cannot be framed: 524296 bytes, at most 524288"}},
		{"text in a message that is none", &insidev1.RoomPlace{Room: "\xff"}, nil, &Error{Code: connect.CodeInternal, Message: "the answer cannot be encoded"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			data := encodeAnswer(row.resp, row.err)
			if len(data) > engine.MaxPayload {
				t.Errorf("%d bytes", len(data))
			}
			got := &insidev1.RoomPlace{}
			err := decodeResponse(data, got)
			switch {
			case row.want == nil && (err != nil || !proto.Equal(got, row.resp)):
				t.Errorf("got %v, %v", got, err)
			case row.want != nil && (err == nil || *err.(*Error) != *row.want):
				t.Errorf("got %#v, want %#v", err, row.want)
			}
		})
	}
}

func TestDecodeResponse(t *testing.T) {
	for _, row := range []struct {
		name string
		data []byte
		code connect.Code
	}{
		{"nothing is an empty answer", nil, 0},
		{"no protobuf", []byte("HTTP/1.1"), connect.CodeInternal},
		{"a body that is another message", frame(t, &insidev1.Response{Body: []byte{0xff}}), connect.CodeInternal},
		{"a code that is none", frame(t, &insidev1.Response{Code: 99, Message: "m"}), connect.CodeUnknown},
		{"the last code", frame(t, &insidev1.Response{Code: 16, Message: "m"}), connect.CodeUnauthenticated},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := decodeResponse(row.data, &insidev1.RoomPlace{}); CodeOf(err) != row.code {
				t.Errorf("got %v, want %v", err, row.code)
			}
		})
	}
}

// FuzzDecode decodes anything as a request and as an answer: no panic, bounds are
// kept, and what was accepted is the same when it is encoded and decoded again.
func FuzzDecode(f *testing.F) {
	f.Add(frame(f, &insidev1.Request{TimeoutMs: 1500, Pass: []byte("pass"), Body: frame(f, &insidev1.FindRoomRequest{Room: "r"})}))
	f.Add(frame(f, &insidev1.Response{Body: frame(f, &insidev1.FindRoomResponse{Place: &insidev1.RoomPlace{Room: "r", Epoch: 3}})}))
	f.Add(frame(f, &insidev1.Response{Code: 14, Message: "later", RetryMs: 100}))
	f.Add(frame(f, &insidev1.Request{TimeoutMs: 1 << 31}))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := decodeRequest(data); err == nil {
			if len(r.Pass) > MaxPass || timeout(r) <= 0 || timeout(r) > maxTimeout {
				t.Errorf("accepted a pass of %d bytes, a timeout of %v", len(r.Pass), timeout(r))
			}
			again, err := encodeRequest(time.Duration(r.TimeoutMs)*time.Millisecond, r.Pass, r.Body)
			if err != nil {
				t.Fatal(err)
			}
			same, err := decodeRequest(again)
			if err != nil || same.TimeoutMs != r.TimeoutMs || !bytes.Equal(same.Pass, r.Pass) || !bytes.Equal(same.Body, r.Body) {
				t.Errorf("%v became %v, %v", r, same, err)
			}
		} else if CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("a request's error is %v", err)
		}
		resp := &insidev1.FindRoomResponse{}
		switch err := decodeResponse(data, resp).(type) {
		case nil:
			same := &insidev1.FindRoomResponse{}
			if err := decodeResponse(encodeAnswer(resp, nil), same); err != nil || !proto.Equal(resp, same) {
				t.Errorf("%v became %v, %v", resp, same, err)
			}
		case *Error:
			if err.Code < connect.CodeCanceled || err.Code > connect.CodeUnauthenticated || len(err.Message) > MaxMessage || !utf8.ValidString(err.Message) || err.Retry < 0 {
				t.Errorf("an answer's error is %#v", err)
			}
		default:
			t.Errorf("an answer's error is %v", err)
		}
	})
}
