package relay

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

func ticketOf(t *testing.T, m *pion.Message) []byte {
	t.Helper()
	v, err := m.Get(stun.AttrMobilityTicket)
	if err != nil || len(v) != len(ticket{}) {
		t.Fatalf("MOBILITY-TICKET %x (%v), want %d bytes", v, err, len(ticket{}))
	}
	return bytes.Clone(v)
}

// TestServerMovesAnAllocation: RFC 8016, with answers that get lost on the way.
func TestServerMovesAnAllocation(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	u.want(400, u.do(pion.MethodAllocate, wantUDP, attribute(stun.AttrMobilityTicket, 1)))
	answer := u.want(0, u.do(pion.MethodAllocate, wantUDP, attribute(stun.AttrMobilityTicket)))
	relayed, first := u.relayed(answer), ticketOf(t, answer)
	u.want(0, u.bindChannel(0x4000, peerX))

	at := func(port uint16) *user {
		return w.user(netip.AddrPortFrom(clientB.Addr(), port), "alice", "secret-a")
	}
	move := func(u *user, t []byte) []byte {
		return u.request(u.id(), pion.MethodRefresh, attribute(stun.AttrMobilityTicket, t...))
	}
	// The answer is lost, the request comes again: the same answer.
	v := at(1)
	request := move(v, first)
	lost := v.want(0, v.raw(request))
	if again := v.want(0, v.raw(request)); !bytes.Equal(lost.Raw, again.Raw) {
		t.Errorf("answers differ:\n%x\n%x", lost.Raw, again.Raw)
	}
	if seen, _ := stun.GetXORAddress(lost, pion.AttrXORMappedAddress); seen != v.addr {
		t.Errorf("the client is told that it is at %v, want %v", seen, v.addr)
	}
	// No answer ever arrived, and it moves on, again and again, by the ticket it has.
	for port := range uint16(3) {
		v = at(2 + port)
		v.want(0, v.raw(move(v, first)))
	}
	last := ticketOf(t, v.want(0, v.raw(move(v, first)))) // in place, which renews the ticket
	v = at(9)
	newest := ticketOf(t, v.want(0, v.raw(move(v, last))))
	x := at(10)
	x.want(437, x.raw(move(x, first))) // it has used a later one
	if len(w.server.byTicket) != 2 {
		t.Errorf("%d tickets are good, want the newest two", len(w.server.byTicket))
	}
	// What belongs to the allocation has come along.
	w.send(v.addr, serverAddr, appendChannelData(nil, 0x4000, []byte("ping")))
	if got := w.take(peerX); len(got) != 1 || string(got[0].payload) != "ping" || got[0].from != relayed {
		t.Errorf("the peer got %v, want ping from %v", got, relayed)
	}
	w.send(peerX, relayed, []byte("pong"))
	if got := w.take(v.addr); len(got) != 1 || !isChannelData(got[0].payload) {
		t.Errorf("the client got %v, want ChannelData", got)
	}
	w.send(clientA, serverAddr, appendChannelData(nil, 0x4000, []byte("from before")))
	if got := w.take(peerX); len(got) != 0 {
		t.Errorf("the peer got %v from where the client was", got)
	}
	if st := w.server.Stats(); st.Moved != 5 || st.Created != 1 || st.Allocations != 1 {
		t.Errorf("%d moves, %d created, %d allocations; want 5, 1, 1", st.Moved, st.Created, st.Allocations)
	}
	// It can be given up by a ticket, too, and expires with its tickets.
	y := at(11)
	y.want(0, y.do(pion.MethodRefresh, lifetime(0), attribute(stun.AttrMobilityTicket, newest...)))
	if s := w.server; len(s.allocations)+len(s.byTicket)+len(s.accounts)+len(s.sources)+s.charged != 0 {
		t.Error("something is left of a deleted allocation")
	}
	answer = u.want(0, u.do(pion.MethodAllocate, wantUDP, attribute(stun.AttrMobilityTicket)))
	w.pass(DefaultLifetime + time.Second)
	v.want(437, v.raw(move(v, ticketOf(t, answer))))
	checkTables(t, w.server)
}

// TestClientMoves: whoever roams keeps the relayed address, and what peers were
// permitted, after as many round trips as a new allocation takes.
func TestClientMoves(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	relayed := h.mustAllocate()
	peerY := netip.MustParseAddrPort("198.18.3.4:6000")
	for _, p := range []netip.AddrPort{peerX, peerY} {
		h.do(func(c *Client, now time.Time) { c.Permit(now, p) })
	}
	for range 3 {
		h.do(func(c *Client, now time.Time) { _ = c.Send(now, peerX, []byte("x")) })
	}
	addrs := []netip.AddrPort{clientB, clientA, netip.MustParseAddrPort("198.18.7.7:7")}
	for _, at := range addrs {
		h.takeEvents()
		h.takeSent()
		w.take(peerX)
		h.plug(at)
		h.do((*Client).Rebind)
		events := h.takeEvents()
		if len(events) != 3 || events[1] != (Permitted{peerX}) || events[2] != (Permitted{peerY}) {
			t.Fatalf("events %+v, want Allocated and both peers permitted", events)
		}
		a, ok := events[0].(Allocated)
		if !ok || !a.Moved || a.Relayed != relayed || a.Reflexive != at {
			t.Fatalf("%+v, want the allocation of before, seen from %v", events[0], at)
		}
		h.do(func(c *Client, now time.Time) { _ = c.Send(now, peerX, []byte("y")) })
		if got := w.take(peerX); len(got) != 1 || got[0].from != relayed {
			t.Errorf("the peer got %v, want y from %v", got, relayed)
		}
		// A stale nonce, then the answer; then the channel that there was.
		if sent := h.takeSent(); len(sent) != 3 || sent[2] != "ChannelData" {
			t.Errorf("sent %q, want two Refreshes and ChannelData", sent)
		}
	}
	if st := w.server.Stats(); st.Created != 1 || st.Moved != 3 {
		t.Errorf("%d allocations made, %d moves; want 1 and 3", st.Created, st.Moved)
	}
	// It goes on as an allocation does: refreshed, permissions too.
	h.pass(30 * time.Minute)
	if _, ok := h.Relayed(); !ok || len(h.takeEvents()) != 0 {
		t.Errorf("after half an hour relayed: %v", ok)
	}
	w.send(peerY, relayed, []byte("still"))
	if events := h.takeEvents(); len(events) != 1 {
		t.Errorf("events %v, want the peer's data", events)
	}
	h.do((*Client).Close)
	if n := w.server.Stats().Allocations; n != 0 {
		t.Errorf("%d allocations after Close", n)
	}
}

// TestClientMovesWhatWasInFlight: requests that the old address took with it are made
// again from the new one.
func TestClientMovesWhatWasInFlight(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	h.mustAllocate()
	h.lose = func([]byte) bool { return true }
	h.do(func(c *Client, now time.Time) { c.Permit(now, peerX) })
	h.lose = nil
	h.plug(clientB)
	h.do((*Client).Rebind)
	if events := h.takeEvents(); len(events) != 2 || events[1] != (Permitted{peerX}) {
		t.Errorf("events %+v, want Allocated and the peer permitted", events)
	}
	// Of one who is cut off the allocation waits, until it ends.
	h.lose = func([]byte) bool { return true }
	h.do((*Client).Probe)
	h.pass(40 * time.Second)
	if lostEvent(h.takeEvents()) == nil {
		t.Fatal("not lost after 40 s of silence")
	}
	h.lose = nil
	h.plug(clientA)
	h.do((*Client).Rebind)
	if a, ok := h.takeEvents()[0].(Allocated); !ok || !a.Moved {
		t.Errorf("%+v, want the allocation of before", a)
	}
}

// TestClientFallsBackToANewAllocation where its ticket is good for nothing.
func TestClientFallsBackToANewAllocation(t *testing.T) {
	for name, spoil := range map[string]func(w *world, h *clientHost){
		"the server has forgotten": func(w *world, _ *clientHost) {
			for _, a := range w.server.allocations {
				w.server.delete(a)
			}
		},
		"the server has changed its mind": func(w *world, _ *clientHost) { w.server.cfg.NoMobility = true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			h := w.client(clientA, nil)
			h.mustAllocate()
			h.do(func(c *Client, now time.Time) { c.Permit(now, peerX) })
			spoil(w, h)
			w.drain()
			h.takeEvents()
			h.plug(clientB)
			h.do((*Client).Rebind)
			events := h.takeEvents()
			if len(events) != 2 || events[1] != (Permitted{peerX}) {
				t.Fatalf("events %+v, want Allocated and the peer permitted", events)
			}
			if a, ok := events[0].(Allocated); !ok || a.Moved {
				t.Errorf("%+v, want a new allocation", events[0])
			}
		})
	}
	t.Run("no tickets from the start", func(t *testing.T) {
		w := newWorld(t, func(c *ServerConfig) { c.NoMobility = true })
		h := w.client(clientA, nil)
		h.mustAllocate()
		if h.ticket != nil {
			t.Error("a ticket from a server that gives none")
		}
	})
}

// A ticket that another client keeps as a string is whole.
func TestTicketsAreText(t *testing.T) {
	s := &Server{cfg: ServerConfig{Rand: zeros{}}}
	got, ok := s.newTicket()
	if !ok || bytes.IndexByte(got[:], 0) >= 0 {
		t.Errorf("%q, %v: want text", got, ok)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
