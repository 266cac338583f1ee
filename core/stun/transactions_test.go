package stun

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

var start = time.Unix(1_700_000_000, 0)

func request(t *testing.T, n byte) []byte {
	t.Helper()
	m, err := Build(stun.MethodBinding, stun.ClassRequest, [stun.TransactionIDSize]byte{n})
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

// TestRetransmissions is the schedule of RFC 8489 section 6.2.1.
func TestRetransmissions(t *testing.T) {
	var s Transactions[string]
	s.Start(start, request(t, 1), Schedule{}, "server")
	var got []time.Duration
	for !s.Deadline().IsZero() {
		now := s.Deadline()
		if _, _, _, ok := s.Poll(now.Add(-1)); ok {
			t.Fatalf("something to do before the deadline %v", now.Sub(start))
		}
		tr, about, failed, ok := s.Poll(now)
		if !ok || about != "server" || !tr.Retransmitted() && !failed {
			t.Fatalf("at %v: %v %q failed %v", now.Sub(start), ok, about, failed)
		}
		got = append(got, now.Sub(start))
		if failed {
			break
		}
	}
	want := []time.Duration{500, 1500, 3500, 7500, 15500, 31500, 39500}
	if len(got) != len(want) {
		t.Fatalf("polled at %v, want %v ms", got, want)
	}
	for i := range want {
		if got[i] != want[i]*time.Millisecond {
			t.Fatalf("polled at %v, want %v ms", got, want)
		}
	}
	if s.Len() != 0 {
		t.Errorf("%d in flight after the failure", s.Len())
	}
}

func TestManyInFlight(t *testing.T) {
	var s Transactions[byte]
	fast := Schedule{RTO: 100 * time.Millisecond, MaxRequests: 2, FinalWait: 1, Constant: true}
	s.Start(start, request(t, 1), Schedule{}, 1)
	s.Start(start, request(t, 2), fast, 2)
	s.Start(start, request(t, 3), fast, 3)
	s.Start(start, request(t, 4), fast, 4)

	if _, about, ok := s.Find([stun.TransactionIDSize]byte{3}); !ok || about != 3 {
		t.Fatalf("Find gives %d, %v", about, ok)
	}
	if _, _, ok := s.Take([stun.TransactionIDSize]byte{3}); !ok {
		t.Fatal("Take finds nothing after Find")
	}
	if _, _, ok := s.Take([stun.TransactionIDSize]byte{3}); ok {
		t.Error("a second response to the same request is taken")
	}
	if _, _, ok := s.Find([stun.TransactionIDSize]byte{9}); ok {
		t.Error("a response to nothing is taken")
	}

	type step struct {
		about  byte
		failed bool
	}
	poll := func(at time.Duration) (steps []step) {
		for {
			_, about, failed, ok := s.Poll(start.Add(at))
			if !ok {
				return steps
			}
			steps = append(steps, step{about, failed})
		}
	}
	for _, c := range []struct {
		at   time.Duration
		want []step
	}{
		{99 * time.Millisecond, nil},
		{100 * time.Millisecond, []step{{2, false}, {4, false}}},
		{200 * time.Millisecond, []step{{2, true}, {4, true}}},
		{500 * time.Millisecond, []step{{1, false}}},
	} {
		got := poll(c.at)
		if len(got) != len(c.want) {
			t.Fatalf("at %v: %v, want %v", c.at, got, c.want)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("at %v: %v, want %v", c.at, got, c.want)
			}
		}
	}
	s.CancelIf(func(about byte) bool { return about == 1 })
	if s.Len() != 0 || !s.Deadline().IsZero() {
		t.Errorf("%d in flight, deadline %v, after all were cancelled", s.Len(), s.Deadline())
	}
}

func TestNonces(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	n, err := NewNonces(random, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewNonces(random, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	source := netip.MustParseAddrPort("192.0.2.1:1000")
	nonce := n.Issue(start, source)
	for name, c := range map[string]struct {
		at     time.Duration
		source string
		nonce  []byte
		want   bool
	}{
		"at once":                  {0, "192.0.2.1:1000", []byte(nonce), true},
		"from the mapped form":     {0, "[::ffff:192.0.2.1]:1000", []byte(nonce), true},
		"at the end of its life":   {time.Minute, "192.0.2.1:1000", []byte(nonce), true},
		"stale":                    {time.Minute + time.Second, "192.0.2.1:1000", []byte(nonce), false},
		"before it was issued":     {-2 * time.Second, "192.0.2.1:1000", []byte(nonce), false},
		"from another port":        {0, "192.0.2.1:1001", []byte(nonce), false},
		"from another address":     {0, "192.0.2.2:1000", []byte(nonce), false},
		"of another server":        {0, "192.0.2.1:1000", []byte(other.Issue(start, source)), false},
		"empty":                    {0, "192.0.2.1:1000", nil, false},
		"not base64":               {0, "192.0.2.1:1000", bytes.Repeat([]byte("!"), len(nonce)), false},
		"with its first bit moved": {0, "192.0.2.1:1000", append([]byte{nonce[0] ^ 1}, nonce[1:]...), false},
		"with a line end":          {0, "192.0.2.1:1000", []byte(nonce[:14] + "\n\n"), false},
	} {
		if got := n.Valid(start.Add(c.at), netip.MustParseAddrPort(c.source), c.nonce); got != c.want {
			t.Errorf("%s: valid %v, want %v", name, got, c.want)
		}
	}
}
