package peer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"p2pmodel/core/identity"
)

func testKey(n byte) identity.Key { return identity.KeyFromSeed([identity.Size]byte{1: n}) }

var testSession = SessionID{0: 0xA1, 15: 0x1A}

func TestFrameRoundTrip(t *testing.T) {
	s := newSealer([]byte("key"))
	for _, payload := range [][]byte{nil, {0}, bytes.Repeat([]byte{7}, MaxPayload)} {
		b := s.frame(frameData, testSession, 77, payload)
		if err := s.verify(b); err != nil {
			t.Fatalf("own frame of %d bytes: %v", len(payload), err)
		}
		f, err := readFrame(b)
		if err != nil || f.kind != frameData || f.session != testSession || f.sequence != 77 || !bytes.Equal(f.payload, payload) {
			t.Errorf("frame read back as %+v, %v", f, err)
		}
		if len(b) != len(payload)+frameOverhead {
			t.Errorf("frame of %d bytes for %d of payload, want %d more", len(b), len(payload), frameOverhead)
		}
		for i := range b {
			b[i] ^= 1
			if s.verify(b) == nil {
				t.Fatalf("frame of %d bytes still verifies with byte %d changed", len(b), i)
			}
			b[i] ^= 1
		}
	}
}

// TestFirstByteIsNobodys: RFC 7983 section 7 and RFC 9443 section 3.
func TestFirstByteIsNobodys(t *testing.T) {
	for _, k := range []frameType{frameData, frameBye} {
		if k < 4 || k > 15 {
			t.Errorf("frame type %#x lies in another protocol's range, want 4 to 15", k)
		}
	}
}

func TestWindow(t *testing.T) {
	for _, row := range []struct {
		name string
		in   []uint64
		want []bool
	}{
		{"in order", []uint64{1, 2, 3}, []bool{true, true, true}},
		{"zero is no number", []uint64{0}, []bool{false}},
		{"twice", []uint64{5, 5, 6, 5, 6}, []bool{true, false, true, false, false}},
		{"late but new", []uint64{10, 3, 3, 9}, []bool{true, true, false, true}},
		{"oldest of the window", []uint64{windowSize, 1, 1}, []bool{true, true, false}},
		{"just past the window", []uint64{windowSize + 1, 1, 2}, []bool{true, false, true}},
		{"far jump forgets nothing it should know", []uint64{1, 1 << 40, 1<<40 - 1, 1 << 40, 1<<40 - windowSize, 1}, []bool{true, true, true, false, false, false}},
		{"same slot of the ring", []uint64{64, 64 + 64*(windowSize/64+1), 64}, []bool{true, true, false}},
		{"the last number", []uint64{^uint64(0), ^uint64(0)}, []bool{true, false}},
	} {
		var w window
		for i, sequence := range row.in {
			if got := w.accept(sequence); got != row.want[i] {
				t.Errorf("%s: number %d (%d of %v) accepted: %v, want %v", row.name, sequence, i+1, row.in, got, row.want[i])
			}
		}
	}
}

// FuzzWindow: against a set that remembers everything.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 2, 3, 2})
	f.Add([]byte{255, 255, 255, 255, 255, 1, 255, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var w window
		seen := map[uint64]bool{}
		var at, newest uint64 = 2000, 0
		for _, s := range steps {
			at = uint64(int64(at) + (int64(s)-100)*7)
			want := at != 0 && !seen[at] && (at > newest || newest-at < windowSize)
			if got := w.accept(at); got != want {
				t.Fatalf("number %d with newest %d: accepted %v, want %v", at, newest, got, want)
			}
			if want {
				seen[at], newest = true, max(newest, at)
			}
		}
	})
}

// FuzzFrame: nothing that was not sealed is verified, whatever is read is in
// the datagram.
func FuzzFrame(f *testing.F) {
	s := newSealer([]byte("key"))
	f.Add(s.frame(frameData, testSession, 1, []byte("hello")))
	f.Add(s.frame(frameBye, testSession, 2, nil))
	f.Add([]byte{byte(frameData)})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(b)
		if err != nil {
			return
		}
		if s.verify(b) == nil && !bytes.Equal(b, s.frame(got.kind, got.session, got.sequence, got.payload)) {
			t.Errorf("%x verifies, but sealing its fields gives another frame", b)
		}
	})
}

func TestKeysAreOfOneSideOfOneSession(t *testing.T) {
	a, b, c := testKey(1), testKey(2), testKey(3)
	local, remote, err := sessionKeys(a, b.ID(), testSession)
	if err != nil {
		t.Fatal(err)
	}
	peerLocal, peerRemote, err := sessionKeys(b, a.ID(), testSession)
	if err != nil {
		t.Fatal(err)
	}
	if local.ufrag != peerRemote.ufrag || local.pwd != peerRemote.pwd || remote.pwd != peerLocal.pwd {
		t.Error("the two sides derive different credentials")
	}
	frame := local.data.frame(frameData, testSession, 1, []byte("x"))
	if peerRemote.data.verify(frame) != nil {
		t.Error("the peer does not accept what the local side seals")
	}
	if peerLocal.data.verify(frame) == nil {
		t.Error("a frame reflected to its sender is accepted")
	}
	other, _, _ := sessionKeys(a, b.ID(), SessionID{1})
	third, _, _ := sessionKeys(c, b.ID(), testSession)
	for name, k := range map[string]keys{"another session": other, "another peer": third} {
		if k.pwd == local.pwd || k.data.verify(frame) == nil {
			t.Errorf("%s has the same keys", name)
		}
	}
	if _, _, err := sessionKeys(a, identity.ID{}, testSession); !errors.Is(err, identity.ErrUnusable) {
		t.Errorf("a session with the zero key: error %v, want ErrUnusable", err)
	}
	if len(local.ufrag) != 8 || len(local.pwd) != 32 {
		t.Errorf("ufrag %q, pwd of %d characters; want 8 and 32", local.ufrag, len(local.pwd))
	}
}

// TestDerivationVector pins the derivation, so that versions of the program
// understand each other.
func TestDerivationVector(t *testing.T) {
	k := deriveKeys(identity.NewDeriver(bytes.Repeat([]byte{0x11}, 32)), testSession, testKey(1).ID())
	if got, want := k.ufrag+" "+hex.EncodeToString(k.data.tag([]byte("vector"))), "/S+60Ult 5b0774bf5bc41bdaeee50fab89ca79b5"; got != want {
		t.Errorf("derived %q, want %q: peers of other versions would not understand us", got, want)
	}
}
