package relay

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

func TestServerAnswersBinding(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "", "")
	m, _ := stun.Build(pion.MethodBinding, pion.ClassRequest, u.id(), pion.Fingerprint)
	if answer := u.raw(m.Raw); answer != nil {
		t.Errorf("%d bytes of a stranger drew %d", len(m.Raw), len(answer.Raw))
	}
	answer := u.raw(m.Raw) // the second request pays for the answer
	if answer == nil {
		t.Fatal("no answer to a Binding request")
	}
	if seen, err := stun.GetXORAddress(answer, pion.AttrXORMappedAddress); err != nil || seen != clientA {
		t.Errorf("XOR-MAPPED-ADDRESS %v (%v), want %v", seen, err, clientA)
	}
}

func TestServerAllocates(t *testing.T) {
	for _, c := range []struct {
		name       string
		attributes []pion.Setter
		code       int
		lifetime   time.Duration
	}{
		{"plain", []pion.Setter{wantUDP}, 0, 600 * time.Second},
		{"longer", []pion.Setter{wantUDP, lifetime(1800)}, 0, 1800 * time.Second},
		{"longer than the server lets", []pion.Setter{wantUDP, lifetime(7200)}, 0, 3600 * time.Second},
		{"shorter than the default", []pion.Setter{wantUDP, lifetime(5)}, 0, 600 * time.Second},
		{"IPv4 by name", []pion.Setter{wantUDP, attribute(pion.AttrRequestedAddressFamily, familyIPv4, 0, 0, 0)}, 0, 600 * time.Second},
		{"no transport", []pion.Setter{lifetime(600)}, 400, 0},
		{"transport of the wrong size", []pion.Setter{attribute(pion.AttrRequestedTransport, 17)}, 400, 0},
		{"TCP", []pion.Setter{attribute(pion.AttrRequestedTransport, 6, 0, 0, 0)}, 442, 0},
		{"IPv6", []pion.Setter{wantUDP, attribute(pion.AttrRequestedAddressFamily, familyIPv6, 0, 0, 0)}, 440, 0},
		{"don't fragment", []pion.Setter{wantUDP, attribute(pion.AttrDontFragment)}, 420, 0},
		{"even port and token", []pion.Setter{wantUDP, attribute(pion.AttrEvenPort, 0), attribute(pion.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)}, 400, 0},
		{"family and token", []pion.Setter{wantUDP, attribute(pion.AttrRequestedAddressFamily, familyIPv4, 0, 0, 0), attribute(pion.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)}, 400, 0},
		{"unknown token", []pion.Setter{wantUDP, attribute(pion.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)}, 508, 0},
		{"malformed lifetime", []pion.Setter{wantUDP, attribute(pion.AttrLifetime, 1)}, 400, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			u := w.user(clientA, "alice", "secret-a")
			answer := u.want(c.code, u.do(pion.MethodAllocate, c.attributes...))
			if c.code != 0 {
				if st := w.server.Stats(); st.Allocations != 0 || len(w.sockets) != 1 {
					t.Errorf("refused, yet %d allocations and %d sockets", st.Allocations, len(w.sockets))
				}
				return
			}
			relayed := u.relayed(answer)
			if relayed.Addr() != relayAddr || relayed.Port() < 50000 || relayed.Port() > 50999 {
				t.Errorf("relayed address %v is outside of 198.18.0.20:50000-50999", relayed)
			}
			if d := granted(t, answer); d != c.lifetime {
				t.Errorf("lifetime %v, want %v", d, c.lifetime)
			}
			if seen, _ := stun.GetXORAddress(answer, pion.AttrXORMappedAddress); seen != clientA {
				t.Errorf("XOR-MAPPED-ADDRESS %v, want %v", seen, clientA)
			}
			if len(w.events) != 1 {
				t.Fatalf("events %v, want one AllocationCreated", w.events)
			}
			want := AllocationCreated{Client: clientA, Relayed: relayed, Username: "alice", Lifetime: c.lifetime}
			if w.events[0] != want {
				t.Errorf("event %+v, want %+v", w.events[0], want)
			}
		})
	}
}

func TestServerNamesUnknownAttributes(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	answer := u.want(420, u.do(pion.MethodAllocate, wantUDP, attribute(pion.AttrDontFragment), attribute(0x7abc, 1)))
	v, _ := answer.Get(pion.AttrUnknownAttributes)
	if want := []byte{0x00, 0x1a, 0x7a, 0xbc}; !bytes.Equal(v, want) {
		t.Errorf("UNKNOWN-ATTRIBUTES %x, want %x", v, want)
	}
}

func TestServerAnswersARetransmittedAllocateAlike(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	id := u.id()
	request := u.request(id, pion.MethodAllocate, wantUDP)
	first := u.want(0, u.raw(request))
	again := u.want(0, u.raw(request))
	if !bytes.Equal(first.Raw, again.Raw) {
		t.Errorf("answers differ:\n%x\n%x", first.Raw, again.Raw)
	}
	u.want(437, u.do(pion.MethodAllocate, wantUDP))
	if n := w.server.Stats().Created; n != 1 {
		t.Errorf("%d allocations made, want 1", n)
	}
}

func TestServerKeepsAnswersBackUntilTheSocketIsOpen(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	request := u.request(u.id(), pion.MethodAllocate, wantUDP)
	for range 3 { // the driver is slow, the client impatient
		w.server.HandleDatagram(w.now, sansioDatagram(clientA, request))
	}
	if _, early := w.server.PollTransmit(); early {
		t.Fatal("answered before the relayed socket was open")
	}
	w.drain()
	if got := w.take(clientA); len(got) != 1 || w.server.Stats().Created != 1 {
		t.Errorf("%d answers and %d allocations, want 1 and 1", len(got), w.server.Stats().Created)
	}
}

func TestServerTriesOtherPortsThanBusyOnes(t *testing.T) {
	w := newWorld(t, func(c *ServerConfig) { c.PortLow, c.PortHigh = 50000, 50009 })
	for p := uint16(50000); p < 50009; p++ {
		w.busy[p] = true
	}
	u := w.user(clientA, "alice", "secret-a")
	if got := u.allocate().Port(); got != 50009 {
		t.Errorf("port %d, want 50009, the only free one", got)
	}
	v := w.user(clientB, "bob", "secret-b")
	v.want(508, v.do(pion.MethodAllocate, wantUDP))
	if n := w.server.accounts["bob"]; n != 0 {
		t.Errorf("bob is charged %d for what he did not get", n)
	}
	// Nothing of the failed attempts stays taken.
	w.busy = map[uint16]bool{}
	v.allocate()
}

func TestServerGivesUpAfterBoundedAttempts(t *testing.T) {
	w := newWorld(t, nil)
	for p := uint16(50000); p <= 50999; p++ {
		w.busy[p] = true
	}
	u := w.user(clientA, "alice", "secret-a")
	before := w.binds
	u.want(508, u.do(pion.MethodAllocate, wantUDP))
	if n := w.binds - before; n != maxBindAttempts {
		t.Errorf("%d ports tried, want %d", n, maxBindAttempts)
	}
}

func TestServerEvenPorts(t *testing.T) {
	t.Run("even", func(t *testing.T) {
		w := newWorld(t, nil)
		for i := range 50 {
			u := w.user(netip.AddrPortFrom(clientA.Addr(), uint16(4000+i)), "alice", "secret-a")
			if p := u.allocate(attribute(pion.AttrEvenPort, 0)).Port(); p%2 != 0 {
				t.Fatalf("port %d is odd", p)
			}
		}
		if n := w.server.Stats().Reservations; n != 0 {
			t.Errorf("%d reservations without the R bit", n)
		}
	})
	t.Run("pair", func(t *testing.T) {
		w := newWorld(t, nil)
		u := w.user(clientA, "alice", "secret-a")
		answer := u.want(0, u.do(pion.MethodAllocate, wantUDP, attribute(pion.AttrEvenPort, 0x80)))
		first := u.relayed(answer)
		tok, err := answer.Get(pion.AttrReservationToken)
		if err != nil || len(tok) != 8 {
			t.Fatalf("RESERVATION-TOKEN %x (%v), want 8 bytes", tok, err)
		}
		v := w.user(netip.AddrPortFrom(clientA.Addr(), 4001), "alice", "secret-a")
		second := v.allocate(attribute(pion.AttrReservationToken, tok...))
		if first.Port()%2 != 0 || second.Port() != first.Port()+1 {
			t.Errorf("ports %d and %d, want an even one and the next", first.Port(), second.Port())
		}
		// A token is good once.
		x := w.user(netip.AddrPortFrom(clientA.Addr(), 4002), "alice", "secret-a")
		x.want(508, x.do(pion.MethodAllocate, wantUDP, attribute(pion.AttrReservationToken, tok...)))
	})
	t.Run("unclaimed", func(t *testing.T) {
		w := newWorld(t, nil)
		u := w.user(clientA, "alice", "secret-a")
		answer := u.want(0, u.do(pion.MethodAllocate, wantUDP, attribute(pion.AttrEvenPort, 0x80)))
		tok, _ := answer.Get(pion.AttrReservationToken)
		tok = bytes.Clone(tok)
		w.pass(29 * time.Second)
		if n := w.server.Stats().Reservations; n != 1 {
			t.Fatalf("%d reservations after 29 s, want 1", n)
		}
		w.pass(2 * time.Second)
		if n := w.server.Stats().Reservations; n != 0 || len(w.sockets) != 2 {
			t.Errorf("%d reservations and %d sockets after 31 s, want 0 and 2", n, len(w.sockets))
		}
		v := w.user(clientB, "alice", "secret-a")
		v.want(508, v.do(pion.MethodAllocate, wantUDP, attribute(pion.AttrReservationToken, tok...)))
	})
	t.Run("busy sibling", func(t *testing.T) {
		w := newWorld(t, func(c *ServerConfig) { c.PortLow, c.PortHigh = 50001, 50006 })
		w.busy[50003], w.busy[50007] = true, true
		u := w.user(clientA, "alice", "secret-a")
		if p := u.allocate(attribute(pion.AttrEvenPort, 0x80)).Port(); p != 50004 {
			t.Errorf("port %d, want 50004: 50002's sibling is busy, 50006's out of range", p)
		}
		if len(w.sockets) != 3 {
			t.Errorf("%d sockets open, want 3: listening, relayed, reserved", len(w.sockets))
		}
	})
}

func TestServerRefreshes(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()
	w.pass(599 * time.Second)
	if d := granted(t, u.want(0, u.do(pion.MethodRefresh))); d != 600*time.Second {
		t.Errorf("refreshed for %v, want 600 s", d)
	}
	w.pass(599 * time.Second)
	u.want(0, u.do(pion.MethodRefresh, lifetime(900)))
	u.want(443, u.do(pion.MethodRefresh, attribute(pion.AttrRequestedAddressFamily, familyIPv6, 0, 0, 0)))
	w.events = nil
	if d := granted(t, u.want(0, u.do(pion.MethodRefresh, lifetime(0)))); d != 0 {
		t.Errorf("deleted with lifetime %v, want 0", d)
	}
	if want := (AllocationDeleted{Client: clientA, Relayed: relayed, Username: "alice"}); len(w.events) != 1 || w.events[0] != want {
		t.Errorf("events %+v, want %+v", w.events, want)
	}
	if len(w.sockets) != 1 {
		t.Errorf("%d sockets open after the deletion, want the listening one", len(w.sockets))
	}
	u.want(437, u.do(pion.MethodRefresh, lifetime(0)))
	u.want(437, u.permit(peerX))
	u.want(437, u.bindChannel(0x4000, peerX))
}

func TestServerExpires(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()
	w.events = nil
	w.pass(601 * time.Second)
	if want := (AllocationExpired{Client: clientA, Relayed: relayed, Username: "alice"}); len(w.events) != 1 || w.events[0] != want {
		t.Fatalf("events %+v, want %+v", w.events, want)
	}
	if len(w.sockets) != 1 || len(w.server.accounts) != 0 || len(w.server.families[four].ports.taken) != 0 {
		t.Errorf("left behind: %d sockets, accounts %v, ports %v", len(w.sockets)-1, w.server.accounts, w.server.families[four].ports.taken)
	}
	if at := w.server.PollTimeout(); !at.IsZero() {
		t.Errorf("with nothing left the server wants to be woken at %v", at)
	}
}

func TestServerOneUserDoesNotTouchAnothersAllocation(t *testing.T) {
	w := newWorld(t, nil)
	w.user(clientA, "alice", "secret-a").allocate()
	eve := w.user(clientA, "bob", "secret-b") // the same 5-tuple, another name
	eve.want(441, eve.do(pion.MethodRefresh, lifetime(0)))
	eve.want(441, eve.permit(peerX))
	eve.want(441, eve.bindChannel(0x4000, peerX))
	if w.server.Stats().Allocations != 1 {
		t.Error("the allocation is gone")
	}
}

func TestServerQuota(t *testing.T) {
	w := newWorld(t, func(c *ServerConfig) { c.MaxAllocationsPerUser = 3 })
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(clientA.Addr(), uint16(4000+i)) }
	w.user(at(0), "alice", "secret-a").allocate(attribute(pion.AttrEvenPort, 0x80)) // two: its sibling counts
	u := w.user(at(1), "alice", "secret-a")
	u.want(486, u.do(pion.MethodAllocate, wantUDP, attribute(pion.AttrEvenPort, 0x80)))
	u.allocate()
	v := w.user(at(2), "alice", "secret-a")
	v.want(486, v.do(pion.MethodAllocate, wantUDP))
	w.user(at(3), "bob", "secret-b").allocate() // bob has his own quota
	w.pass(31 * time.Second)                    // the reservation lapses
	v.allocate()
}

func TestServerCredentials(t *testing.T) {
	secret := SharedSecret("north")
	w := newWorld(t, func(c *ServerConfig) { c.Authenticators = append(c.Authenticators, secret) })
	name, password := secret.Credentials("carol", epoch.Add(time.Hour))

	w.user(clientA, "alice", "secret-a").allocate()
	w.user(clientB, name, password).allocate()
	if n := w.server.accounts["carol"]; n != 1 {
		t.Errorf("carol is charged %d, want 1: quotas follow the name, not the expiry", n)
	}
	for _, c := range []struct{ why, name, password string }{
		{"wrong password", "alice", "secret-b"},
		{"no such user", "mallory", "secret-a"},
		{"wrong secret", name, "south"},
		{"expired", "1", SharedSecret("north").sign("1")},
		{"empty name", "", ""},
	} {
		u := w.user(netip.MustParseAddrPort("198.18.9.9:999"), c.name, c.password)
		answer := u.do(pion.MethodAllocate, wantUDP)
		if answer == nil || !stun.IsCode(stun.ErrorOf(answer), 401) {
			t.Errorf("%s: answer %v, want 401", c.why, answer)
		}
	}

	u := w.user(netip.MustParseAddrPort("198.18.9.9:999"), "alice", "secret-a")
	u.login()
	w.pass(2 * time.Hour)
	u.want(438, u.do(pion.MethodAllocate, wantUDP))
}

func TestServerConfigErrorsTellWhatToDo(t *testing.T) {
	good := ServerConfig{
		Listen: serverAddr, RelayAddress: relayAddr, Rand: seeded(1),
		Authenticators: []Authenticator{Users{"a": "b"}},
	}
	for _, c := range []struct {
		name, want string
		change     func(*ServerConfig)
	}{
		{"no listen", "listen", func(c *ServerConfig) { c.Listen = netip.AddrPort{} }},
		{"IPv6 relay", "IPv4", func(c *ServerConfig) { c.RelayAddress = netip.IPv6Loopback() }},
		{"unspecified relay", "name one address", func(c *ServerConfig) { c.RelayAddress = netip.IPv4Unspecified() }},
		{"ports", "LOW", func(c *ServerConfig) { c.PortLow, c.PortHigh = 9, 8 }},
		{"realm", "127", func(c *ServerConfig) { c.Realm = strings.Repeat("x", 128) }},
		{"nobody", "credentials", func(c *ServerConfig) { c.Authenticators = nil }},
		{"quota", "at least 1", func(c *ServerConfig) { c.MaxAllocationsPerUser = -1 }},
		{"random", "randomness", func(c *ServerConfig) { c.Rand = nil }},
	} {
		cfg := good
		c.change(&cfg)
		if _, err := NewServer(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that says %q", c.name, err, c.want)
		}
	}
	if _, err := NewServer(good); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
}
