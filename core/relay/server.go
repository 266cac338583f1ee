package relay

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sort"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// Defaults of ServerConfig. The ports are the dynamic ones (RFC 8656 section
// 7.2 recommends them).
const (
	DefaultPortLow         = 49152
	DefaultPortHigh        = 65535
	DefaultRealm           = "p2pmodel"
	DefaultAllocationsUser = 256
)

// sweepInterval is the least time between two sweeps for what has expired.
// Lookups check expiry themselves; sweeps only give memory and ports back.
const sweepInterval = time.Second

// listenSocket is the socket that clients talk to; relayed ones count from 1.
const listenSocket sansio.Socket = 0

// ServerConfig says how to relay, and for whom.
type ServerConfig struct {
	// Listen is where clients come to.
	Listen netip.AddrPort
	// RelayAddress is the IPv4 address that relayed transport addresses are
	// bound to and announced with.
	RelayAddress netip.Addr
	// PortLow and PortHigh bound the relayed ports, both included. Both zero:
	// DefaultPortLow to DefaultPortHigh.
	PortLow, PortHigh uint16
	// Realm is the realm of the credentials, 1 to 127 characters. Empty:
	// DefaultRealm.
	Realm string
	// Authenticators are asked in order, until one has the password of the
	// request. SetAuthenticators changes them.
	Authenticators []Authenticator
	// AllowPeers are peers to relay to although they are not public; DenyPeers
	// wins over it.
	AllowPeers, DenyPeers []netip.Prefix
	// MaxAllocationsPerUser bounds allocations and reservations together.
	// Zero: DefaultAllocationsUser.
	MaxAllocationsPerUser int
	// StrictChannels takes channel numbers of RFC 8656 only (to 0x4FFF), not
	// all of RFC 5766's (to 0x7FFF).
	StrictChannels bool
	// Rand gives ports, tokens and secrets: crypto/rand in production.
	Rand io.Reader
}

// Server is a TURN server over UDP. It is a sansio.Machine; its events are
// Listening, ListenFailed, AllocationCreated, AllocationRefused,
// AllocationDeleted and AllocationExpired.
//
// Everything but Binding is authenticated by long-term credentials (RFC 8489
// section 9.2 with MD5 keys and MESSAGE-INTEGRITY, as RFC 5389 clients do it).
// DONT-FRAGMENT, which a Machine cannot grant, is answered with 420; so is any
// other attribute that must be understood and is not.
//
// A datagram from PollTransmit stays valid until the next Handle call.
type Server struct {
	sansio.Outbox
	cfg    ServerConfig
	policy peerPolicy
	nonces *stun.Nonces
	nobody [16]byte // the key that unknown users are checked with
	budget *answerBudget
	ports  *portRange

	allocations  map[endpoint]*allocation // by client
	byPort       map[uint16]*allocation   // by relayed port
	bySocket     map[sansio.Socket]*allocation
	pending      map[endpoint]*pendingAllocate // by client
	opening      map[sansio.Socket]*pendingAllocate
	reservations map[token]*reservation
	accounts     map[string]int // allocations, reservations and pending ones
	nextSocket   sansio.Socket
	indications  uint64

	buffers   bufferPool
	stats     Stats
	sweepAt   time.Time
	lastSweep time.Time
	parser    stun.Parser
}

var _ sansio.Machine = (*Server)(nil)

// NewServer checks the configuration and asks for the listening socket.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.PortLow == 0 && cfg.PortHigh == 0 {
		cfg.PortLow, cfg.PortHigh = DefaultPortLow, DefaultPortHigh
	}
	if cfg.Realm == "" {
		cfg.Realm = DefaultRealm
	}
	if cfg.MaxAllocationsPerUser == 0 {
		cfg.MaxAllocationsPerUser = DefaultAllocationsUser
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	n, err := stun.NewNonces(cfg.Rand, 0)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	budget, err := newAnswerBudget(cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	s := &Server{
		cfg:          cfg,
		nonces:       n,
		budget:       budget,
		ports:        newPortRange(cfg.PortLow, cfg.PortHigh, cfg.Rand),
		allocations:  make(map[endpoint]*allocation),
		byPort:       make(map[uint16]*allocation),
		bySocket:     make(map[sansio.Socket]*allocation),
		pending:      make(map[endpoint]*pendingAllocate),
		opening:      make(map[sansio.Socket]*pendingAllocate),
		reservations: make(map[token]*reservation),
		accounts:     make(map[string]int),
	}
	if _, err := io.ReadFull(cfg.Rand, s.nobody[:]); err != nil {
		return nil, fmt.Errorf("relay: draw the key of nobody: %w", err)
	}
	s.policy = peerPolicy{
		allow:  cfg.AllowPeers,
		deny:   cfg.DenyPeers,
		listen: cfg.Listen,
		relay:  cfg.RelayAddress,
		live:   func(port uint16) bool { return s.byPort[port] != nil },
	}
	s.Bind(listenSocket, cfg.Listen)
	return s, nil
}

// SetAuthenticators changes who may allocate, at once. Whoever has an allocation
// goes on with it by the credentials that it has for as long as these are good in
// themselves, time-limited ones until they expire. The error says that nobody could
// use the relay; then nothing changes.
func (s *Server) SetAuthenticators(as []Authenticator) error {
	if len(as) == 0 {
		return errNobody
	}
	s.cfg.Authenticators = slices.Clone(as)
	return nil
}

var errNobody = errors.New("no credentials: nobody could use the relay")

func (c *ServerConfig) validate() error {
	switch {
	case !c.Listen.Addr().IsValid():
		return errors.New("no address to listen on")
	case !c.RelayAddress.Is4():
		return fmt.Errorf("relay address %v: only an IPv4 address can be relayed", c.RelayAddress)
	case c.RelayAddress.IsUnspecified() || c.RelayAddress.IsMulticast():
		return fmt.Errorf("relay address %v: peers must be able to reach it; name one address of this host", c.RelayAddress)
	case c.PortLow == 0 || c.PortLow > c.PortHigh:
		return fmt.Errorf("relayed ports %d-%d: want 1 ≤ LOW ≤ HIGH ≤ 65535", c.PortLow, c.PortHigh)
	case len(c.Realm) > 127:
		return fmt.Errorf("realm: %d bytes; at most 127", len(c.Realm))
	case len(c.Authenticators) == 0:
		return errNobody
	case c.MaxAllocationsPerUser < 1:
		return fmt.Errorf("%d allocations per user: at least 1", c.MaxAllocationsPerUser)
	case c.Rand == nil:
		return errors.New("no source of randomness")
	}
	return nil
}

// Stats gives the server's counters.
func (s *Server) Stats() Stats {
	st := s.stats
	st.Allocations, st.Reservations = len(s.allocations), len(s.reservations)
	for _, a := range s.allocations {
		st.Permissions += len(a.permissions)
		st.Channels += len(a.byNumber)
	}
	return st
}

// HandleInterfaces implements sansio.Machine: our own addresses are no peers.
func (s *Server) HandleInterfaces(_ time.Time, addrs []netip.Addr) {
	s.policy.own = append([]netip.Addr(nil), addrs...)
}

// HandleBound implements sansio.Machine.
func (s *Server) HandleBound(now time.Time, sock sansio.Socket, local netip.AddrPort, err error) {
	s.buffers.reclaim()
	if sock == listenSocket {
		if err != nil {
			s.Emit(ListenFailed{Err: err})
			return
		}
		s.policy.listen = netip.AddrPortFrom(s.cfg.Listen.Addr(), local.Port())
		s.Emit(Listening{Addr: local})
		return
	}
	if p := s.opening[sock]; p != nil {
		delete(s.opening, sock)
		s.opened(now, p, sock, err)
	}
}

// HandleDatagram implements sansio.Machine.
func (s *Server) HandleDatagram(now time.Time, d sansio.Datagram) {
	s.buffers.reclaim()
	if d.Socket != listenSocket {
		s.fromPeer(now, d)
		return
	}
	if d.Remote.Addr() == s.cfg.RelayAddress && s.byPort[d.Remote.Port()] != nil {
		// One of our relayed addresses as a client: the policy keeps relays
		// from sending here, so it is forged, and an answer would loop.
		s.stats.DroppedForbidden++
		return
	}
	if isChannelData(d.Payload) {
		s.fromChannel(now, d.Remote, d.Payload)
		return
	}
	s.fromClient(now, d.Remote, d.Payload)
}

// HandleTimeout implements sansio.Machine.
func (s *Server) HandleTimeout(now time.Time) {
	s.buffers.reclaim()
	if due(now, s.sweepAt) {
		s.sweep(now)
	}
}

// PollTimeout implements sansio.Machine.
func (s *Server) PollTimeout() time.Time { return s.sweepAt }

// PollTransmit implements sansio.Machine.
func (s *Server) PollTransmit() (sansio.Datagram, bool) {
	d, ok := s.Outbox.PollTransmit()
	if ok {
		s.buffers.lend(d.Payload)
	}
	return d, ok
}

// expect makes sure that a sweep comes at or soon after t.
func (s *Server) expect(t time.Time) {
	if floor := s.lastSweep.Add(sweepInterval); t.Before(floor) {
		t = floor
	}
	s.sweepAt = earlier(s.sweepAt, t)
}

// sweep ends what has expired and finds out when to sweep again.
func (s *Server) sweep(now time.Time) {
	s.lastSweep, s.sweepAt = now, time.Time{}
	var ended []*allocation
	for _, a := range s.allocations {
		if !now.Before(a.expires) {
			ended = append(ended, a)
			continue
		}
		s.expect(a.expires)
		if next := a.sweep(now); next != 0 {
			s.expect(time.Unix(0, next))
		}
	}
	// Maps are walked in no order, but a machine's outputs are reproducible.
	sort.Slice(ended, func(i, j int) bool { return ended[i].socket < ended[j].socket })
	for _, a := range ended {
		s.expire(a)
	}
	var unclaimed []token
	for t, r := range s.reservations {
		if now.Before(r.expires) {
			s.expect(r.expires)
		} else {
			unclaimed = append(unclaimed, t)
		}
	}
	sort.Slice(unclaimed, func(i, j int) bool {
		return s.reservations[unclaimed[i]].socket < s.reservations[unclaimed[j]].socket
	})
	for _, t := range unclaimed {
		s.unreserve(t)
	}
}

// allocationOf is the live allocation of a client, or nil. One that has expired
// is ended here, before the sweep would.
func (s *Server) allocationOf(now time.Time, client netip.AddrPort) *allocation {
	a := s.allocations[endpointOf(client)]
	if a != nil && !now.Before(a.expires) {
		s.expire(a)
		return nil
	}
	return a
}

func (s *Server) expire(a *allocation) {
	s.end(a)
	s.stats.Expired++
	s.Emit(AllocationExpired{Client: a.client, Relayed: a.relayed, Username: a.username})
}

func (s *Server) delete(a *allocation) {
	s.end(a)
	s.stats.Deleted++
	s.Emit(AllocationDeleted{Client: a.client, Relayed: a.relayed, Username: a.username})
}

// end takes an allocation out of all tables and closes its socket.
func (s *Server) end(a *allocation) {
	delete(s.allocations, endpointOf(a.client))
	delete(s.byPort, a.relayed.Port())
	delete(s.bySocket, a.socket)
	s.Unbind(a.socket)
	s.ports.release(a.relayed.Port())
	s.discount(a.account)
}

func (s *Server) unreserve(t token) {
	r := s.reservations[t]
	delete(s.reservations, t)
	s.Unbind(r.socket)
	s.ports.release(r.relayed.Port())
	s.discount(r.account)
}

func (s *Server) discount(account string) {
	if s.accounts[account]--; s.accounts[account] <= 0 {
		delete(s.accounts, account)
	}
}
