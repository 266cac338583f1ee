package relay

import (
	"net/netip"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// clientHost runs a Client in a world: what it sends leaves from the public
// address, and what comes there is handed to it.
type clientHost struct {
	*Client
	w      *world
	public netip.AddrPort
	// lose says which datagrams to the server are lost; nil: none.
	lose   func(payload []byte) bool
	events []sansio.Event
	sent   []string // what left, by kind
}

func (w *world) client(public netip.AddrPort, change func(*ClientConfig)) *clientHost {
	cfg := ClientConfig{
		Server: serverAddr, Username: "alice", Password: "secret-a", Rand: seeded(uint64(public.Port())),
		Keepalive: -1,
	}
	if change != nil {
		change(&cfg)
	}
	h := &clientHost{Client: NewClient(cfg), w: w, public: public}
	h.plug(public)
	return h
}

// plug gives the client a (new) public address.
func (h *clientHost) plug(public netip.AddrPort) {
	delete(h.w.hosts, h.public)
	h.public = public
	h.w.hosts[public] = func(from netip.AddrPort, payload []byte) {
		h.HandleDatagram(h.w.now, from, payload)
		h.drain()
	}
}

func (h *clientHost) drain() {
	for busy := true; busy; {
		busy = false
		for to, payload, ok := h.PollTransmit(); ok; to, payload, ok = h.PollTransmit() {
			busy = true
			h.sent = append(h.sent, kindOf(payload))
			if h.lose == nil || !h.lose(payload) {
				h.w.send(h.public, to, payload)
			}
		}
		for e, ok := h.PollEvent(); ok; e, ok = h.PollEvent() {
			busy = true
			h.events = append(h.events, e)
		}
	}
}

// do calls f and does what the client then wants done.
func (h *clientHost) do(f func(c *Client, now time.Time)) {
	f(h.Client, h.w.now)
	h.drain()
}

func (h *clientHost) start() *clientHost {
	h.do((*Client).Start)
	return h
}

// pass lets time pass for the client and the server.
func (h *clientHost) pass(d time.Duration) {
	end := h.w.now.Add(d)
	for {
		at := h.PollTimeout()
		if at.IsZero() || at.After(end) {
			break
		}
		h.w.pass(max(0, at.Sub(h.w.now)))
		h.HandleTimeout(h.w.now)
		h.drain()
	}
	h.w.pass(end.Sub(h.w.now))
}

func (h *clientHost) takeEvents() []sansio.Event {
	e := h.events
	h.events = nil
	return e
}

func (h *clientHost) takeSent() []string {
	s := h.sent
	h.sent = nil
	return s
}

// mustAllocate starts and gives the relayed address.
func (h *clientHost) mustAllocate() netip.AddrPort {
	h.w.t.Helper()
	h.start()
	for _, e := range h.takeEvents() {
		if a, ok := e.(Allocated); ok {
			return a.Relayed
		}
	}
	h.w.t.Fatal("no allocation")
	return netip.AddrPort{}
}

func kindOf(payload []byte) string {
	if isChannelData(payload) {
		return "ChannelData"
	}
	m, err := stun.Parse(payload)
	if err != nil {
		return err.Error()
	}
	return m.Type.String()
}

func lostEvent(events []sansio.Event) error {
	for _, e := range events {
		if l, ok := e.(Lost); ok {
			return l.Err
		}
	}
	return nil
}
