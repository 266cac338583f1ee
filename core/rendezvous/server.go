package rendezvous

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/budget"
	"p2pmodel/core/identity"
	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
	"p2pmodel/core/ticket"
)

const (
	// DefaultLifetime is how long a registration lives without a refresh.
	DefaultLifetime = 2 * time.Minute
	// sweepInterval is how often what has expired is looked for.
	sweepInterval = time.Second
	// serverKeyCacheSize bounds the keys remembered of peers that are not
	// registered; a Diffie-Hellman costs 50 µs.
	serverKeyCacheSize = 1024
)

// notifySchedule is for the server's own requests, to peers whose addresses
// are fresh: 250 ms apart, given up after 2.5 s.
var notifySchedule = stun.Schedule{RTO: defaultRTO, MaxRequests: requests, FinalWait: finalWait, Constant: true}

// ServerConfig is what a Server needs to know.
type ServerConfig struct {
	// Listen is where clients come to.
	Listen netip.AddrPort
	// Alternate is the other address and port of RFC 5780: both have to differ
	// from Listen's, and the server opens all four combinations. The zero
	// value: no behaviour discovery.
	Alternate netip.AddrPort
	// TCP and TLS are where peers come to whose network lets no UDP out; the zero
	// value: nowhere. The driver has to have a certificate for TLS, see
	// sansio.Streams.
	TCP, TLS netip.AddrPort
	// Key is who the rendezvous is.
	Key identity.Key
	// Rand gives secrets and transaction ids; it has to be unpredictable in
	// production.
	Rand io.Reader
	// Lifetime is the longest and the usual lifetime of a registration. Zero:
	// DefaultLifetime. Whole seconds count.
	Lifetime time.Duration
	// NonceLifetime is how long a nonce is good. Zero: one hour.
	NonceLifetime time.Duration
	// Admission has the keys of those who may admit peers: a peer then needs a
	// ticket to register, is registered no longer than the ticket is good, and
	// enters and is introduced in the ticket's mesh only. Nil: anybody may
	// register, and tickets are not looked at. SetAdmission changes it.
	Admission *ticket.Verifier
	// Advance answers Binding requests over UDP that are shorter than their answers at
	// once and in full: bounded, but more bytes than came. Without it a client whose
	// requests are bare gets XOR-MAPPED-ADDRESS alone, and that when it asks again.
	// STUN clients of others need it for behaviour discovery; ours do not.
	Advance bool
	Limits  Limits
}

// Server is the rendezvous, a sansio.Machine. Its events are Listening,
// ListenFailed, PeerRegistered, PeerGone and PeersIntroduced.
type Server struct {
	sansio.Outbox
	cfg    ServerConfig
	id     identity.ID
	nonces *stun.Nonces

	sockets []serverSocket // index: 2 × alternate address + alternate port
	streams []streamSocket
	opened  int
	failed  bool

	// Everybody has a rate of requests, of errors and of rooms to enter; strangers
	// have a credit for what answers them.
	requests, errors, joins *budget.Rates
	credit                  *budget.Credit
	peers                   map[identity.ID]*registration
	bySource                map[netip.Addr]int
	rooms                   map[string]*room
	notices                 stun.Transactions[notice]
	keys                    map[identity.ID]stun.Integrity
	// sequence numbers what we tell peers unasked; it follows the clock, so that
	// it grows across a restart.
	sequence uint64
	sweep    time.Time // of what has expired; zero if there is nothing
	parser   stun.Parser
}

// serverSocket is one of the addresses that the server answers at.
type serverSocket struct {
	wish, local netip.AddrPort
}

var _ sansio.StreamMachine = (*Server)(nil)

// NewServer makes a server; its sockets open when it is run.
func NewServer(cfg ServerConfig) (*Server, error) {
	cfg.Listen, cfg.Alternate = plain(cfg.Listen), plain(cfg.Alternate)
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultLifetime
	}
	cfg.Limits = cfg.Limits.withDefaults()
	nonces, err := stun.NewNonces(cfg.Rand, cfg.NonceLifetime)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		id:       cfg.Key.ID(),
		nonces:   nonces,
		peers:    make(map[identity.ID]*registration),
		bySource: make(map[netip.Addr]int),
		rooms:    make(map[string]*room),
		keys:     make(map[identity.ID]stun.Integrity),
	}
	if err := s.allow(cfg); err != nil {
		return nil, err
	}
	s.sockets = []serverSocket{{wish: cfg.Listen}}
	if cfg.Alternate.IsValid() {
		l, a := cfg.Listen, cfg.Alternate
		s.sockets = []serverSocket{
			{wish: l}, {wish: netip.AddrPortFrom(l.Addr(), a.Port())},
			{wish: netip.AddrPortFrom(a.Addr(), l.Port())}, {wish: a},
		}
	}
	for i, k := range s.sockets {
		s.Bind(sansio.Socket(i), k.wish)
	}
	s.listenForStreams()
	return s, nil
}

// allow makes the budgets.
func (s *Server) allow(cfg ServerConfig) (err error) {
	l := cfg.Limits
	for _, r := range []struct {
		of          **budget.Rates
		rate, burst float64
	}{{&s.requests, l.Rate, l.Burst}, {&s.errors, l.ErrorRate, l.ErrorBurst}, {&s.joins, joinRate, joinBurst}} {
		if *r.of, err = budget.NewRates(cfg.Rand, r.rate, r.burst); err != nil {
			return err
		}
	}
	s.credit, err = budget.NewCredit(cfg.Rand, cfg.Advance)
	return err
}

// check says what is wrong with a configuration, and what to do.
func (cfg ServerConfig) check() error {
	l, a := cfg.Listen, cfg.Alternate
	switch {
	case cfg.Key.IsZero():
		return errors.New("a rendezvous needs a key")
	case cfg.Rand == nil:
		return errors.New("a rendezvous needs a source of randomness")
	case !l.IsValid():
		return errors.New("a rendezvous needs an address to listen on")
	case !a.IsValid() && a != (netip.AddrPort{}):
		return fmt.Errorf("alternate address %v is not valid", a)
	case !a.IsValid():
		return nil
	case l.Addr().IsUnspecified() || a.Addr().IsUnspecified():
		return fmt.Errorf("with an alternate, both addresses have to be given in full, not %v and %v: clients are told to use the one or the other", l, a)
	case l.Addr() == a.Addr() || l.Port() == a.Port():
		return fmt.Errorf("listen %v and alternate %v have to differ in address and in port (RFC 5780 section 6)", l, a)
	case l.Port() == 0 || a.Port() == 0:
		return errors.New("with an alternate, both ports have to be given: each is opened on both addresses")
	case l.Addr().Is4() != a.Addr().Is4():
		return fmt.Errorf("listen %v and alternate %v have to be of one family", l, a)
	}
	return nil
}

// ID is the server's public key, for clients to expect.
func (s *Server) ID() identity.ID { return s.id }

// HandleInterfaces implements sansio.Machine: the addresses are configured.
func (s *Server) HandleInterfaces(time.Time, []netip.Addr) {}

// HandleBound implements sansio.Machine.
func (s *Server) HandleBound(_ time.Time, k sansio.Socket, local netip.AddrPort, err error) {
	if !s.has(k) || s.failed {
		return
	}
	if err != nil {
		s.failed = true
		s.Emit(ListenFailed{Err: fmt.Errorf("listen on %v: %w", s.wishOf(k), err)})
		return
	}
	if isStream(k) {
		s.boundStream(k, local)
	} else {
		s.sockets[k].local = local
		s.opened++
	}
	if s.ready() {
		e := Listening{Listen: s.sockets[0].local, TCP: s.streamAt(sansio.TCP), TLS: s.streamAt(sansio.TLS)}
		if len(s.sockets) > 1 {
			e.Alternate = s.sockets[3].local
		}
		s.Emit(e)
	}
}

// HandleDatagram implements sansio.Machine.
func (s *Server) HandleDatagram(now time.Time, d sansio.Datagram) {
	if s.failed || !s.has(d.Socket) || d.Remote.Port() == 0 {
		return
	}
	if !stun.Is(d.Payload) {
		if !isStream(d.Socket) && isClassic(d.Payload) && s.requests.Spend(now, d.Remote.Addr()) {
			s.handleClassic(now, d)
		}
		return
	}
	if !s.requests.Spend(now, d.Remote.Addr()) {
		return
	}
	m, err := s.parser.Parse(d.Payload)
	if err != nil {
		return
	}
	from := origin{now: now, socket: d.Socket, remote: d.Remote, size: len(d.Payload)}
	switch {
	case m.Type.Class == pion.ClassSuccessResponse || m.Type.Class == pion.ClassErrorResponse:
		s.handleAnswer(m)
	case m.Type.Class != pion.ClassRequest:
		// No indication is for us; none may be answered.
	case m.Type.Method == pion.MethodBinding:
		s.handleBinding(from, m)
	case m.Type.Method == stun.MethodRegister, m.Type.Method == stun.MethodConnect,
		m.Type.Method == stun.MethodJoin, m.Type.Method == stun.MethodLeave:
		s.handlePeer(from, m)
	}
	// A method that we do not know is discarded (RFC 8489 section 6.3).
}

// origin is where a request came from, and when.
type origin struct {
	now    time.Time
	socket sansio.Socket
	remote netip.AddrPort
	size   int
}

// reply sends a response the way the request came.
func (s *Server) reply(to origin, m *pion.Message) { s.Send(to.socket, to.remote, m.Raw) }

// affords says which of some answers may go to a source that may be forged, the best one
// first: one that what came from there pays for. Who has a stream has shown where it is.
func (s *Server) affords(to origin, sizes ...int) (which int, ok bool) {
	if isStream(to.socket) {
		return 0, true
	}
	return s.credit.Spend(to.now, to.remote.Addr(), to.size, sizes...)
}

// refuse answers a request of a peer that is authentic under key with an error,
// as far as the source's budget goes.
func (s *Server) refuse(to origin, request *pion.Message, key stun.Integrity, code int, reason string, more ...pion.Setter) {
	if !s.errors.Spend(to.now, to.remote.Addr()) {
		return
	}
	attributes := append([]pion.Setter{pion.ErrorCodeAttribute{Code: pion.ErrorCode(code), Reason: []byte(reason)}}, more...)
	s.reply(to, seal(request.Type.Method, pion.ClassErrorResponse, request.TransactionID, key, attributes...))
}

// reject is refuse for whoever has not shown who and where it is: as short as
// an error can be and paid for, since the source may be forged.
func (s *Server) reject(to origin, request *pion.Message, code int, more ...pion.Setter) {
	if !s.errors.Spend(to.now, to.remote.Addr()) {
		return
	}
	r, err := stun.Error(request, code, "", more...)
	if err != nil {
		return
	}
	if _, paid := s.affords(to, len(r.Raw)); paid {
		s.reply(to, r)
	}
}

// HandleTimeout implements sansio.Machine.
func (s *Server) HandleTimeout(now time.Time) {
	for {
		t, n, failed, ok := s.notices.Poll(now)
		if !ok {
			break
		}
		if failed {
			s.noticeOver(n)
		} else if r := s.peers[n.to]; r != nil {
			// To where the peer is now, which may be elsewhere.
			s.Send(r.socket, r.address, t.Request)
		}
	}
	if s.sweep.IsZero() || now.Before(s.sweep) {
		return
	}
	s.expire(now)
	s.sweep = time.Time{}
	if len(s.peers) > 0 {
		s.scheduleSweep(now)
	}
}

func (s *Server) scheduleSweep(now time.Time) {
	if s.sweep.IsZero() {
		s.sweep = now.Add(sweepInterval)
	}
}

// PollTimeout implements sansio.Machine.
func (s *Server) PollTimeout() time.Time {
	if d := s.notices.Deadline(); s.sweep.IsZero() || !d.IsZero() && d.Before(s.sweep) {
		return d
	}
	return s.sweep
}
