package rendezvous

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/stun"
)

func TestRegistrationTakesTwoRoundTrips(t *testing.T) {
	w := newWorld(t)
	a := w.peer(1, nil, ClientConfig{})
	if !w.net.Until(time.Second, a.machine.client.Registered) {
		t.Fatal("not registered")
	}
	if took := w.net.Now().Sub(simnet.Epoch); took != 80*time.Millisecond {
		t.Errorf("it took %v, want two round trips of 40ms", took)
	}
	w.expect("the peer", a.take(), "registered 198.51.100.1:5000 rtt 40ms")
	w.expect("the server", strings.Join(w.events, " "), "Listening PeerRegistered")
}

func TestIntroductionTakesOneRoundTrip(t *testing.T) {
	w := newWorld(t)
	a, b := w.peer(1, nil, ClientConfig{}), w.peer(2, nil, ClientConfig{})
	w.net.Run(time.Second)
	a.take()
	b.take()
	begin := w.net.Now()
	a.connect(b, 7)
	w.net.Until(time.Second, func() bool { return len(a.events) > 0 && len(b.events) > 0 })
	if took := w.net.Now().Sub(begin); took != 40*time.Millisecond {
		t.Errorf("it took %v until both knew, want one round trip of 40ms", took)
	}
	w.expect("the initiator", a.take(b), `introduced peer 2 session 7 "offer of peer 2" at 198.51.100.2:5000 initiator true`)
	w.expect("the target", b.take(a), `introduced peer 1 session 7 "offer of peer 1" at 198.51.100.1:5000 initiator false`)

	// The same session anew, as after roaming: fresh offers on both sides.
	a.do(func(now time.Time) { _ = a.machine.client.SetOffer(now, []byte("new")) })
	a.connect(b, 7)
	w.net.Run(time.Second)
	w.expect("the initiator again", a.take(b), `introduced peer 2 session 7 "offer of peer 2" at 198.51.100.2:5000 initiator true`)
	w.expect("the target again", b.take(a), `introduced peer 1 session 7 "new" at 198.51.100.1:5000 initiator false`)
	b.connect(a, 8)
	w.net.Run(time.Second)
	w.expect("the other way", b.take(a), `introduced peer 1 session 8 "new" at 198.51.100.1:5000 initiator true`)
}

func TestConnectBeforeRegistrationWaits(t *testing.T) {
	w := newWorld(t)
	b := w.peer(2, nil, ClientConfig{})
	w.net.Run(time.Second)
	a := w.peer(1, nil, ClientConfig{})
	a.connect(b, 1)
	w.net.Run(time.Second)
	if got := a.take(b); !strings.Contains(got, "introduced peer 2 session 1") {
		t.Errorf("the initiator: %s", got)
	}
}

func TestUnknownPeer(t *testing.T) {
	w := newWorld(t)
	a := w.peer(1, nil, ClientConfig{})
	w.net.Run(time.Second)
	a.take()
	a.connect(&testPeer{key: testKey(77)}, 1)
	w.net.Run(time.Second)
	if len(a.events) != 1 {
		t.Fatalf("events: %s", a.take())
	}
	if e, ok := a.events[0].(ConnectFailed); !ok || !errors.Is(e.Err, ErrUnknownPeer) {
		t.Errorf("got %+v, want ConnectFailed with ErrUnknownPeer", a.events[0])
	}
}

// With a third of all packets lost on every link, each event still comes, once.
func TestLoss(t *testing.T) {
	for seed := range byte(20) {
		w := newWorld(t)
		a, b := w.peer(seed, nil, ClientConfig{}), w.peer(seed+100, nil, ClientConfig{})
		w.net.Run(3 * time.Second)
		a.host.SetLink(simnet.Link{Delay: 10 * time.Millisecond, Loss: 0.3})
		b.host.SetLink(simnet.Link{Delay: 10 * time.Millisecond, Loss: 0.3})
		a.take()
		b.take()
		a.connect(b, 7)
		w.net.Run(3 * time.Second)
		if got := a.take(b); strings.Count(got, "introduced") != 1 {
			t.Errorf("seed %d: the initiator was told: %s", seed, got)
		}
		if got := b.take(a); strings.Count(got, "introduced") != 1 {
			t.Errorf("seed %d: the target was told: %s", seed, got)
		}
	}
}

func TestKeepaliveNoticesANewMapping(t *testing.T) {
	w := newWorld(t)
	nat := &simnet.TestNAT{External: netip.MustParseAddr("192.0.2.1"), Timeout: 30 * time.Second}
	a := w.peer(1, w.net.Internet().Behind(nat, nat.External), ClientConfig{Keepalive: 10 * time.Second})
	b := w.peer(2, nil, ClientConfig{})
	w.net.Run(5 * time.Minute)
	w.expect("with keepalive below the NAT's timeout", a.take(), "registered 192.0.2.1:20000 rtt 40ms")
	nat.Reset()
	w.net.Run(11 * time.Second)
	w.expect("after the NAT's reboot", a.take(), "reflexive 192.0.2.1:20000→192.0.2.1:20001")
	b.connect(a, 1)
	w.net.Run(time.Second)
	w.expect("and reachable there", a.take(b), `introduced peer 2 session 1 "offer of peer 2" at 198.51.100.2:5000 initiator false`)
}

func TestRefreshFollowsAShortLifetime(t *testing.T) {
	w := newWorld(t)
	w.start(ServerConfig{Lifetime: 4 * time.Second})
	a, b := w.peer(1, nil, ClientConfig{}), w.peer(2, nil, ClientConfig{})
	w.net.Run(time.Minute)
	a.connect(b, 1)
	w.net.Run(time.Second)
	if got := a.take(b); !strings.Contains(got, "introduced peer 2") {
		t.Errorf("with a lifetime below the keepalive: %s", got)
	}
}

// An offer that changes while a registration is under way is not lost.
func TestOfferChangedMeanwhile(t *testing.T) {
	for at := time.Duration(0); at < 200*time.Millisecond; at += 10 * time.Millisecond {
		w := newWorld(t)
		a, b := w.peer(1, nil, ClientConfig{}), w.peer(2, nil, ClientConfig{})
		w.net.Run(at)
		b.do(func(now time.Time) { _ = b.machine.client.SetOffer(now, []byte("changed")) })
		w.net.Run(time.Second)
		a.connect(b, 1)
		w.net.Run(time.Second)
		if got := a.take(b); !strings.Contains(got, `"changed"`) {
			t.Errorf("changed after %v: %s", at, got)
		}
	}
}

func TestKeepaliveSwitchedOff(t *testing.T) {
	w := newWorld(t)
	nat := &simnet.TestNAT{External: netip.MustParseAddr("192.0.2.1"), Timeout: 30 * time.Second}
	a := w.peer(1, w.net.Internet().Behind(nat, nat.External), ClientConfig{Keepalive: -1})
	w.net.Run(time.Second)
	w.packets = nil
	w.net.Run(10 * time.Minute)
	if len(w.packets) != 0 {
		t.Errorf("%d packets without keepalive, the first: %v", len(w.packets), w.packets[0])
	}
	b := w.peer(2, nil, ClientConfig{})
	w.net.Run(time.Second)
	b.take()
	b.connect(a, 1)
	w.net.Run(time.Second)
	w.expect("its registration has expired", b.take(a), "failed peer 1 session 1: "+ErrUnknownPeer.Error())
}

func TestRoaming(t *testing.T) {
	w := newWorld(t)
	nat := &simnet.TestNAT{External: netip.MustParseAddr("192.0.2.1"), Mapping: simnet.AddressPort, Filtering: simnet.AddressPort}
	wifi := w.net.Internet().Behind(nat, nat.External)
	a, b := w.peer(1, nil, ClientConfig{}), w.peer(2, nil, ClientConfig{})
	w.net.Run(time.Second)
	a.take()
	b.take()
	begin := w.net.Now()
	a.host.Move(wifi, netip.MustParseAddr("192.168.1.2"))
	a.do(a.machine.client.Rebind)
	w.net.Until(time.Second, func() bool { return len(a.events) > 1 })
	if took := w.net.Now().Sub(begin); took != 80*time.Millisecond {
		t.Errorf("roaming took %v, want two round trips: the old nonce is bound to the old source", took)
	}
	w.expect("after roaming", a.take(), "reflexive 198.51.100.1:5000→192.0.2.1:20000", "registered 192.0.2.1:20000 rtt 40ms")
	b.connect(a, 3)
	w.net.Run(time.Second)
	w.expect("found at the new place", b.take(a), `introduced peer 1 session 3 "offer of peer 1" at 192.0.2.1:20000 initiator true`)
	w.expect("and told there", a.take(b), `introduced peer 2 session 3 "offer of peer 2" at 198.51.100.2:5000 initiator false`)
}

// Who hears from elsewhere that the network is back need not wait for the next request.
func TestRetryAfterAnOutage(t *testing.T) {
	w := newWorld(t)
	a := w.peer(1, nil, ClientConfig{Keepalive: time.Second})
	w.net.Run(10 * time.Second)
	w.packets = nil
	a.do(a.machine.client.Retry)
	w.net.Run(100 * time.Millisecond)
	if len(w.packets) != 0 {
		t.Errorf("%d packets by a retry without an outage", len(w.packets))
	}
	a.host.SetLink(simnet.Link{Down: true})
	w.net.Run(time.Minute)
	a.host.SetLink(simnet.Link{Delay: 10 * time.Millisecond})
	begin := w.net.Now()
	a.do(a.machine.client.Retry)
	if !w.net.Until(10*time.Second, a.machine.client.Registered) {
		t.Fatal("not registered again")
	}
	if took := w.net.Now().Sub(begin); took > 80*time.Millisecond {
		t.Errorf("back after %v, want two round trips at most", took)
	}
}

func TestOutage(t *testing.T) {
	w := newWorld(t)
	a := w.peer(1, nil, ClientConfig{Keepalive: time.Second})
	w.net.Run(10 * time.Second)
	a.take()
	a.host.SetLink(simnet.Link{Down: true})
	w.net.Run(time.Minute)
	a.connect(&testPeer{key: testKey(9)}, 1)
	w.packets = nil
	w.net.Run(time.Minute)
	if n := len(w.packets); n < 20 || n > 60 {
		t.Errorf("%d packets a minute during an outage, want one about every two seconds", n)
	}
	w.expect("once", a.take(), "unreachable: "+ErrUnreachable.Error(), fmt.Sprintf("failed %s session 1: %v", testKey(9).ID().Short(), ErrUnreachable))
	a.host.SetLink(simnet.Link{Delay: 10 * time.Millisecond})
	begin := w.net.Now()
	if !w.net.Until(10*time.Second, a.machine.client.Registered) {
		t.Fatal("not registered again")
	}
	if took := w.net.Now().Sub(begin); took > 2200*time.Millisecond {
		t.Errorf("back only after %v", took)
	}
	if got := a.take(); !strings.HasPrefix(got, "registered") {
		t.Errorf("afterwards: %s", got)
	}
}

func TestServerRestart(t *testing.T) {
	for name, c := range map[string]struct {
		key    identity.Key
		pinned bool
		want   bool
	}{
		"with its key":                    {keyServer, true, true},
		"with another, not expected":      {testKey(201), true, false},
		"with another, none was expected": {testKey(201), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cfg := ClientConfig{Keepalive: 5 * time.Second}
			if c.pinned {
				id := keyServer.ID()
				cfg.ServerKey = &id
			}
			a, b := w.peer(1, nil, cfg), w.peer(2, nil, cfg)
			for _, p := range []*testPeer{a, b} {
				p.do(func(now time.Time) { _ = p.machine.client.Join(now, "hall") })
			}
			w.net.Run(time.Second)
			a.take()
			w.start(ServerConfig{Key: c.key})
			w.net.Run(20 * time.Second)
			got := a.take(b)
			if !c.want {
				w.expect("the wrong server", got, "unreachable: "+ErrWrongServer.Error())
				return
			}
			if !strings.Contains(got, "registered 198.51.100.1:5000") || strings.Contains(got, "unreachable") {
				t.Errorf("after the restart: %s", got)
			}
			b.take()
			a.connect(b, 1)
			w.net.Run(time.Second)
			if got := b.take(a); !strings.Contains(got, `introduced peer 1 session 1 "offer of peer 1"`) {
				t.Errorf("introduction after the restart: %s", got)
			}
			a.runner.Do(func(now time.Time) { a.machine.client.Leave(now, "hall"); a.machine.drain() })
			w.net.Run(time.Second)
			w.expect("the room was entered anew", b.take(a), "hall peer 1 joined false")
		})
	}
}

func TestStopTakesTheRegistrationBack(t *testing.T) {
	w := newWorld(t)
	a, b := w.peer(1, nil, ClientConfig{}), w.peer(2, nil, ClientConfig{})
	w.net.Run(time.Second)
	b.take()
	a.do(a.machine.client.Stop)
	w.net.Run(time.Second)
	b.connect(a, 1)
	w.net.Run(time.Second)
	w.expect("after Stop", b.take(a), "failed peer 1 session 1: "+ErrUnknownPeer.Error())
	w.packets = nil
	w.net.Run(time.Minute)
	for _, p := range w.packets {
		if p.From == a.host {
			t.Fatalf("a stopped client sends %v", p)
		}
	}
	a.do(a.machine.client.Start)
	w.net.Run(time.Second)
	if !a.machine.client.Registered() {
		t.Error("not registered after a second Start")
	}
}

func TestOfferTooLong(t *testing.T) {
	c := NewClient(ClientConfig{Server: serverAddress, Key: testKey(1), Rand: random(1)})
	if err := c.SetOffer(time.Time{}, bytes.Repeat([]byte("x"), MaxOffer+1)); err == nil {
		t.Error("an offer too long is taken")
	}
	if err := c.Join(time.Time{}, ""); err == nil {
		t.Error("a room without a name is entered")
	}
}

// The largest messages stay below what every path carries unfragmented.
func TestMessagesAreSmall(t *testing.T) {
	w := newWorld(t)
	a, b := w.peer(1, nil, ClientConfig{}), w.peer(2, nil, ClientConfig{})
	for _, p := range []*testPeer{a, b} {
		p.do(func(now time.Time) {
			_ = p.machine.client.SetOffer(now, make([]byte, MaxOffer))
			_ = p.machine.client.Join(now, strings.Repeat("r", MaxRoomName))
		})
	}
	w.net.Run(time.Second)
	a.connect(b, 1)
	w.net.Run(time.Second)
	for _, p := range w.packets {
		if len(p.Payload) > 1200 {
			t.Errorf("a message of %d bytes", len(p.Payload))
		}
	}
}

// What an attacker sends who sees nothing of the conversation changes nothing.
func TestForgedResponses(t *testing.T) {
	w := newWorld(t)
	a := w.peer(1, nil, ClientConfig{})
	w.net.Run(time.Second)
	a.take()
	forged := []struct {
		name    string
		payload []byte
	}{
		{"an introduction without authentication", seal(stun.MethodIntroduce, 0, transactionID{1}, nil,
			idAttribute(stun.AttrPeerID, testKey(5).ID()), stun.Attribute{Type: stun.AttrSession, Value: make([]byte, 16)}).Raw},
		{"an introduction under another key", seal(stun.MethodIntroduce, 0, transactionID{2}, stun.ShortTerm("guess"),
			idAttribute(stun.AttrPeerID, testKey(5).ID()), stun.Attribute{Type: stun.AttrSession, Value: make([]byte, 16)}).Raw},
		{"a success for nothing", seal(stun.MethodRegister, 2, transactionID{3}, nil).Raw},
	}
	w.packets = nil
	for _, f := range forged {
		a.do(func(now time.Time) {
			if !a.machine.client.HandleDatagram(now, serverAddress, f.payload) {
				t.Errorf("%s is left to others", f.name)
			}
		})
	}
	if len(a.events) != 0 || len(w.packets) != 0 {
		t.Errorf("events %v, packets %v", a.events, w.packets)
	}
	for _, payload := range [][]byte{nil, []byte("hello"), seal(1, 0, transactionID{}, nil).Raw} {
		if a.machine.client.HandleDatagram(w.net.Now(), serverAddress, payload) {
			t.Errorf("%x is for others, but was taken", payload)
		}
	}
	if a.machine.client.HandleDatagram(w.net.Now(), netip.MustParseAddrPort("192.0.2.9:1"), forged[2].payload) {
		t.Error("what does not come from the server is taken")
	}
}

// Of the answers to a request that is signed, only those that ask for a nonce
// may come unsigned.
func TestForgedErrors(t *testing.T) {
	w := newWorld(t)
	a := w.peer(1, nil, ClientConfig{})
	b := w.peer(2, nil, ClientConfig{})
	w.net.Run(time.Second)
	a.take()
	for _, code := range []pion.ErrorCode{400, 404, 409, 420, 437, 486, 500, 508} {
		w.packets = nil
		a.connect(b, byte(code))
		w.net.Run(25 * time.Millisecond) // the request has arrived, its answer has not
		request := w.packets[len(w.packets)-1].Payload
		forged := seal(stun.MethodConnect, pion.ClassErrorResponse, transactionID(request[8:20]), nil, pion.ErrorCodeAttribute{Code: code})
		a.do(func(now time.Time) { a.machine.client.HandleDatagram(now, serverAddress, forged.Raw) })
		w.net.Run(time.Second)
		if got := a.take(b); !strings.HasPrefix(got, "introduced peer 2") {
			t.Errorf("after a forged %d: %q, want an introduction", code, got)
		}
	}
}

// Whoever recorded what the server said cannot say it again, neither to a peer
// that has forgotten it nor later: the session's frames could follow.
func TestReplayedNotices(t *testing.T) {
	w := newWorld(t)
	a, b := w.peer(1, nil, ClientConfig{}), w.peer(2, nil, ClientConfig{})
	for _, p := range []*testPeer{a, b} {
		p.join(t, "hall")
	}
	w.net.Run(time.Second)
	w.packets, b.events = nil, nil
	a.connect(b, 1)
	a.do(func(now time.Time) { a.machine.client.Leave(now, "hall") })
	w.net.Run(time.Second)
	var recorded [][]byte
	for _, p := range w.packets {
		if m, err := stun.Parse(p.Payload); err == nil && p.To == b.host && m.Type.Class == pion.ClassRequest {
			recorded = append(recorded, p.Payload)
		}
	}
	if len(recorded) != 2 || len(b.events) != 2 {
		t.Fatalf("%d requests of the server and the events %v, want an introduction and a leave", len(recorded), b.events)
	}
	forget := func() { b.machine.client.seen = nil } // as 256 newer ones make it
	replay := func(when string) {
		t.Helper()
		b.events, w.packets = nil, nil
		for _, payload := range recorded {
			b.do(func(now time.Time) { b.machine.client.HandleDatagram(now, serverAddress, payload) })
		}
		if got := b.take(a); got != "" || len(w.packets) != 0 {
			t.Errorf("%s: %s, %d datagrams", when, got, len(w.packets))
		}
	}
	w.net.Run(time.Minute)
	forget()
	replay("a minute later")
	b.do(b.machine.client.Stop)
	forget()
	replay("after the end")
	b.do(b.machine.client.Start)
	replay("before the next registration")
	w.net.Run(time.Second)
	replay("in the next life")
	a.connect(b, 2)
	w.net.Run(time.Second)
	w.expect("a true introduction", b.take(a), `introduced peer 1 session 2 "offer of peer 1" at 198.51.100.1:5000 initiator false`)
	// A server whose clock went back is believed: it has shown its key.
	b.machine.client.serverSequence += 3600e6
	b.machine.client.oldest += 3600e6
	w.net.Run(20 * time.Second)
	a.connect(b, 3)
	w.net.Run(time.Second)
	w.expect("with another clock", b.take(a), `introduced peer 1 session 3 "offer of peer 1" at 198.51.100.1:5000 initiator false`)
}

// FuzzClient: no datagram from the server's address makes trouble, authentic or
// not.
func FuzzClient(f *testing.F) {
	key, err := sharedKey(testKey(1), keyServer.ID(), testKey(1).ID(), keyServer.ID())
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range clientCorpus(key) {
		f.Add(m, true)
	}
	f.Fuzz(func(t *testing.T, payload []byte, authentic bool) {
		id := keyServer.ID()
		c := NewClient(ClientConfig{Server: serverAddress, Key: testKey(1), ServerKey: &id, Rand: random(1)})
		now := simnet.Epoch
		c.Start(now)
		_, first, _ := c.PollTransmit()
		if authentic {
			payload = resign(payload, first[8:20], key)
		}
		if authentic && len(payload) > 1 && payload[0]&1 == 0 && payload[1]&0x10 == 0 {
			// A request of the server's means something to the registered only.
			c.HandleDatagram(now, serverAddress, seal(stun.MethodRegister, pion.ClassSuccessResponse, transactionID(first[8:20]), key,
				stun.XORAddress{Type: pion.AttrXORMappedAddress, Address: serverAddress}, sequenceAttribute(8)).Raw)
		}
		c.HandleDatagram(now, serverAddress, payload)
		for range 3 {
			now = now.Add(time.Second)
			c.HandleTimeout(now)
		}
		for _, ok := c.PollEvent(); ok; _, ok = c.PollEvent() {
		}
		sent := 0
		for _, _, ok := c.PollTransmit(); ok; _, _, ok = c.PollTransmit() {
			sent++
		}
		if sent > 100 {
			t.Errorf("%d datagrams in answer to one", sent)
		}
	})
}

var _ sansio.Machine = (*peer)(nil)
