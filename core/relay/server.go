package relay

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sort"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/budget"
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
	// TCP and TLS are where clients come to whose network lets no UDP out; the zero
	// value: nowhere. The driver has to have a certificate for TLS, see
	// sansio.Streams.
	TCP, TLS netip.AddrPort
	// RelayAddress is the IPv4 address that relayed transport addresses are
	// bound to and announced with, RelayAddress6 the IPv6 one. One of them is enough:
	// clients that want the other family get 440.
	RelayAddress, RelayAddress6 netip.Addr
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
	// MaxAllocationsPerUser bounds the relayed addresses, reserved ones included, of
	// one user. Zero: DefaultAllocationsUser.
	MaxAllocationsPerUser int
	// MaxAllocationsPerAddress bounds those that come from one address, or from one
	// IPv6 network of 64 bits; MaxAllocations bounds all. Zero: no bound.
	MaxAllocationsPerAddress, MaxAllocations int
	// Rates bound the relayed payload.
	Rates Rates
	// NoMobility refuses tickets (RFC 8016) with 405: an allocation ends with its
	// client's address.
	NoMobility bool
	// Advance answers the first request of a stranger although it is shorter than the
	// challenge: bounded, but more bytes than came. Without it clients that do not
	// make their first request as long as its answer, as ours do, get the challenge when
	// they repeat it. Connections are exempt: who has one has shown where it is.
	Advance bool
	// DontFragment says that the driver honours sansio.Datagram.DontFragment; without
	// it DONT-FRAGMENT is refused with 420.
	DontFragment bool
	// StrictChannels takes channel numbers of RFC 8656 only (to 0x4FFF), not
	// all of RFC 5766's (to 0x7FFF).
	StrictChannels bool
	// FastPath passes on what it can of what goes through channels. Nil: the server does
	// all of it.
	FastPath FastPath
	// Rand gives ports, tokens and secrets: crypto/rand in production.
	Rand io.Reader
}

// Server is a TURN server over UDP. It is a sansio.ErrorMachine; its events are
// Listening, ListenFailed, AllocationCreated, AllocationRefused, AllocationMoved,
// AllocationDeleted, AllocationExpired and Drained.
//
// Everything but Binding is authenticated by long-term credentials (RFC 8489
// section 9.2), with all that the RFC has for clients that know it, and with MD5 keys
// and MESSAGE-INTEGRITY for those of RFC 5389.
//
// A datagram from PollTransmit stays valid until the next call of Handle or Forward.
type Server struct {
	sansio.Outbox
	cfg    ServerConfig
	policy peerPolicy
	nonces *stun.Nonces
	nobody [32]byte // the key that unknown users are checked with
	credit *budget.Credit
	// understood are the comprehension-required attributes that we know.
	understood []pion.AttrType
	// algorithms is the value of PASSWORD-ALGORITHMS; hashes are the names that
	// USERHASH may stand for.
	algorithms []byte
	hashes     map[[sha256.Size]byte]string
	families   [families]*relayFamily // nil: we do not relay from it

	allocations  map[flow]*allocation // by client
	bySocket     map[sansio.Socket]*allocation
	byTicket     map[ticket]*allocation
	pending      map[flow]*pendingAllocate // by client
	opening      map[sansio.Socket]*pendingAllocate
	reservations map[token]*reservation
	nextSocket   sansio.Socket
	indications  uint64
	// listening is where clients come to, unbound how many sockets of these are not
	// open yet.
	listening Listening
	unbound   int

	// Relayed addresses, reserved and pending ones included: all, by account, by
	// where their clients are.
	charged  int
	accounts map[string]int
	sources  map[host]int

	rate      *bucket // of the server; nil: no bound
	userRates map[string]*bucket
	drain     *drain // nil: we do not drain

	buffers bufferPool
	header  []byte // of what was passed on last
	// latest is whose ChannelData came last, as more of it is likely to come next; nil: nobody's.
	latest    *allocation
	stats     Stats
	sweepAt   time.Time
	lastSweep time.Time
	parser    stun.Parser
}

var (
	_ sansio.ErrorMachine = (*Server)(nil)
	_ sansio.Forwarder    = (*Server)(nil)
)

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
	credit, err := budget.NewCredit(cfg.Rand, cfg.Advance)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	s := &Server{
		cfg:          cfg,
		nonces:       n,
		credit:       credit,
		understood:   understood(cfg.DontFragment),
		algorithms:   stun.PasswordAlgorithms{stun.PasswordSHA256, stun.PasswordMD5}.Value(),
		allocations:  make(map[flow]*allocation),
		bySocket:     make(map[sansio.Socket]*allocation),
		byTicket:     make(map[ticket]*allocation),
		pending:      make(map[flow]*pendingAllocate),
		opening:      make(map[sansio.Socket]*pendingAllocate),
		reservations: make(map[token]*reservation),
		accounts:     make(map[string]int),
		sources:      make(map[host]int),
		rate:         newBucket(cfg.Rates.Server),
		userRates:    make(map[string]*bucket),
	}
	if _, err := io.ReadFull(cfg.Rand, s.nobody[:]); err != nil {
		return nil, fmt.Errorf("relay: draw the key of nobody: %w", err)
	}
	s.policy = peerPolicy{allow: cfg.AllowPeers, deny: cfg.DenyPeers, listen: []netip.AddrPort{cfg.Listen}, live: s.live}
	for _, a := range []netip.Addr{cfg.RelayAddress, cfg.RelayAddress6} {
		if a.IsValid() {
			s.families[familyOf(a)] = newRelayFamily(a, cfg.PortLow, cfg.PortHigh, cfg.Rand)
			s.policy.relays = append(s.policy.relays, a)
		}
	}
	s.authenticateBy(cfg.Authenticators)
	s.listen()
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
	s.authenticateBy(slices.Clone(as))
	return nil
}

var errNobody = errors.New("no credentials: nobody could use the relay")

func (c *ServerConfig) validate() error {
	switch {
	case !c.Listen.Addr().IsValid():
		return errors.New("no address to listen on")
	case !c.RelayAddress.IsValid() && !c.RelayAddress6.IsValid():
		return errors.New("no relay address: name the IPv4 or the IPv6 address of this host that peers shall see, or both")
	case c.RelayAddress.IsValid() && !c.RelayAddress.Is4():
		return fmt.Errorf("relay address %v: want an IPv4 address", c.RelayAddress)
	case c.RelayAddress6.IsValid() && (!c.RelayAddress6.Is6() || c.RelayAddress6.Is4In6() || c.RelayAddress6.Zone() != ""):
		return fmt.Errorf("relay address %v: want an IPv6 address, without a zone", c.RelayAddress6)
	case unreachable(c.RelayAddress) || unreachable(c.RelayAddress6):
		return fmt.Errorf("relay addresses %v and %v: peers must be able to reach them; name one address of this host each", c.RelayAddress, c.RelayAddress6)
	case c.PortLow == 0 || c.PortLow > c.PortHigh:
		return fmt.Errorf("relayed ports %d-%d: want 1 ≤ LOW ≤ HIGH ≤ 65535", c.PortLow, c.PortHigh)
	case len(c.Realm) > 127:
		return fmt.Errorf("realm: %d bytes; at most 127", len(c.Realm))
	case !prepared(c.Realm):
		return fmt.Errorf("realm %q: want text as RFC 8265's OpaqueString prepares it", c.Realm)
	case len(c.Authenticators) == 0:
		return errNobody
	case c.MaxAllocationsPerUser < 1:
		return fmt.Errorf("%d allocations per user: at least 1", c.MaxAllocationsPerUser)
	case c.MaxAllocationsPerAddress < 0 || c.MaxAllocations < 0:
		return errors.New("quotas of an address or of all: at least 1, or 0 for no bound")
	case c.Rates.Allocation < 0 || c.Rates.User < 0 || c.Rates.Server < 0:
		return errors.New("rates: bytes a second, or 0 for no bound")
	case c.Rand == nil:
		return errors.New("no source of randomness")
	}
	return nil
}

func prepared(text string) bool {
	as, err := stun.Opaque(text)
	return err == nil && as == text
}

func unreachable(a netip.Addr) bool { return a.IsValid() && (a.IsUnspecified() || a.IsMulticast()) }

// Stats gives the server's counters.
func (s *Server) Stats() Stats {
	st := s.stats
	if s.cfg.FastPath != nil {
		st.Passed = s.cfg.FastPath.Passed()
		st.ToPeers += st.Passed.ToPeers
		st.ToPeersBytes += st.Passed.ToPeersBytes
		st.ToClients += st.Passed.ToClients
		st.ToClientsBytes += st.Passed.ToClientsBytes
	}
	st.Allocations, st.Reservations = len(s.allocations), len(s.reservations)
	for _, a := range s.allocations {
		st.Permissions += len(a.permissions)
		st.Channels += len(a.byNumber)
	}
	return st
}

// HandleInterfaces implements sansio.Machine: our own addresses are no peers.
func (s *Server) HandleInterfaces(now time.Time, addrs []netip.Addr) {
	s.policy.own = append([]netip.Addr(nil), addrs...)
	s.review(now)
}

// HandleBound implements sansio.Machine.
func (s *Server) HandleBound(now time.Time, sock sansio.Socket, local netip.AddrPort, err error) {
	s.buffers.reclaim()
	if listens(sock) {
		if sock == listenSocket && err == nil {
			s.policy.listen[0] = netip.AddrPortFrom(s.cfg.Listen.Addr(), local.Port())
		}
		s.boundListening(sock, local, err)
		return
	}
	if p := s.opening[sock]; p != nil {
		delete(s.opening, sock)
		s.opened(now, p, sock, err)
	}
}

// HandleDatagram implements sansio.Machine.
func (s *Server) HandleDatagram(now time.Time, d sansio.Datagram) {
	f, done := s.Forward(now, d)
	if !done {
		s.fromClient(now, d)
		return
	}
	if f.Remote.IsValid() {
		b := s.buffers.get(len(f.Prefix) + len(f.Payload))
		f.Payload = append(append(b, f.Prefix...), f.Payload...)
		s.Transmit(f.Datagram)
	}
}

// Forward implements sansio.Forwarder: it passes on what peers send, and what clients
// send by channels. Of a datagram that does not get through nothing comes.
func (s *Server) Forward(now time.Time, d sansio.Datagram) (sansio.Forwarded, bool) {
	s.buffers.reclaim()
	if !listens(d.Socket) {
		return s.fromPeer(now, d), true
	}
	if s.live(d.Remote) {
		// One of our relayed addresses as a client: the policy keeps relays
		// from sending here, so it is forged, and an answer would loop.
		s.stats.DroppedForbidden++
		return sansio.Forwarded{}, true
	}
	if isChannelData(d.Payload) {
		return s.fromChannel(now, d), true
	}
	return sansio.Forwarded{}, false
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
	if s.drain != nil && now.Before(s.drain.deadline) {
		s.expect(s.drain.deadline)
	}
	var ended []*allocation
	over := s.drain != nil && !now.Before(s.drain.deadline)
	for _, a := range s.allocations {
		if over || !now.Before(a.expires) {
			ended = append(ended, a)
			continue
		}
		s.expect(a.expires)
		if next := a.sweep(now, s.unload); next != 0 {
			s.expect(time.Unix(0, next))
		}
	}
	// Maps are walked in no order, but a machine's outputs are reproducible.
	sort.Slice(ended, func(i, j int) bool { return ended[i].number() < ended[j].number() })
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
func (s *Server) allocationOf(now time.Time, via sansio.Socket, client netip.AddrPort) *allocation {
	a := s.latest
	if a == nil || a.client != client || a.via != via {
		a = s.allocations[flowOf(via, client)]
		s.latest = a
	}
	if a != nil && !now.Before(a.expires) {
		s.expire(a)
		return nil
	}
	return a
}

func (s *Server) expire(a *allocation) {
	relayed := a.first()
	s.end(a)
	s.stats.Expired++
	s.Emit(AllocationExpired{Client: a.client, Relayed: relayed, Username: a.username})
	s.drained()
}

func (s *Server) delete(a *allocation) {
	relayed := a.first()
	s.end(a)
	s.stats.Deleted++
	s.Emit(AllocationDeleted{Client: a.client, Relayed: relayed, Username: a.username})
	s.drained()
}

// end takes an allocation out of all tables and closes its sockets.
func (s *Server) end(a *allocation) {
	s.unloadAll(a)
	delete(s.allocations, flowOf(a.via, a.client))
	s.latest = nil
	s.forgetTickets(a)
	n := a.size()
	for f := range a.relays {
		s.release(a, family(f))
	}
	s.discount(a.account, a.source, n)
}

// release gives one relayed address of an allocation back, if there is one.
func (s *Server) release(a *allocation, f family) {
	r := a.relays[f]
	if !r.addr.IsValid() {
		return
	}
	a.relays[f] = relayed{}
	delete(s.families[f].byPort, r.addr.Port())
	delete(s.bySocket, r.socket)
	s.close(f, r)
}

// close closes a socket and frees its port.
func (s *Server) close(f family, r relayed) {
	s.Unbind(r.socket)
	s.families[f].ports.release(r.addr.Port())
}

func (s *Server) unreserve(t token) {
	r := s.reservations[t]
	delete(s.reservations, t)
	s.close(familyOf(r.addr.Addr()), r.relayed)
	s.discount(r.account, r.source, 1)
}
