package rendezvous

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
	"p2pmodel/core/ticket"
)

// Defaults of a Client.
const (
	DefaultKeepalive = 15 * time.Second
	// defaultRTO is shorter than RFC 8489's 500 ms until the round trip is
	// measured: these are few small messages, and whoever roams waits for them.
	defaultRTO = 250 * time.Millisecond
	minRTO     = 100 * time.Millisecond
	// maxRTO is between requests of a client that has had no answer for long.
	maxRTO = 2 * time.Second
	// requests and finalWait make an outage known after nine RTOs.
	requests  = 8
	finalWait = 2

	// maxConnects is how many introductions a client asks for at once.
	maxConnects = 256
	// maxRooms is how many rooms a client may be in, as the server allows.
	maxRooms = 8
	// maxChallenges is how often one request may be challenged: for a first
	// nonce, a stale nonce, a server that has another key now.
	maxChallenges = 4
	// noticeLife is how old a request of the server may be, in microseconds of
	// its clock: well past the last copy that the server sends.
	noticeLife = 30e6
	// rememberedRequests is how many requests of the server are recognised when
	// they are retransmitted.
	rememberedRequests = 256
	// refusedRetry is the wait after a ticket was refused: another one, which is
	// what helps as a rule, is shown at once.
	refusedRetry = 15 * time.Second
)

// Errors of a Client's events.
var (
	ErrUnknownPeer = errors.New("the rendezvous knows no such peer: it is not registered, its registration has expired, or its ticket is for another mesh")
	ErrUnreachable = errors.New("the rendezvous does not answer")
	ErrWrongServer = errors.New("the rendezvous has another key than the one expected")
	ErrBusy        = errors.New("too many introductions or rooms at once")
	// ErrTicket comes with the *stun.ResponseError that has the reason.
	ErrTicket = errors.New("the rendezvous wants a ticket for this, or another one than ours")
)

// ClientConfig is what a Client needs to know.
type ClientConfig struct {
	// Server is the rendezvous' address.
	Server netip.AddrPort
	// Key is who we are.
	Key identity.Key
	// ServerKey is who the rendezvous has to be. Nil: whoever answers there.
	ServerKey *identity.ID
	// Ticket is what admits us, where the rendezvous asks for it: at most
	// ticket.MaxSize bytes. SetTicket gives a newer one.
	Ticket []byte
	// Rand gives transaction ids; they have to be unpredictable in production.
	Rand io.Reader
	// Schedule is how requests are retransmitted. The zero value adapts to the
	// measured round-trip time, 100 ms to 2 s apart.
	Schedule stun.Schedule
	// Keepalive is how often the registration is refreshed, which also keeps
	// the NAT's mapping alive and notices when it has changed. Zero:
	// DefaultKeepalive. Negative: never, for experiments; the registration
	// then expires.
	Keepalive time.Duration
}

// Client is a peer's side of a rendezvous, embedded in the machine that owns
// the socket. That machine calls HandleDatagram with whatever arrives from
// the server's address, HandleTimeout when PollTimeout says so, and after every
// call drains PollTransmit and PollEvent. It is not safe for concurrent use.
type Client struct {
	cfg    ClientConfig
	out    sansio.Queue[transmit]
	events sansio.Queue[sansio.Event]

	running    bool
	registered bool
	// announce: the next success is worth a Registered event.
	announce  bool
	reflexive netip.AddrPort
	rtt       time.Duration
	lastHeard time.Time
	outage    bool // Unreachable was told
	refused   bool // Refused was told
	failures  int  // registrations failed in a row

	server   identity.ID
	key      stun.Integrity // nil until the server's key is known
	nonce    []byte
	sequence uint64
	// serverSequence is the server's at the last registration, oldest what it
	// was at the first one since Start; zero before. See fresh.
	serverSequence, oldest uint64

	offer, ticket []byte
	// offerVersion counts the changes of offer; offerPending: the server does
	// not have the present one. So for the ticket.
	offerVersion, ticketVersion int
	offerPending, ticketPending bool

	inFlight stun.Transactions[*pending]
	next     time.Time // of the next registration; zero: none planned
	waiting  []*pending
	rooms    []*clientRoom
	seen     []transactionID // of the server's requests, a ring
	seenNext int
	parser   stun.Parser
}

// transmit is a datagram to the server.
type transmit struct {
	to      netip.AddrPort
	payload []byte
}

// pending is something we want of the server, until it is answered.
type pending struct {
	method     pion.Method
	challenges int
	signed     bool // as built last
	withOffer  bool // REGISTER: with the offer, not only a refresh
	version    int  // REGISTER: of the offer in it
	withTicket bool // REGISTER
	ticket     int  // REGISTER: version of the ticket in it
	leaving    bool // REGISTER: take the registration back
	target     identity.ID
	session    SessionID
	room       *clientRoom
	cursor     identity.ID // JOIN: list the members after this one
}

// NewClient makes a client, which does nothing before Start.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Keepalive == 0 {
		cfg.Keepalive = DefaultKeepalive
	}
	cfg.Server = plain(cfg.Server)
	c := &Client{cfg: cfg, ticket: slices.Clone(cfg.Ticket)}
	if cfg.ServerKey != nil {
		// A key that gives no secret stays unset: the server's challenge will
		// then say that it is another's.
		c.adopt(*cfg.ServerKey)
	}
	return c
}

// Start registers.
func (c *Client) Start(now time.Time) {
	c.running, c.announce, c.offerPending, c.serverSequence = true, true, true, 0
	c.ticketPending = len(c.ticket) > 0
	c.register(now)
}

// Stop takes the registration back, without waiting for an answer, and does no
// more until Start. What was asked for is forgotten.
func (c *Client) Stop(now time.Time) {
	if c.running && c.registered {
		c.transmit(c.build(now, &pending{method: stun.MethodRegister, leaving: true}))
	}
	c.running, c.registered, c.outage, c.refused, c.failures = false, false, false, false, 0
	c.inFlight, c.waiting, c.rooms, c.next = stun.Transactions[*pending]{}, nil, nil, time.Time{}
}

// Rebind says that the host's network has changed: whatever the NAT knew of us
// is void. It registers anew at once, and Registered tells when that is done.
func (c *Client) Rebind(now time.Time) {
	if !c.running {
		return
	}
	c.registered, c.announce, c.failures = false, true, 0
	c.register(now)
}

// Refresh registers again at once, if that is not under way: for owners who have reason
// to believe that a NAT sees them elsewhere now. ReflexiveChanged tells if it does.
func (c *Client) Refresh(now time.Time) {
	if c.running && c.registered && !c.inFlight.Any(func(p *pending) bool { return p.method == stun.MethodRegister }) {
		c.register(now)
	}
}

// Retry registers at once where the server was out of reach: for owners who hear from
// elsewhere that the network is back, sooner than the next request would tell.
func (c *Client) Retry(now time.Time) {
	if c.running && c.outage {
		c.failures = 0
		c.register(now)
	}
}

// SetOffer sets what peers that we are introduced to get from us: at most
// MaxOffer bytes, else the error says so and nothing changes. The server is told
// at once.
func (c *Client) SetOffer(now time.Time, offer []byte) error {
	if len(offer) > MaxOffer {
		return fmt.Errorf("offer of %d bytes: at most %d", len(offer), MaxOffer)
	}
	if c.offer != nil && slices.Equal(c.offer, offer) {
		return nil
	}
	c.offer, c.offerPending = append([]byte{}, offer...), true
	c.offerVersion++
	if c.running && c.registered {
		c.register(now)
	}
	return nil
}

// OfferPending reports whether the server has not yet said that it knows our
// present offer: whom it introduces meanwhile may get the one before.
func (c *Client) OfferPending() bool { return c.offerPending }

// SetTicket gives a newer ticket, before the last one expires or because another
// mesh is to be entered, and none is nil. The server is told at once, and what is
// asked for meanwhile waits for its answer. Rooms that are not the ticket's mesh
// are left by that. The error says that it is longer than any ticket; then nothing
// changes.
func (c *Client) SetTicket(now time.Time, raw []byte) error {
	if len(raw) > ticket.MaxSize {
		return fmt.Errorf("ticket of %d bytes: at most %d", len(raw), ticket.MaxSize)
	}
	if slices.Equal(c.ticket, raw) {
		return nil
	}
	c.ticket, c.ticketPending = slices.Clone(raw), len(raw) > 0
	c.ticketVersion++
	c.refused, c.failures = false, 0 // another refusal is news
	if c.running && c.ticketPending {
		c.register(now)
	}
	return nil
}

// SetKeepalive sets ClientConfig.Keepalive anew; 0 and less change nothing.
func (c *Client) SetKeepalive(now time.Time, d time.Duration) {
	if d <= 0 || c.cfg.Keepalive <= 0 {
		return
	}
	c.cfg.Keepalive = d
	if soonest := now.Add(d); !c.next.IsZero() && c.next.After(soonest) {
		c.next = soonest
	}
}

// Connect asks to be introduced to a peer. Introduced or ConnectFailed will
// answer, and the other side gets Introduced as well. Asking again for a session
// introduces both anew, with their present offers and addresses.
func (c *Client) Connect(now time.Time, target identity.ID, session SessionID) {
	same := func(p *pending) bool {
		return p.method == stun.MethodConnect && p.target == target && p.session == session
	}
	c.inFlight.CancelIf(same)
	c.waiting = slices.DeleteFunc(c.waiting, same)
	if !c.running || c.inFlight.Len()+len(c.waiting) >= maxConnects {
		c.emit(ConnectFailed{Peer: target, Session: session, Err: ErrBusy})
		return
	}
	c.ask(now, &pending{method: stun.MethodConnect, target: target, session: session})
}

// Registered reports whether the rendezvous knows us at present.
func (c *Client) Registered() bool { return c.registered }

// Reflexive is our address as the rendezvous saw it last.
func (c *Client) Reflexive() netip.AddrPort { return c.reflexive }

// RTT is the round-trip time to the rendezvous, smoothed; zero if unknown.
func (c *Client) RTT() time.Duration { return c.rtt }

// Server is the rendezvous' address.
func (c *Client) Server() netip.AddrPort { return c.cfg.Server }

// HandleTimeout does what is due.
func (c *Client) HandleTimeout(now time.Time) {
	for {
		t, p, failed, ok := c.inFlight.Poll(now)
		if !ok {
			break
		}
		if failed {
			c.failed(now, p, ErrUnreachable)
		} else {
			c.transmit(t.Request)
		}
	}
	if !c.next.IsZero() && !now.Before(c.next) {
		c.register(now)
	}
}

// PollTimeout is when HandleTimeout wants to be called; zero: never.
func (c *Client) PollTimeout() time.Time {
	if d := c.inFlight.Deadline(); c.next.IsZero() || !d.IsZero() && d.Before(c.next) {
		return d
	}
	return c.next
}

// PollTransmit gives a datagram to send by the shared socket.
func (c *Client) PollTransmit() (to netip.AddrPort, payload []byte, ok bool) {
	t, ok := c.out.Pop()
	return t.to, t.payload, ok
}

// PollEvent gives an event.
func (c *Client) PollEvent() (sansio.Event, bool) { return c.events.Pop() }

func (c *Client) transmit(payload []byte) {
	c.out.Push(transmit{to: c.cfg.Server, payload: payload})
}

func (c *Client) emit(e sansio.Event) { c.events.Push(e) }
