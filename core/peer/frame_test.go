package peer

import (
	"bytes"
	"testing"

	"p2pmodel/core/identity"
	"p2pmodel/core/secure"
)

func testKey(n byte) identity.Key { return identity.KeyFromSeed([identity.Size]byte{1: n}) }

var testSession = SessionID{0: 0xA1, 15: 0x1A}

// TestFirstByteIsNobodys: RFC 7983 section 7 and RFC 9443 section 3.
func TestFirstByteIsNobodys(t *testing.T) {
	for _, k := range []frameType{frameData, frameBye} {
		if k < 4 || k > 15 {
			t.Errorf("frame type %#x lies in another protocol's range, want 4 to 15", k)
		}
	}
}

func TestKeysAreOfOneSideOfOneSession(t *testing.T) {
	a, b, c := testKey(1), testKey(2), testKey(3)
	derive := func(own, peer identity.Key, session SessionID) (local, remote keys) {
		shared, err := own.Shared(peer.ID())
		if err != nil {
			t.Fatal(err)
		}
		return sessionKeys(shared, own.ID(), peer.ID(), session)
	}
	local, remote := derive(a, b, testSession)
	peerLocal, peerRemote := derive(b, a, testSession)
	if local != peerRemote || remote != peerLocal {
		t.Error("the two sides derive different credentials")
	}
	if local.pwd == remote.pwd || local.ufrag == remote.ufrag {
		t.Error("both sides have the same credentials: a check could be reflected to its sender")
	}
	other, _ := derive(a, b, SessionID{1})
	third, _ := derive(c, b, testSession)
	for name, k := range map[string]keys{"another session": other, "another peer": third} {
		if k.pwd == local.pwd {
			t.Errorf("%s has the same keys", name)
		}
	}
	if len(local.ufrag) != 8 || len(local.pwd) != 32 {
		t.Errorf("ufrag %q, pwd of %d characters; want 8 and 32", local.ufrag, len(local.pwd))
	}
}

// TestDerivationVector pins the derivation, so that versions of the program
// understand each other.
func TestDerivationVector(t *testing.T) {
	k := deriveKeys(identity.NewDeriver(bytes.Repeat([]byte{0x11}, 32)), testSession, testKey(1).ID())
	if got, want := k.ufrag+" "+k.pwd, "/S+60Ult kFq9LjtSZtMpQqeODSwd5kmC9pTGL4GP"; got != want {
		t.Errorf("derived %q, want %q: peers of other versions would not understand us", got, want)
	}
}

// TestMaxPayload: with a relay's framing, the longest datagram fits the smallest
// path that IPv6 has; and QUIC's smallest first packet fits a datagram.
func TestMaxPayload(t *testing.T) {
	const ip, udp, channelData = 40, 8, 4
	if got := MaxPayload + secure.Overhead + channelData + udp + ip; got > 1280 {
		t.Errorf("the longest datagram makes a packet of %d bytes, want at most 1280", got)
	}
	if MaxPayload < 1200 {
		t.Errorf("%d bytes are too few for QUIC, which wants 1200", MaxPayload)
	}
}
