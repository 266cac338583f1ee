package keepalive

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// home is a NAT, and a server beyond it that answers to other ports.
type home struct {
	t       *testing.T
	now     time.Time
	learner *Learner
	timeout time.Duration // of a mapping of one exchange
	stream  time.Duration // of one that was used both ways after two seconds
	refuses bool          // the server does not know RESPONSE-PORT
	away    bool
	lose    int // so many of the following answers are lost

	port   uint16 // of the mapping; 0: none
	born   time.Time
	used   time.Time
	opened int
	sent   int
	told   []Learned
}

type dice struct{ *rand.Rand }

func (d dice) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(d.Uint32())
	}
	return len(b), nil
}

func newHome(t *testing.T, timeout, stream time.Duration) *home {
	h := &home{t: t, now: time.Unix(1e9, 0), timeout: timeout, stream: stream}
	h.learner = New(h.now, dice{rand.New(rand.NewPCG(1, 2))}, Known{})
	return h
}

func (h *home) alive() bool {
	life := h.timeout
	if h.used.Sub(h.born) > 2*time.Second {
		life = h.stream
	}
	return h.port != 0 && h.now.Sub(h.used) < life
}

// run lets time pass.
func (h *home) run(d time.Duration) {
	h.t.Helper()
	end := h.now.Add(d)
	for steps := 0; ; steps++ {
		h.drain()
		at := h.learner.PollTimeout()
		if at.IsZero() || at.After(end) {
			h.now = end
			return
		}
		if steps > 100_000 {
			h.t.Fatal("time does not pass")
		}
		if at.After(h.now) {
			h.now = at
		}
		h.learner.HandleTimeout(h.now)
	}
}

func (h *home) drain() {
	for busy := true; busy; {
		busy = false
		for open, ok := h.learner.PollBind(); ok; open, ok = h.learner.PollBind() {
			busy, h.port = true, 0
			if open {
				h.opened++
				h.learner.HandleBound(h.now, nil)
			}
		}
		for a, ok := h.learner.PollTransmit(); ok; a, ok = h.learner.PollTransmit() {
			busy = true
			h.sent++
			h.serve(a)
		}
		for e, ok := h.learner.PollEvent(); ok; e, ok = h.learner.PollEvent() {
			h.told = append(h.told, e)
		}
	}
}

func (h *home) serve(a Ask) {
	m, err := stun.Parse(a.Payload)
	if err != nil {
		h.t.Fatal(err)
	}
	from := netip.MustParseAddrPort("198.51.100.1:40000")
	if a.Second {
		if !h.alive() {
			h.port, h.born = uint16(50000+h.opened), h.now
		}
		h.used = h.now
		from = netip.AddrPortFrom(from.Addr(), h.port)
	}
	if h.away {
		return
	}
	if h.lose > 0 {
		h.lose--
		return
	}
	r, err := stun.Success(m, stun.XORAddress{Type: pion.AttrXORMappedAddress, Address: from})
	if err != nil {
		h.t.Fatal(err)
	}
	port, err := m.Get(pion.AttrResponsePort)
	if asked := err == nil; asked && h.refuses {
		return
	} else if asked {
		if to := uint16(port[0])<<8 | uint16(port[1]); to != h.port || !h.alive() {
			return
		}
		h.learner.HandleDatagram(h.now, true, r.Raw)
		return
	}
	h.learner.HandleDatagram(h.now, a.Second, r.Raw)
}

// TestLearner: what it comes to, and how much it sends for that.
func TestLearner(t *testing.T) {
	for _, row := range []struct {
		name            string
		timeout, stream time.Duration
		set             func(h *home)
		least, most     time.Duration // interval
		sent            int           // at most, in a quarter of an hour
	}{
		{"impatient", 10 * time.Second, 10 * time.Second, nil, Safe, Safe, 80},
		{"30 s for everything", 30 * time.Second, 30 * time.Second, nil, 11 * time.Second, 15 * time.Second, 60},
		{"Linux: 30 s, 180 s for streams", 30 * time.Second, 180 * time.Second, nil, 30 * time.Second, 30 * time.Second, 40},
		{"two minutes", 2 * time.Minute, 2 * time.Minute, nil, 30 * time.Second, 30 * time.Second, 40},
		{"a server that does not do it", time.Minute, time.Minute, func(h *home) { h.refuses = true }, Safe, Safe, 20},
		{"a server that is away", time.Minute, time.Minute, func(h *home) { h.away = true }, Safe, Safe, 160},
		{"some answers are lost", time.Minute, time.Minute, func(h *home) { h.lose = 3 }, 24 * time.Second, 30 * time.Second, 60},
	} {
		h := newHome(t, row.timeout, row.stream)
		if row.set != nil {
			row.set(h)
		}
		h.run(15 * time.Minute)
		if d := h.learner.Known().Interval(); d < row.least || d > row.most {
			t.Errorf("%s: an interval of %v, want %v to %v; it told %v", row.name, d, row.least, row.most, h.told)
		}
		for _, e := range h.told {
			if e.Alive >= max(row.timeout, row.stream) || e.Interval() > max(Safe, e.Alive*2/3) {
				t.Errorf("%s: it told %v, an interval of %v", row.name, e, e.Interval())
			}
		}
		if h.sent > row.sent {
			t.Errorf("%s: it sent %d requests, want at most %d", row.name, h.sent, row.sent)
		}
		t.Logf("%s: %v after %d requests", row.name, h.learner.Known().Interval(), h.sent)
	}
}

// TestNarrow: everything is taken back at once, and what failed is not tried again
// until it was right for long.
func TestNarrow(t *testing.T) {
	h := newHome(t, 5*time.Minute, 5*time.Minute)
	h.run(5 * time.Minute)
	if d := h.learner.Known().Interval(); d != Most/2 {
		t.Fatalf("an interval of %v, want %v", d, Most/2)
	}
	told := len(h.told)
	h.learner.Narrow(h.now, 30*time.Second)
	h.drain()
	if len(h.told) != told+1 || h.learner.Known().Interval() != Safe {
		t.Fatalf("after a loss the interval is %v, and %d were told", h.learner.Known().Interval(), len(h.told)-told)
	}
	h.run(5 * time.Minute)
	if d := h.learner.Known().Interval(); d != 15*time.Second {
		t.Errorf("paths idle for 30 s were lost, and the interval is %v", d)
	}
	h.run(30 * time.Minute)
	if d := h.learner.Known().Interval(); d != Most/2 {
		t.Errorf("half an hour later the interval is %v, want %v", d, Most/2)
	}
}

// TestTheNATIsAnotherOne: what lived dies, what died lives.
func TestTheNATIsAnotherOne(t *testing.T) {
	h := newHome(t, 25*time.Second, 25*time.Second)
	h.run(5 * time.Minute)
	if d := h.learner.Known().Interval(); d > 12500*time.Millisecond {
		t.Errorf("25 s: an interval of %v", d)
	}
	h.timeout, h.stream = 12*time.Second, 12*time.Second
	h.run(15 * time.Minute)
	if d := h.learner.Known().Interval(); d > 6*time.Second {
		t.Errorf("12 s: an interval of %v", d)
	}
}
