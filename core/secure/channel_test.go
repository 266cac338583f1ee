package secure

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"p2pmodel/core/identity"
)

type source struct{ *rand.Rand }

func (r source) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

// epoch is the beginning of the tests' time.
var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

var session = [16]byte{0: 0xA1, 15: 0x1A}

// key gives keys whose ids grow with n, so that the smaller one is the initiator.
func keys2() (initiator, responder identity.Key) {
	a, b := identity.KeyFromSeed([32]byte{1: 1}), identity.KeyFromSeed([32]byte{1: 2})
	if a.ID().Compare(b.ID()) > 0 {
		a, b = b, a
	}
	return a, b
}

// two are both sides of a session, and what is under way between them.
type two struct {
	t    *testing.T
	now  time.Time
	a, b *Channel // initiator, responder
	kept map[string][]byte
}

func newTwo(t *testing.T) *two {
	w := &two{t: t, now: epoch, kept: map[string][]byte{}}
	w.a, w.b = w.fresh(true, 1), w.fresh(false, 2)
	return w
}

// fresh makes a side that knows nothing of what was.
func (w *two) fresh(initiator bool, seed uint64) *Channel {
	w.t.Helper()
	own, peer := keys2()
	if !initiator {
		own, peer = peer, own
	}
	c, err := New(Config{Key: own, Peer: peer.ID(), Session: session, Slot: uint32(seed), Rand: source{rand.New(rand.NewPCG(seed, 0))}})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *two) side(name byte) (from, to *Channel) {
	if name == 'a' {
		return w.a, w.b
	}
	return w.b, w.a
}

func outcome(err error) string {
	for name, e := range map[string]error{"malformed": ErrMalformed, "forged": ErrForged, "stale": ErrStale, "replayed": ErrReplayed, "no keys": ErrNoKeys, "too many": ErrTooMany} {
		if errors.Is(err, e) {
			return name
		}
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// do plays one step of a conversation and gives what came of it:
//
//	a, b         a check of that side arrives, with what rides on it
//	a lost       it is lost
//	keep a X     what a would say now is kept as X
//	b gets X     it arrives at b
//	a data, b data  a frame arrives; a seals X, b opens X take it apart
//	wait D       time passes
//	b anew       b has forgotten the channel
func (w *two) do(step string) string {
	w.t.Helper()
	var side, what string
	var d time.Duration
	switch n, _ := fmt.Sscanf(step, "wait %s", &what); {
	case n == 1:
		d, _ = time.ParseDuration(what)
		w.now = w.now.Add(d)
		return "ok"
	}
	if n, _ := fmt.Sscanf(step, "keep %s %s", &side, &what); n == 2 {
		from, _ := w.side(side[0])
		w.kept[what] = bytes.Clone(from.Message(w.now))
		return "ok"
	}
	var verb string
	n, _ := fmt.Sscanf(step, "%s %s %s", &side, &verb, &what)
	from, to := w.side(side[0])
	switch {
	case n == 1:
		m := from.Message(w.now)
		if m == nil {
			return "silent"
		}
		_, err := to.HandleMessage(w.now, m)
		return outcome(err)
	case verb == "lost":
		from.Message(w.now)
		return "ok"
	case verb == "gets":
		_, err := from.HandleMessage(w.now, w.kept[what])
		return outcome(err)
	case verb == "data":
		f, err := from.Seal(8, []byte("hello"))
		if err != nil {
			return outcome(err)
		}
		_, _, err = to.Open(w.now, f)
		return outcome(err)
	case verb == "seals":
		f, err := from.Seal(8, []byte(what))
		w.kept[what] = f
		return outcome(err)
	case verb == "opens":
		kind, payload, err := from.Open(w.now, w.kept[what])
		if err == nil && (kind != 8 || string(payload) != what) {
			w.t.Errorf("%s: opened %d, %q", step, kind, payload)
		}
		return outcome(err)
	case verb == "anew" && from == w.a:
		w.a = w.fresh(true, 11)
		return "ok"
	case verb == "anew":
		w.b = w.fresh(false, 12)
		return "ok"
	}
	w.t.Fatalf("no such step: %q", step)
	return ""
}

// TestConversations are handshakes as they go, and as they go wrong. A line is what
// happens, and what comes of it where that is not "ok".
func TestConversations(t *testing.T) {
	for _, row := range []struct {
		name  string
		steps []string
		// epochs of both sides in the end.
		a, b uint32
	}{
		{"plain: one check each way", []string{"a", "b", "a data", "b data"}, 1, 1},
		{"nobody speaks before its keys", []string{"a data → no keys", "b data → no keys", "a", "b data → no keys"}, 0, 1},
		{"the responder's check comes first: it has nothing to say", []string{"b", "a", "b", "b data", "a data"}, 1, 1},
		{"message 1 is lost, twice", []string{"a lost", "a lost", "a", "b", "a data"}, 1, 1},
		{"message 2 is lost", []string{"a", "b lost", "a", "b", "b data", "a data"}, 1, 1},
		{"message 1 again changes nothing", []string{"keep a one", "a", "keep b two", "b gets one", "b", "a data", "b gets one", "a gets two → stale", "b data", "a data"}, 1, 1},
		{"message 2 twice", []string{"a", "keep b two", "b", "a gets two → stale", "a data", "b data"}, 1, 1},
		{"the acknowledgement ends it", []string{"a", "b", "b → stale", "a", "b → silent", "b data"}, 1, 1},
		{"so does a frame", []string{"a", "b", "a data", "b → silent"}, 1, 1},
		{"a frame twice", []string{"a", "b", "a seals x", "b opens x", "b opens x → replayed"}, 1, 1},
		{"frames out of order", []string{"a", "b", "a seals x", "a seals y", "b opens y", "b opens x", "b opens y → replayed"}, 1, 1},
		{"a frame to oneself", []string{"a", "b", "a seals x", "a opens x → no keys"}, 1, 1},

		{"new keys after some minutes", []string{"a", "b", "a data", "wait 5m", "a", "b", "a data", "b data"}, 2, 2},
		{"the responder keeps the old ones until it is heard", []string{
			"a", "b", "a data", "wait 5m", "a", "b data", "b lost", "b data", "b", "b data", "a", "b data", "a data"}, 2, 2},
		{"frames under way when keys change", []string{
			"a", "b", "a data", "a seals x", "b seals y", "wait 5m", "a", "b", "a data", "b opens x", "a opens y", "b opens x → replayed"}, 2, 2},
		{"but not for long", []string{"a", "b", "a data", "a seals x", "wait 5m", "a", "b", "a data", "wait 16s", "b opens x → no keys"}, 2, 2},
		{"keys go on while nobody answers", []string{"a", "b", "a data", "wait 5m", "a lost", "a data", "b data", "wait 1h", "a lost", "a data", "a", "b", "a data"}, 2, 2},
		{"an old message 1 after new keys", []string{
			"keep a one", "a", "b", "a data", "wait 5m", "a", "b", "a", "b gets one → stale", "b → stale", "a data", "b → silent", "b data"}, 2, 2},
		{"an old message 2 in a new handshake", []string{
			"a", "keep b two", "b", "a data", "wait 5m", "a", "a gets two → stale", "b", "a data", "b data"}, 2, 2},

		{"the responder has forgotten", []string{"a", "b", "a", "a data", "b anew", "a data → no keys", "a → stale", "b", "a", "b", "a data", "b data"}, 2, 2},
		{"the initiator has forgotten", []string{
			"a", "b", "a", "a data", "wait 5m", "a", "b", "a", "a data", "a anew", "a data → no keys", "a → stale", "b", "a", "b", "a", "a data", "b data"}, 3, 3},
		{"the initiator has forgotten, with the same number", []string{"a", "b", "a", "a anew", "a → stale", "b", "a", "b", "a", "a data", "b data"}, 2, 2},
		{"the initiator has forgotten before it acknowledged", []string{"a", "b lost", "a anew", "a → stale", "b → forged", "a", "b", "a", "a data", "b data"}, 2, 2},
		{"what was forgotten is not opened", []string{"a", "b", "a seals x", "b anew", "a → stale", "b", "a", "b", "b opens x → no keys"}, 2, 2},
		{"a responder that forgot, said again later", []string{
			"a", "b", "a", "b anew", "a → stale", "keep b lost", "b", "a", "b", "a", "a gets lost → stale", "a", "b → silent", "a data", "b data"}, 2, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newTwo(t)
			for i, s := range row.steps {
				step, want := s, "ok"
				if at := bytes.Index([]byte(s), []byte(" → ")); at >= 0 {
					step, want = s[:at], s[at+len(" → "):]
				}
				if got := w.do(step); got != want {
					t.Fatalf("step %d, %q: %s, want %s", i+1, step, got, want)
				}
			}
			if a, b := w.a.Epoch(), w.b.Epoch(); a != row.a || b != row.b {
				t.Errorf("in the end at handshakes %d and %d, want %d and %d", a, b, row.a, row.b)
			}
		})
	}
}
