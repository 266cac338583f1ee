package signalling_test

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/ice"
	"p2pmodel/core/ice/signalling"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTwoAgentsMeet over loopback, with and without trickle, and again after a
// restart.
func TestTwoAgentsMeet(t *testing.T) {
	for _, trickle := range []bool{true, false} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		serving, stop := context.WithCancel(ctx)
		served := make(chan error, 1)
		go func() { served <- signalling.NewServer().Serve(serving, l) }()
		side := func(own, other string) *signalling.Session {
			s, err := signalling.Start(ctx, signalling.Config{
				Mailbox: signalling.Mailbox{Server: "http://" + l.Addr().String(), Own: own, Other: other}, Trickle: trickle,
				ICE: ice.Config{Controlling: own == "a", Rand: rand.Reader, Listen: netip.MustParseAddrPort("127.0.0.1:0")},
			})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		a, b := side("a", "b"), side("b", "a")
		talk := func() {
			t.Helper()
			for _, s := range []*signalling.Session{a, b} {
				for state, err := s.State(); state != ice.Connected; state, err = s.State() {
					if ctx.Err() != nil {
						t.Fatalf("trickle %v: %v, %v", trickle, state, err)
					}
					time.Sleep(5 * time.Millisecond)
				}
			}
			if err := a.Send([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if got, err := b.Receive(ctx); err != nil || string(got) != "hello" {
				t.Fatalf("%q, %v", got, err)
			}
		}
		talk()
		before, _ := b.Local()
		if err := a.Restart(); err != nil {
			t.Fatal(err)
		}
		for now := before; now.Ufrag == before.Ufrag && ctx.Err() == nil; now, _ = b.Local() {
			time.Sleep(5 * time.Millisecond)
		}
		talk()
		select {
		case err := <-a.Failed():
			t.Error(err)
		case err := <-b.Failed():
			t.Error(err)
		default:
		}
		a.Close()
		b.Close()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestMailboxesAreBounded: what is no message is refused, and so is what is too much.
func TestMailboxesAreBounded(t *testing.T) {
	s := signalling.NewServer()
	post := func(body string) int {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/a", strings.NewReader(body)))
		return w.Code
	}
	for body, want := range map[string]int{
		`{"ufrag":"abcd"}`: http.StatusOK, `no`: http.StatusBadRequest, `[]`: http.StatusBadRequest,
		`{"candidate":"` + strings.Repeat("x", 5000) + `"}`: http.StatusBadRequest,
	} {
		if got := post(body); got != want {
			t.Errorf("%.20s: %d, want %d", body, got, want)
		}
	}
	got := 0
	for range 2000 {
		if post(`{}`) == http.StatusInsufficientStorage {
			got++
		}
	}
	if got != 1001 {
		t.Errorf("%d of 2000 further messages are refused, want 1001", got)
	}
}
