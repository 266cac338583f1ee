package relay

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// Defaults of ClientConfig.
const (
	// DefaultKeepalive is ICE's Tr (RFC 8445 section 11), below the two minutes
	// that RFC 4787 REQ-5 promises and most of what NATs really do.
	DefaultKeepalive = 15 * time.Second
	// DefaultChannelAfter is how many Send indications a peer gets before a
	// channel is worth its request.
	DefaultChannelAfter = 2
)

// When the client refreshes what the server lets expire: an allocation this
// long before its end (or at half its life, if that is later), permissions and
// channels at these ages (they live 300 s and 600 s, RFC 8656 sections 9, 12).
const (
	refreshMargin     = time.Minute
	permissionRefresh = 4 * time.Minute
	channelRefresh    = 8 * time.Minute
)

// ClientConfig says whose allocation to keep, and how.
type ClientConfig struct {
	// Server is the relay's transport address.
	Server netip.AddrPort
	// Username and Password are long-term credentials; for time-limited ones
	// see SharedSecret.Credentials. SetCredentials gives others.
	Username, Password string
	// Rand gives transaction ids; required.
	Rand io.Reader
	// Schedule is how requests are retransmitted; zero: RFC 8489's, which gives
	// up after 39.5 s.
	Schedule stun.Schedule
	// Lifetime is what to ask for, in whole seconds; zero leaves it to the
	// server (600 s as a rule).
	Lifetime time.Duration
	// Keepalive is how often a Binding request keeps the NAT mapping to the
	// server alive and checks that it is still the same one. Zero:
	// DefaultKeepalive; negative: never.
	Keepalive time.Duration
	// Families are those to ask relayed addresses of.
	Families Families
	// NoMobility does without a ticket (RFC 8016), by which the allocation comes along
	// to another address of ours.
	NoMobility bool
	// DontFragment asks for a relay that can leave datagrams whole, see SendWhole. One
	// that cannot is taken as well.
	DontFragment bool
	// ChannelAfter is how many Send indications a peer gets before a channel
	// is bound to it. Zero: DefaultChannelAfter; negative: channels are not
	// used.
	ChannelAfter int
}

// Families say which relayed addresses to ask for.
type Families uint8

// IPv4Family is what servers give who asks for nothing else.
const (
	IPv4Family Families = iota
	IPv6Family
	BothFamilies
)

// Client is the client side of one allocation: it allocates, keeps alive,
// permits and frames. It owns no socket and is not a sansio.Machine; its owner
//
//  1. hands every datagram of its socket to HandleDatagram first, and goes on
//     with those that are not consumed,
//  2. after each call drains PollTransmit and PollEvent, sending from that same
//     socket,
//  3. and calls HandleTimeout at PollTimeout.
//
// Permissions and channels outlive the allocation in the client: they are made
// anew on the next one after Rebind. A Client is not safe for concurrent use.
type Client struct {
	cfg   ClientConfig
	out   sansio.Outbox
	state clientState

	server    netip.AddrPort // that we are at now: another one may have named it
	redirects int

	realm, nonce []byte
	// algorithms are the server's PASSWORD-ALGORITHMS, and algorithm what we chose of
	// them; 0: it is a server of RFC 5389. anonymous: it takes USERHASH.
	algorithms []byte
	algorithm  stun.PasswordAlgorithm
	anonymous  bool
	as         identity
	// former made the allocation, as long as the server has not taken what
	// SetCredentials gave.
	former identity

	// ticket moves the allocation; nil: there is none. Until the server has refused
	// them, we ask for one, and for DONT-FRAGMENT.
	ticket         []byte
	wantTicket     bool
	wantWhole      bool
	whole          bool // datagrams may be left whole
	relayed, other netip.AddrPort

	requests stun.Transactions[*clientRequest]
	inFlight [requestKinds]int

	reflexive   netip.AddrPort
	refreshAt   time.Time
	keepaliveAt time.Time
	evicted     bool // a 437 to Allocate was answered by deleting once

	permissions []*clientPermission
	peers       map[netip.AddrPort]*clientPeer
	// renewAt is when one of them is to be renewed, at the earliest.
	renewAt     time.Time
	channels    map[uint16]netip.AddrPort
	numbers     map[netip.AddrPort]uint16
	nextChannel uint16
	indications uint64 // Send indications so far
	parser      stun.Parser
}

// identity is who we are to a server; zero: nobody yet.
type identity struct {
	username string
	hash     []byte // USERHASH; nil: the username goes as it is
	signer   signer
}

type clientState uint8

const (
	clientIdle clientState = iota
	clientAllocating
	clientMoving // the allocation of before, from another address
	clientAllocated
	clientClosed
)

// NewClient makes a client that does nothing until Start.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Keepalive == 0 {
		cfg.Keepalive = DefaultKeepalive
	}
	if cfg.ChannelAfter == 0 {
		cfg.ChannelAfter = DefaultChannelAfter
	}
	cfg.Username, cfg.Password = opaque(cfg.Username), opaque(cfg.Password)
	c := &Client{
		cfg: cfg, server: cfg.Server, wantTicket: !cfg.NoMobility, wantWhole: cfg.DontFragment,
		peers: make(map[netip.AddrPort]*clientPeer),
	}
	c.forgetChannels()
	return c
}

// Server is the relay's transport address: the configured one, or one that it named in
// its place (ALTERNATE-SERVER).
func (c *Client) Server() netip.AddrPort { return c.server }

// Relayed is the relayed transport address, and whether there is one now.
func (c *Client) Relayed() (netip.AddrPort, bool) {
	return c.relayed, c.state == clientAllocated
}

// Start asks for an allocation; Allocated or AllocateFailed follows. It does
// nothing while an allocation exists or is asked for, or after Close. After
// AllocateFailed or Lost it may be called again.
func (c *Client) Start(now time.Time) {
	if c.state != clientIdle {
		return
	}
	c.evicted = false
	c.resume(now)
}

// Rebind is for when the 5-tuple has changed (roaming, a NAT that lost its state), or
// Lost was reported. Where the server has given a ticket, the allocation comes along,
// with its relayed address, permissions and channels (RFC 8016). Otherwise, and where
// the server does not know the ticket, what was known of the allocation is dropped and
// a new one is asked for at once; the old one is left to expire, and permissions are
// made again on the new one. Allocated follows in either case.
func (c *Client) Rebind(now time.Time) {
	if c.state == clientClosed {
		return
	}
	c.evicted = false
	c.resume(now)
}

// SetCredentials goes on with other credentials, before the old ones expire. An
// allocation is refreshed with them at once: Renewed follows where the server takes
// them for the same user's, as Server does; otherwise Lost with ErrOtherUser, and
// Rebind makes a new allocation in place of the old one.
func (c *Client) SetCredentials(now time.Time, username, password string) {
	username, password = opaque(username), opaque(password)
	if c.cfg.Username == username && c.cfg.Password == password || c.state == clientClosed {
		return
	}
	if c.state == clientAllocated && c.former.signer.none() {
		c.former = c.as
	}
	c.cfg.Username, c.cfg.Password = username, password
	if c.realm != nil {
		c.identify()
	}
	if c.state == clientAllocated {
		c.refreshAt = time.Time{}
		c.request(now, &clientRequest{kind: requestRefresh, renews: true})
	}
}

// SetKeepalive sets ClientConfig.Keepalive anew; 0 and less change nothing.
func (c *Client) SetKeepalive(now time.Time, d time.Duration) {
	if d <= 0 || c.cfg.Keepalive <= 0 {
		return
	}
	c.cfg.Keepalive = d
	if soonest := now.Add(d); !c.keepaliveAt.IsZero() && c.keepaliveAt.After(soonest) {
		c.keepaliveAt = soonest
	}
}

// Close deletes the allocation (Refresh with lifetime 0). The request is
// retransmitted for as long as the owner goes on polling; no event follows.
func (c *Client) Close(now time.Time) {
	had := c.state == clientAllocated || c.state == clientMoving
	c.abandon()
	c.state = clientClosed
	if had {
		c.request(now, &clientRequest{kind: requestDelete})
	}
}

// Probe checks at once that the server answers, sees the same address of ours
// and still has the allocation; otherwise Lost follows. For when the owner has a
// reason to doubt, such as silence on a relayed path: a server that was
// restarted drops what we send without a word.
func (c *Client) Probe(now time.Time) {
	c.keepAlive(now)
	c.refresh(now)
}

// keepAlive sends a Binding request, which any server answers.
func (c *Client) keepAlive(now time.Time) {
	if c.state == clientAllocated && c.inFlight[requestProbe] == 0 {
		c.request(now, &clientRequest{kind: requestProbe})
	}
}

// refresh asks for the allocation to be kept.
func (c *Client) refresh(now time.Time) {
	if c.state == clientAllocated && c.inFlight[requestRefresh] == 0 {
		c.refreshAt = time.Time{}
		c.request(now, &clientRequest{kind: requestRefresh})
	}
}

// HandleDatagram takes a datagram of the owner's socket and reports whether it
// was the client's: from the server, and either an answer to one of our
// requests or relayed data. A datagram that is not consumed is the owner's,
// even if it came from the server (its own STUN requests, for instance).
func (c *Client) HandleDatagram(now time.Time, remote netip.AddrPort, payload []byte) bool {
	if remote != c.server {
		return false
	}
	if isChannelData(payload) {
		c.handleChannelData(payload)
		return true
	}
	m, err := c.parser.Parse(payload)
	if err != nil {
		return false
	}
	switch {
	case m.Type == pion.NewType(pion.MethodData, pion.ClassIndication):
		c.handleData(m)
		return true
	case m.Type.Class == pion.ClassSuccessResponse || m.Type.Class == pion.ClassErrorResponse:
		return c.handleResponse(now, m)
	}
	return false
}

// HandleTimeout retransmits, refreshes and keeps alive what is due.
func (c *Client) HandleTimeout(now time.Time) {
	c.retransmit(now)
	if c.state != clientAllocated {
		return
	}
	if due(now, c.refreshAt) {
		c.refresh(now)
	}
	if due(now, c.keepaliveAt) {
		c.keepaliveAt = now.Add(c.cfg.Keepalive)
		c.keepAlive(now)
	}
	c.refreshPermissions(now)
}

// PollTransmit gives the next datagram to send from the owner's socket. The
// payload belongs to the caller.
func (c *Client) PollTransmit() (to netip.AddrPort, payload []byte, ok bool) {
	d, ok := c.out.PollTransmit()
	return d.Remote, d.Payload, ok
}

// PollEvent gives the next event: Allocated, AllocateFailed, Renewed, Permitted,
// PermitFailed, Data, Unreachable or Lost.
func (c *Client) PollEvent() (sansio.Event, bool) { return c.out.PollEvent() }

// PollTimeout is when HandleTimeout wants to be called; the zero time means
// never.
func (c *Client) PollTimeout() time.Time {
	t := c.requests.Deadline()
	if c.state == clientAllocated {
		t = earlier(t, c.refreshAt)
		t = earlier(t, c.keepaliveAt)
		t = earlier(t, c.renewAt)
	}
	return t
}

// allocate begins an Allocate transaction, with credentials if the server's
// realm is known already.
func (c *Client) allocate(now time.Time) {
	c.state = clientAllocating
	c.request(now, &clientRequest{kind: requestAllocate})
}

// allocated takes over what the server granted.
func (c *Client) allocated(now time.Time, e Allocated) {
	c.state, c.redirects = clientAllocated, 0
	c.relayed, c.other, c.reflexive = e.Relayed, e.Other, e.Reflexive
	c.scheduleRefresh(now, e.Lifetime)
	if c.cfg.Keepalive > 0 {
		c.keepaliveAt = now.Add(c.cfg.Keepalive)
	}
	c.out.Emit(e)
	if e.Moved {
		c.regrant(now)
		return
	}
	for _, p := range c.permissions {
		c.askPermission(now, p)
	}
}

func (c *Client) scheduleRefresh(now time.Time, lifetime time.Duration) {
	c.refreshAt = now.Add(max(lifetime/2, lifetime-refreshMargin))
}

// lost ends the allocation from the owner's point of view. With a ticket it may still
// be had from elsewhere, unless the server has said that it has none.
func (c *Client) lost(err error) {
	if c.ticket != nil && (errors.Is(err, ErrAddressChanged) || errors.Is(err, ErrNoAnswer)) {
		c.suspend()
	} else {
		c.abandon()
	}
	c.out.Emit(Lost{Err: err})
}

// abandon forgets the allocation and every request about it.
func (c *Client) abandon() {
	c.suspend()
	c.ticket, c.whole = nil, false
	c.relayed, c.other = netip.AddrPort{}, netip.AddrPort{}
	c.forgetChannels()
	c.forgetGrants()
}

// suspend forgets every request, and what belongs to our address.
func (c *Client) suspend() {
	c.state = clientIdle
	c.requests, c.inFlight = stun.Transactions[*clientRequest]{}, [requestKinds]int{}
	c.reflexive = netip.AddrPort{}
	c.refreshAt, c.keepaliveAt = time.Time{}, time.Time{}
}

// send queues a datagram to the server.
func (c *Client) send(payload []byte) { c.out.Send(0, c.server, payload) }

func due(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// earlier is the earlier of two times, the zero time meaning never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// String names the client by its server, for logs.
func (c *Client) String() string {
	return fmt.Sprintf("relay client of %s", c.server)
}
