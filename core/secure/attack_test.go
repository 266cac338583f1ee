package secure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/flynn/noise"

	"p2pmodel/core/identity"
)

// impostor is who has stolen a peer's static key, and so knows what it shares with
// others, and plays one of those towards it. Its own static key is none of theirs.
func impostor(t *testing.T, initiator bool) (hs *noise.HandshakeState, c *Channel, victim *Channel) {
	t.Helper()
	w := newTwo(t)
	played, victim := w.a, w.b
	if !initiator {
		played, victim = w.b, w.a
	}
	stolen := played.cfg.Shared // by the victim's key
	own, peer := played.cfg.Key.ID(), victim.cfg.Key.ID()
	x, y := own, peer
	if !initiator {
		x, y = y, x
	}
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: noise.NewCipherSuite(&curve{static: identity.KeyFromSeed([32]byte{1: 0xbe}), peer: peer, shared: stolen}, noise.CipherChaChaPoly, noise.HashSHA256),
		Random:      played.cfg.Rand, Pattern: noise.HandshakeKK, Initiator: initiator,
		Prologue:      binary.BigEndian.AppendUint32(prologue(session, x, y), 1),
		StaticKeypair: noise.DHKey{Private: staticHandle, Public: own[:]}, PeerStatic: peer[:],
	})
	if err != nil {
		t.Fatal(err)
	}
	return hs, played, victim
}

// TestKeyCompromiseImpersonation: who has a responder's static key can forge message 1
// to it as anybody (source 1 in section 7.7 of Noise), and can neither read message 2
// nor what the responder says, nor say anything.
func TestKeyCompromiseImpersonation(t *testing.T) {
	hs, c, victim := impostor(t, true)
	one, _, _ := c.write(hs, 1, 7)
	if _, err := victim.HandleMessage(epoch, one); err != nil {
		t.Fatalf("the forgery is refused (%v): the test proves nothing", err)
	}
	two := victim.Message(epoch)
	if _, out, in, err := read(hs, two[numberSize:]); !errors.Is(err, ErrForged) || out != nil || in != nil {
		t.Errorf("the impostor reads message 2: %v", err)
	}
	// It goes on to acknowledge what it could not read; then the victim speaks, and
	// is heard by nobody; the peer itself is heard as soon as it comes.
	_, _ = victim.HandleMessage(epoch, binary.BigEndian.AppendUint32(nil, 1))
	if _, _, err := c.Open(epoch, seal(t, victim, 8, []byte("secret"))); err == nil {
		t.Error("the impostor reads what the victim says")
	}
	reunion{c, victim}.check(t)
}

// reunion are a peer and a victim who find together after an attack.
type reunion struct{ a, b *Channel }

func (w reunion) check(t *testing.T) {
	t.Helper()
	for range 3 {
		if m := w.a.Message(epoch); m != nil {
			_, _ = w.b.HandleMessage(epoch, bytes.Clone(m))
		}
		if m := w.b.Message(epoch); m != nil {
			_, _ = w.a.HandleMessage(epoch, bytes.Clone(m))
		}
	}
	for _, way := range [][2]*Channel{{w.a, w.b}, {w.b, w.a}} {
		if _, p, err := way[1].Open(epoch, seal(t, way[0], 8, []byte("hello"))); err != nil || string(p) != "hello" {
			t.Errorf("after the attack: %q, %v", p, err)
		}
	}
}

// TestStolenInitiatorsKey: who has an initiator's static key cannot play a responder
// towards it.
func TestStolenInitiatorsKey(t *testing.T) {
	hs, c, victim := impostor(t, false)
	one := bytes.Clone(victim.Message(epoch))
	if _, _, _, err := read(hs, one[numberSize:]); !errors.Is(err, ErrForged) {
		t.Errorf("the impostor reads message 1: %v", err)
	}
	for range 100 {
		guess := make([]byte, messageSize)
		_, _ = c.cfg.Rand.Read(guess)
		binary.BigEndian.PutUint32(guess, 1)
		if _, err := victim.HandleMessage(epoch, guess); err == nil || victim.Ready() {
			t.Fatal("an invented message 2 gives keys")
		}
	}
	reunion{victim, c}.check(t)
}

// TestForwardSecrecy: the static keys of both, stolen later, do not open what was said:
// a handshake once more with the same static keys gives other keys.
func TestForwardSecrecy(t *testing.T) {
	w := agreed(t)
	f := seal(t, w.a, 8, []byte("secret"))
	w.a, w.b = w.fresh(true, 21), w.fresh(false, 2)
	for _, step := range []string{"a", "b", "a"} {
		w.do(step)
	}
	if _, _, err := w.b.Open(w.now, f); !errors.Is(err, ErrForged) {
		t.Errorf("a frame of before, under keys of the same static ones: %v, want %v", err, ErrForged)
	}
	if w.a.handshake != nil || w.b.handshake != nil {
		t.Error("ephemeral keys are kept after the handshake")
	}
}

// counting is a random source that counts how often it is drawn from: once for each
// handshake that its owner begins, or answers.
type counting struct {
	source
	drawn int
}

func (c *counting) Read(b []byte) (int, error) {
	c.drawn++
	return c.source.Read(b)
}

// TestHandshakesAreBounded: whoever knows a session's keys can ask for a handshake with
// each check, and gets a few at once and then one a second.
func TestHandshakesAreBounded(t *testing.T) {
	numbered := func(numbers ...uint32) (m []byte) {
		for _, n := range numbers {
			m = binary.BigEndian.AppendUint32(m, n)
		}
		return m
	}
	noise := func(number uint32) []byte {
		return append(numbered(number), bytes.Repeat([]byte{9}, messageSize-numberSize)...)
	}
	for name, row := range map[string]struct {
		victim byte
		say    func(w *two, n uint32) []byte // what the n-th check carries
	}{
		"message 1, always another": {'b', func(w *two, n uint32) []byte {
			mad := w.fresh(true, uint64(100+n))
			mad.number = n
			return mad.Message(w.now)
		}},
		"message 1, invented": {'b', func(_ *two, n uint32) []byte { return noise(n) }},
		"message 2, invented": {'a', func(w *two, _ uint32) []byte {
			if w.a.handshake == nil {
				return numbered(0, w.a.number)
			}
			return noise(w.a.number)
		}},
		"message 2 of what nobody began":        {'a', func(w *two, _ uint32) []byte { return noise(w.a.number + 1) }},
		"a responder that always has forgotten": {'a', func(w *two, _ uint32) []byte { return numbered(0, w.a.number) }},
		"a responder that always knows more":    {'a', func(w *two, _ uint32) []byte { return numbered(w.a.number+1, w.a.number) }},
		"keys that are always used up": {'a', func(w *two, _ uint32) []byte {
			w.b.sending.sent = max(w.b.sending.sent, DefaultRekeyFrames)
			w.do("b data")
			return bytes.Clone(w.b.Message(w.now))
		}},
	} {
		w := agreed(t)
		w.do("wait 1m")
		victim, other := w.side(row.victim)
		random := &counting{source: victim.cfg.Rand.(source)}
		victim.cfg.Rand = random
		forged, checks := 0, 0
		for range 20 { // seconds
			for range 100 {
				checks++
				if say := row.say(w, uint32(1+checks)); say != nil {
					_, err := victim.HandleMessage(w.now, say)
					if errors.Is(err, ErrForged) && row.victim == 'b' {
						forged++ // computed, and not answered
					}
				}
				answer := bytes.Clone(victim.Message(w.now))
				if row.victim == 'a' {
					_, _ = other.HandleMessage(w.now, answer)
				}
			}
			w.do("wait 1s")
		}
		if n := random.drawn + forged; n < 20 || n > 20+handshakesAtOnce {
			t.Errorf("%s: %d checks have %d handshakes computed, want one a second and %d at once", name, checks, n, handshakesAtOnce)
		}
		w.do("wait 5s")
		reunion{w.a, w.b}.check(t)
	}
}
