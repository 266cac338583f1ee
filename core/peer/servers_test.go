package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/ticket"
)

// shard is a rendezvous and a relay with the one who gives tickets and
// credentials for them.
type shard struct {
	w                *world
	signer           *ticket.Signer
	secret           relay.SharedSecret
	rendezvous, udp  *simnet.Host
	server           *rendezvous.Server
	relayServer      *relay.Server
	at, relayAt      netip.AddrPort
	serving, carries *simnet.Runner
}

// shard makes the n-th, from 1.
func (w *world) shard(n byte) *shard {
	w.t.Helper()
	s := &shard{
		w: w, secret: relay.SharedSecret(fmt.Sprint("secret ", n)),
		at:      netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 1, n}), 3478),
		relayAt: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 2, n}), 3478),
	}
	var err error
	if s.signer, err = ticket.NewSigner(append(make([]byte, 31), n)); err != nil {
		w.t.Fatal(err)
	}
	admission, err := ticket.NewVerifier(s.signer.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	s.server, err = rendezvous.NewServer(rendezvous.ServerConfig{
		Listen: s.at, Key: identity.KeyFromSeed([identity.Size]byte{30: 0x55, 31: n}), Rand: random(w.seed, 1000+uint64(n)), Admission: admission,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s.rendezvous = w.net.Internet().Host(fmt.Sprint("rendezvous ", n), s.at.Addr())
	s.serving = s.rendezvous.Run(s.server, nil)
	s.relayServer, err = relay.NewServer(relay.ServerConfig{
		Listen: s.relayAt, RelayAddress: s.relayAt.Addr(), PortLow: 50000, PortHigh: 50999,
		Authenticators: []relay.Authenticator{s.secret}, Rand: random(w.seed, 2000+uint64(n)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s.udp = w.net.Internet().Host(fmt.Sprint("relay ", n), s.relayAt.Addr())
	s.carries = s.udp.Run(s.relayServer, nil)
	return s
}

// kill takes both servers off the network.
func (s *shard) kill() {
	s.rendezvous.SetLink(simnet.Link{Down: true})
	s.udp.SetLink(simnet.Link{Down: true})
}

// servers are what a peer gets for a time.
func (s *shard) servers(id identity.ID, mesh string, life time.Duration) Servers {
	s.w.t.Helper()
	raw, err := s.signer.Sign(ticket.Ticket{Peer: id, Mesh: mesh, Expires: s.w.net.Now().Add(life)})
	if err != nil {
		s.w.t.Fatal(err)
	}
	key := s.server.ID()
	r := &RelayConfig{Server: s.relayAt}
	r.Username, r.Password = s.secret.Credentials(id.Short(), s.w.net.Now().Add(life))
	return Servers{Rendezvous: s.at, RendezvousKey: &key, Ticket: raw, Relay: r}
}

// member starts a peer with what the shard gives, and has it join the mesh.
func (s *shard) member(name string, b behaviour, mesh string, life time.Duration) *node {
	s.w.t.Helper()
	key := identity.KeyFromSeed([identity.Size]byte{1: byte(len(s.w.peers) + 1)})
	given := s.servers(key.ID(), mesh, life)
	n := s.w.peer(name, b, Config{
		Key: key, Rendezvous: given.Rendezvous, RendezvousKey: given.RendezvousKey, Ticket: given.Ticket, Relay: given.Relay,
	})
	n.do(func(now time.Time) error { return n.machine.Join(now, mesh) })
	return n
}

func (n *node) do(f func(now time.Time) error) {
	n.w.t.Helper()
	n.runner.Do(func(now time.Time) {
		if err := f(now); err != nil {
			n.w.t.Errorf("%s: %v", n.name, err)
		}
	})
}

// go has peers go on with what the shard gives.
func (s *shard) take(mesh string, life time.Duration, peers ...*node) {
	s.w.t.Helper()
	for _, n := range peers {
		n.do(func(now time.Time) error { return n.machine.SetServers(now, s.servers(n.id(), mesh, life)) })
	}
}

// chat has two peers send datagrams each 20 ms, both ways, and gives the longest
// time in which one of them got none.
func (w *world) chat(a, b *node, d time.Duration) (gap time.Duration) {
	heard := map[*node]time.Time{a: w.net.Now(), b: w.net.Now()}
	got := map[*node]int{a: len(a.got), b: len(b.got)}
	for end := w.net.Now().Add(d); w.net.Now().Before(end); {
		_ = a.send(b, "x") // without a path it is lost
		_ = b.send(a, "x")
		w.net.Run(20 * ms)
		for _, n := range []*node{a, b} {
			if len(n.got) > got[n] {
				heard[n], got[n] = w.net.Now(), len(n.got)
			}
			gap = max(gap, w.net.Now().Sub(heard[n]))
		}
	}
	return gap
}

// failures are the Failed events that are of an error.
func (n *node) failures(is error) (c int) {
	for _, e := range n.events {
		if f, ok := e.(Failed); ok && errors.Is(f.Err, is) {
			c++
		}
	}
	return c
}

const life = time.Minute

// TestRenewalKeepsARelayedSession: credentials that live a minute are renewed
// each half, for a quarter of an hour; and without that the session ends.
func TestRenewalKeepsARelayedSession(t *testing.T) {
	for _, renewed := range []bool{true, false} {
		w := newWorld(t, 1)
		s := w.shard(1)
		a, b := s.member("a", symmetric, "room", life), s.member("b", symmetric, "room", life)
		w.net.Until(10*time.Second, settled(a, b))
		w.want(a, b, Relay)
		session, relayed := a.session(b), a.machine.relays[0].relayed
		var gap time.Duration
		for range 30 {
			if gap = max(gap, w.chat(a, b, 29*time.Second)); renewed {
				s.take("room", life, a, b)
			}
			gap = max(gap, w.chat(a, b, time.Second))
		}
		if !renewed {
			if count[RelayFailed](a)+count[RelayFailed](b) == 0 || a.failures(rendezvous.ErrTicket) == 0 || a.path(b).Kind != NoPath {
				t.Errorf("nothing was renewed, and yet: path %v\n%s", a.path(b), a.history())
			}
			continue
		}
		if gap > 100*ms || a.session(b) != session || a.machine.relays[0].relayed != relayed {
			t.Errorf("longest gap %v, session %v → %v, relayed address %v → %v; want none and the same ones\n%s",
				gap, session, a.session(b), relayed, a.machine.relays[0].relayed, a.history())
		}
		for _, n := range []*node{a, b} {
			if lost, failed := count[PathLost](n), count[RelayFailed](n)+count[Failed](n); lost+failed > 0 {
				t.Errorf("%d paths lost, %d failures\n%s", lost, failed, n.history())
			}
			if tickets, relays := count[TicketRenewed](n), count[RelayRenewed](n); tickets != 30 || relays != 30 {
				t.Errorf("%s: %d tickets and %d times relay credentials renewed, want 30 of each", n.name, tickets, relays)
			}
		}
	}
}

// TestCredentialsOfAnotherUser: the relay has the allocation made anew.
func TestCredentialsOfAnotherUser(t *testing.T) {
	w := newWorld(t, 1)
	s := w.shard(1)
	a, b := s.member("a", symmetric, "room", time.Hour), s.member("b", symmetric, "room", time.Hour)
	w.net.Until(10*time.Second, settled(a, b))
	session, relayed := a.session(b), a.machine.relays[0].relayed
	for _, n := range []*node{a, b} {
		n.do(func(now time.Time) error {
			given := s.servers(n.id(), "room", time.Hour)
			given.Relay.Username, given.Relay.Password = s.secret.Credentials("another", now.Add(time.Hour))
			return n.machine.SetServers(now, given)
		})
	}
	gap := w.chat(a, b, 10*time.Second)
	w.want(a, b, Relay)
	if a.session(b) != session || a.machine.relays[0].relayed == relayed || gap > 2*time.Second {
		t.Errorf("session %v → %v, relayed %v → %v, gap %v; want the same session over another address within 2 s\n%s",
			session, a.session(b), relayed, a.machine.relays[0].relayed, gap, a.history())
	}
	t.Logf("gap %v", gap)
}

// TestMoveToAnotherShard: the peers are told one after the other, while the first
// shard lives on; then it is killed.
func TestMoveToAnotherShard(t *testing.T) {
	for _, row := range []struct {
		b    behaviour
		path PathKind
	}{{portRestricted, Direct}, {symmetric, Relay}} {
		w := newWorld(t, 1)
		first, second := w.shard(1), w.shard(2)
		a, b := first.member("a", row.b, "room", time.Hour), first.member("b", row.b, "room", time.Hour)
		w.net.Until(10*time.Second, settled(a, b))
		w.want(a, b, row.path)
		session := a.session(b)
		second.take("room", time.Hour, a)
		gap := w.chat(a, b, 2*time.Second)
		second.take("room", time.Hour, b)
		gap = max(gap, w.chat(a, b, 10*time.Second))
		for _, n := range []*node{a, b} {
			if released := count[RelayReleased](n); released != 1 || len(n.machine.relays) > 1 {
				t.Errorf("%s gave %d allocations back, want 1\n%s", n.name, released, n.history())
			}
			if lost := count[PathLost](n) + count[MemberLeft](n) + count[Closed](n); lost > 0 {
				t.Errorf("%s lost something\n%s", n.name, n.history())
			}
		}
		if st := first.relayServer.Stats(); st.Allocations != 0 || st.Deleted != 2 {
			t.Errorf("the first relay has %d allocations, %d were deleted; want 0 and 2", st.Allocations, st.Deleted)
		}
		first.kill()
		gap = max(gap, w.chat(a, b, 20*time.Second))
		w.want(a, b, row.path)
		if gap > 100*ms || a.session(b) != session || b.session(a) != session {
			t.Errorf("%v: gap %v, session %v → %v and %v\n%s\n%s", row.path, gap, session, a.session(b), b.session(a), a.history(), b.history())
		}
		// The second shard does for them what the first one did.
		a.nat.Reset()
		w.net.Run(15 * time.Second)
		w.want(a, b, row.path)
		c := second.member("c", fullCone, "room", time.Hour)
		w.net.Run(5 * time.Second)
		if c.path(a).Kind == NoPath || c.path(b).Kind == NoPath || a.session(b) != session {
			t.Errorf("a third member's paths: %v, %v", c.path(a), c.path(b))
		}
	}
}

// TestMoveFromADeadShard: it was killed, and the peers hear of the other one a
// second later, one after the other.
func TestMoveFromADeadShard(t *testing.T) {
	for _, row := range []struct {
		b     behaviour
		path  PathKind
		bound time.Duration
	}{{portRestricted, Direct, 100 * ms}, {symmetric, Relay, 4 * time.Second}} {
		w := newWorld(t, 1)
		first, second := w.shard(1), w.shard(2)
		a, b := first.member("a", row.b, "room", time.Hour), first.member("b", row.b, "room", time.Hour)
		w.net.Until(10*time.Second, settled(a, b))
		session := a.session(b)
		first.kill()
		gap := w.chat(a, b, time.Second)
		second.take("room", time.Hour, b)
		gap = max(gap, w.chat(a, b, 500*ms))
		second.take("room", time.Hour, a)
		gap = max(gap, w.chat(a, b, 60*time.Second))
		w.want(a, b, row.path)
		if gap > row.bound || a.session(b) != session || count[MemberLeft](a)+count[MemberLeft](b) > 0 {
			t.Errorf("%v: gap %v, want %v at most; session %v → %v\n%s\n%s", row.path, gap, row.bound, session, a.session(b), a.history(), b.history())
		}
		t.Logf("%v: gap %v", row.path, gap)
		if len(a.machine.relays) > 1 {
			t.Error("the old allocation is not forgotten")
		}
	}
}

// TestWhoDoesNotComeAlong is a member until its session ends.
func TestWhoDoesNotComeAlong(t *testing.T) {
	w := newWorld(t, 1)
	first, second := w.shard(1), w.shard(2)
	a, b := first.member("a", fullCone, "room", time.Hour), first.member("b", fullCone, "room", time.Hour)
	w.net.Until(10*time.Second, settled(a, b))
	second.take("room", time.Hour, a)
	w.net.Run(10 * time.Second)
	if count[MemberLeft](a) != 0 || a.path(b).Kind != Direct {
		t.Errorf("after the move: path %v\n%s", a.path(b), a.history())
	}
	b.runner.Do(b.machine.Shutdown)
	w.net.Run(time.Second)
	if count[MemberLeft](a) != 1 || len(a.machine.rooms[0].members) != 0 {
		t.Errorf("after the session's end it should have left\n%s", a.history())
	}
}

// TestAnotherMesh at the same servers: sessions with those who are allowed go on.
func TestAnotherMesh(t *testing.T) {
	w := newWorld(t, 1)
	s := w.shard(1)
	a, b := s.member("a", portRestricted, "one", time.Hour), s.member("b", portRestricted, "one", time.Hour)
	w.net.Until(10*time.Second, settled(a, b))
	session := a.session(b)
	for _, n := range []*node{a, b} {
		n.do(func(now time.Time) error {
			n.machine.SetAllowed(now, []identity.ID{a.id(), b.id()})
			err := errors.Join(n.machine.SetServers(now, s.servers(n.id(), "two", time.Hour)), n.machine.Join(now, "two"))
			n.machine.Leave(now, "one")
			return err
		})
		w.net.Run(time.Second)
	}
	w.net.Run(5 * time.Second)
	w.want(a, b, Direct)
	if a.session(b) != session || count[Closed](a)+count[Failed](a)+count[Failed](b) != 0 || len(a.machine.rooms[0].members) != 1 {
		t.Errorf("session %v → %v, members of the new room: %v\n%s", session, a.session(b), a.machine.rooms[0].members, a.history())
	}
}

func TestTicketsAreWanted(t *testing.T) {
	w := newWorld(t, 1)
	s := w.shard(1)
	b := s.member("b", fullCone, "room", time.Hour)
	for _, row := range []struct {
		name   string
		change func(a *node, given *Servers)
		says   string
	}{
		{"none", func(_ *node, given *Servers) { given.Ticket = nil }, "Ticket Required"},
		{"expired", func(a *node, given *Servers) { given.Ticket = s.servers(a.id(), "room", -time.Second).Ticket }, "Ticket Expired"},
		{"another's", func(_ *node, given *Servers) { given.Ticket = s.servers(b.id(), "room", time.Hour).Ticket }, "Ticket Of Another Peer"},
		{"of another shard", func(a *node, given *Servers) { given.Ticket = w.shard(9).servers(a.id(), "room", time.Hour).Ticket }, "Ticket Of An Unknown Key"},
		{"no ticket at all", func(_ *node, given *Servers) { given.Ticket = []byte("let me in") }, "Ticket Malformed"},
		{"of another mesh", func(a *node, given *Servers) { given.Ticket = s.servers(a.id(), "hall", time.Hour).Ticket }, "Not The Ticket's Mesh"},
	} {
		a := &node{w: w, name: row.name}
		key := identity.KeyFromSeed([identity.Size]byte{1: byte(len(w.peers) + 1)})
		a.nat, a.segment = w.home(fullCone)
		a.host = a.segment.Host(a.name, netip.MustParseAddr("192.168.1.2"))
		given := s.servers(key.ID(), "room", time.Hour)
		a.machine = &Machine{cfg: Config{Key: key}}
		row.change(a, &given)
		w.start(a, Config{Key: key, Rendezvous: given.Rendezvous, RendezvousKey: given.RendezvousKey, Ticket: given.Ticket, Relay: given.Relay})
		a.do(func(now time.Time) error {
			return errors.Join(a.machine.Join(now, "room"), a.machine.Connect(now, b.id()))
		})
		w.net.Run(20 * time.Second)
		f, _, _ := last[Failed](a)
		said := 0
		for _, e := range a.events {
			if f, ok := e.(Failed); ok && errors.Is(f.Err, rendezvous.ErrTicket) && strings.Contains(f.Err.Error(), row.says) {
				said++
			}
		}
		if said == 0 || a.path(b).Kind != NoPath || count[MemberJoined](a) > 0 {
			t.Errorf("%s: %d events say %q, the last failure %v, path %v\n%s", row.name, said, row.says, f.Err, a.path(b), a.history())
		}
		a.runner.Do(a.machine.Shutdown)
		w.net.Run(time.Second)
	}
	// What helps is another ticket.
	a := s.member("late", fullCone, "room", -time.Second)
	w.net.Run(3 * time.Second)
	s.take("room", time.Hour, a)
	w.net.Run(3 * time.Second)
	w.want(a, b, Direct)
}

func TestAllowed(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.peer("a", fullCone, laboratory), w.peer("b", fullCone, laboratory), w.peer("c", fullCone, laboratory)
	allow := func(n *node, who ...*node) {
		ids := []identity.ID{}
		for _, o := range who {
			ids = append(ids, o.id())
		}
		n.runner.Do(func(now time.Time) { n.machine.SetAllowed(now, ids) })
	}
	allow(a, b)
	w.net.Run(500 * ms)
	for _, n := range []*node{a, b, c} {
		n.do(func(now time.Time) error { return n.machine.Join(now, "room") })
	}
	w.net.Run(10 * time.Second)
	w.want(a, b, Direct)
	w.want(b, c, Direct)
	if _, there := a.machine.Session(c.id()); there || a.machine.Stats().NotAllowed == 0 || count[Failed](a) > 0 {
		t.Errorf("a has a session with c: %v, %d introductions ignored\n%s", there, a.machine.Stats().NotAllowed, a.history())
	}
	a.runner.Do(func(now time.Time) {
		if err := a.machine.Connect(now, c.id()); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("connecting all the same: %v, want %v", err, ErrNotAllowed)
		}
	})
	allow(a, b, c)
	w.net.Run(35 * time.Second) // c tries again by then, where it is its turn
	w.want(a, c, Direct)
	session := a.session(b)
	allow(a, c)
	w.net.Run(ms)
	if e, _, ok := last[Closed](a); !ok || e.Session != session || !errors.Is(e.Err, ErrNotAllowed) {
		t.Errorf("the session with b was closed: %v, %v, want %v", ok, e.Err, ErrNotAllowed)
	}
	w.net.Run(time.Second)
	if e, _, ok := last[Closed](b); !ok || !errors.Is(e.Err, ErrClosedByPeer) {
		t.Errorf("b was told: %v, %v, want %v", ok, e.Err, ErrClosedByPeer)
	}
	a.runner.Do(func(now time.Time) { a.machine.SetAllowed(now, nil) })
	w.net.Run(35 * time.Second)
	w.want(a, b, Direct)
}

func TestSetServersRefuses(t *testing.T) {
	w := newWorld(t, 1)
	a := w.peer("a", fullCone, Config{})
	before := a.machine.servers
	for name, bad := range map[string]Servers{
		"nothing":             {},
		"a relay, no address": {Rendezvous: rendezvousAddr, Relay: &RelayConfig{}},
		"a long ticket":       {Rendezvous: rendezvousAddr, Ticket: make([]byte, ticket.MaxSize+1)},
		"another family":      {Rendezvous: netip.MustParseAddrPort("[2001:db8::1]:3478")},
	} {
		a.runner.Do(func(now time.Time) {
			if err := a.machine.SetServers(now, bad); !errors.Is(err, ErrConfig) || !a.machine.servers.sameRendezvous(before) {
				t.Errorf("%s: %v, want %v and no change", name, err, ErrConfig)
			}
		})
	}
}

// TestMoveWithLosses: a tenth of all datagrams is lost end to end, and the peers
// move back and forth.
func TestMoveWithLosses(t *testing.T) {
	for seed := range uint64(8) {
		for _, row := range []struct {
			b    behaviour
			path PathKind
		}{{portRestricted, Direct}, {symmetric, Relay}} {
			w := newWorld(t, seed)
			w.loss = 0.05
			shards := []*shard{w.shard(1), w.shard(2)}
			a, b := shards[0].member("a", row.b, "room", time.Hour), shards[0].member("b", row.b, "room", time.Hour)
			w.net.Until(20*time.Second, settled(a, b))
			session := a.session(b)
			for i := range 6 {
				to := shards[(i+1)%2]
				to.take("room", time.Hour, w.peers[i%2])
				w.chat(a, b, time.Duration(i)*300*ms)
				to.take("room", time.Hour, w.peers[(i+1)%2])
				w.chat(a, b, 10*time.Second)
			}
			w.net.Run(time.Minute)
			w.want(a, b, row.path)
			if a.session(b) != session || b.session(a) != session || len(a.machine.relays) > 1 || len(b.machine.relays) > 1 {
				t.Errorf("session %v → %v and %v, relays %v, %v", session, a.session(b), b.session(a), len(a.machine.relays), len(b.machine.relays))
			}
			if st := shards[1].relayServer.Stats(); st.Allocations != 0 {
				t.Errorf("%d allocations are left at the relay that nobody is at", st.Allocations)
			}
			if t.Failed() {
				t.Fatalf("seed %d, %s\n%s\n%s", seed, row.b.name, a.history(), b.history())
			}
		}
	}
}
