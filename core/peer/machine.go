// Package peer is what an application holds: sessions with other peers, each
// over the best path there is, and rooms whose members form a full mesh.
//
// Machine is the protocol, without I/O: it combines a rendezvous client, a relay
// client and one punch agent for each session behind one UDP socket, and carries
// the application's datagrams in encrypted frames. Peer runs a Machine over
// a real network.
//
// A session has an id for its whole life. Paths come and go beneath it: the
// relay carries the first datagrams, a direct path takes over when a check
// succeeds, the relay carries again while a direct path is lost, and a change of
// network starts the checks anew, all under the same id. Datagrams are encrypted
// and authenticated end to end (package secure) and delivered at most once; they
// are not repeated when lost. That is up to the layers above.
package peer

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/punch"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// Config is what a Machine needs to know.
type Config struct {
	// Key is who we are.
	Key identity.Key
	// Rendezvous is the rendezvous' address, RendezvousKey who it has to be;
	// nil: whoever answers there.
	Rendezvous    netip.AddrPort
	RendezvousKey *identity.ID
	// RendezvousStreams are where it is reached without UDP.
	RendezvousStreams Streams
	// Roots are whom TLS servers are trusted by; nil: by the system's. It is for
	// who runs the machine, such as Peer.
	Roots *x509.CertPool
	// Ticket is what admits us to the rendezvous, where it asks for one.
	Ticket []byte
	// Relay is where to allocate; nil: no relay of our own. The peer's may
	// still carry the session. Relays, instead, are several to choose from, at
	// most 8: the two that are nearest, by measured round trips, get an
	// allocation each, and others take the place of those that stop answering.
	// SetServers changes all of these but Roots.
	Relay  *RelayConfig
	Relays []RelayConfig
	// Listen is the local address of the socket; the zero value: any address
	// of the rendezvous' family, any port.
	Listen netip.AddrPort
	// Rand gives session and transaction ids, and ephemeral keys. It has to be
	// unpredictable wherever the network is not trusted. Required by NewMachine; for
	// New nil is crypto/rand.Reader.
	Rand io.Reader

	// Keepalive is how often NAT mappings are refreshed: of the paths in use,
	// of the registration and of the allocation. Zero: each part's default
	// (punch.DefaultKeepalive, rendezvous.DefaultKeepalive,
	// relay.DefaultKeepalive); negative: never, for experiments.
	Keepalive time.Duration
	// Consent and DeadAfter are punch.Timing's: how often a peer is asked
	// whether it still wants our datagrams, and how long it may leave that
	// unanswered. Negative Consent: never, and no path is ever found dead.
	Consent, DeadAfter time.Duration
	// GiveUpAfter ends a session that has had no path for so long. Zero:
	// DefaultGiveUpAfter; negative: never.
	GiveUpAfter time.Duration
	// Techniques says which ways to a direct path may be tried.
	Techniques Techniques
	// Experiences are what Experiences gave to an earlier machine.
	Experiences []Experience
}

// RelayConfig says where to allocate, and as whom.
type RelayConfig struct {
	Server             netip.AddrPort
	Username, Password string
	// Streams are where it is reached without UDP.
	Streams Streams
}

// Techniques leaves out ways to a direct path. The zero value leaves out none.
type Techniques struct {
	// RelayOnly makes and answers no direct checks: whatever is carried goes
	// over a relay.
	RelayOnly bool
	// NoSplit keeps to ICE's rule that an answer counts only where it comes from
	// the address that was probed (RFC 8445 section 7.2.5.2.1).
	NoSplit bool
	// NoPrediction probes no ports but those that were seen.
	NoPrediction bool
	// NoBirthday opens no further sockets to find a port by chance.
	NoBirthday bool
}

// Plain is plain punching: checks between all candidates, from one socket.
var Plain = Techniques{NoSplit: true, NoPrediction: true, NoBirthday: true}

// DefaultGiveUpAfter outlives a reboot of a home router.
const DefaultGiveUpAfter = 5 * time.Minute

// Errors of a Machine, in its events or returned by its methods.
var (
	ErrConfig       = errors.New("peer: unusable configuration")
	ErrNoSession    = errors.New("no session with this peer; connect first")
	ErrNoPath       = errors.New("no path to the peer at present")
	ErrTooLarge     = fmt.Errorf("datagram larger than %d bytes", MaxPayload)
	ErrSelf         = errors.New("a peer cannot connect to itself")
	ErrClosedByPeer = errors.New("the peer closed the session")
	ErrReplaced     = errors.New("the peer has started anew and forgotten the session")
	ErrGivenUp      = errors.New("no path to the peer for too long")
	// ErrUnknownPeer is in Failed when the rendezvous does not know a peer.
	ErrUnknownPeer = rendezvous.ErrUnknownPeer
	// ErrNoServer is in Failed when a server answers in none of the ways to it, and
	// says which were tried.
	ErrNoServer = errors.New("the server answers in no way")
)

// socketBase is the base of agents that stands for the socket.
const socketBase punch.Base = 0

// Machine is a peer without I/O, a sansio.Machine. It is not safe for
// concurrent use.
type Machine struct {
	sansio.Outbox
	cfg     Config
	servers Servers

	rendezvous *rendezvous.Client
	// relays are our allocations: those in use, the preferred one first, and those
	// that leave. gauges measure the relays that there are, where they are several.
	relays []*allocation
	gauges []*gauge
	upkeep upkeep
	// looked is when the rendezvous was asked last because of a sign.
	looked time.Time
	// lines are the ways to servers that have streams, streams those that stand or
	// are tried, blocked the networks that were seen to let no UDP out.
	lines      []*line
	streams    []*conn
	lastStream sansio.Socket
	blocked    []string
	// moving: the rendezvous is another one, and has not registered us yet.
	moving bool

	bound     bool
	local     netip.AddrPort
	addrs     []netip.Addr
	reflexive netip.AddrPort
	// home is the address that what names none leaves by, as far as is known;
	// cameTo is to which one the datagram came that is being handled.
	home, cameTo netip.Addr
	former       *former // nil as a rule

	instance   uint64
	generation uint32
	offered    []byte // the last offer, without generation

	sessions []*session // in order of their beginning
	// slots finds sessions by what their frames begin with.
	slots    map[uint32]*session
	buried   tombstones
	rooms    []*membership
	expected []expectation
	// allowed are whom there may be sessions with; nil: anybody.
	allowed map[identity.ID]bool
	early   []early
	// strangers is what is left to send to peers that nobody asked for.
	strangers allowance
	stats     Stats

	// survey, extras and experiences are what hard NATs need; extras are by base.
	survey      survey
	lastSurvey  sansio.Socket
	extras      map[punch.Base]*extra
	lastExtra   punch.Base
	experiences []Experience
}

var _ sansio.StreamMachine = (*Machine)(nil)

// NewMachine makes a machine. It opens its socket, registers and allocates as soon as
// it is driven.
func NewMachine(cfg Config) (*Machine, error) {
	servers := Servers{Rendezvous: cfg.Rendezvous, RendezvousKey: cfg.RendezvousKey, RendezvousStreams: cfg.RendezvousStreams, Ticket: cfg.Ticket, Relay: cfg.Relay, Relays: cfg.Relays}
	switch err := servers.check(); {
	case cfg.Key.IsZero():
		return nil, fmt.Errorf("%w: no key", ErrConfig)
	case cfg.Rand == nil:
		return nil, fmt.Errorf("%w: no source of randomness", ErrConfig)
	case err != nil:
		return nil, err
	}
	servers = servers.plain()
	if cfg.GiveUpAfter == 0 {
		cfg.GiveUpAfter = DefaultGiveUpAfter
	}
	if !cfg.Listen.Addr().IsValid() {
		any := netip.IPv4Unspecified()
		if servers.Rendezvous.Addr().Is6() {
			any = netip.IPv6Unspecified()
		}
		cfg.Listen = netip.AddrPortFrom(any, cfg.Listen.Port())
	}
	m := &Machine{cfg: cfg, servers: servers, slots: make(map[uint32]*session), experiences: slices.Clone(cfg.Experiences)}
	m.rendezvous = m.newRendezvous()
	var instance [8]byte
	m.draw(instance[:])
	m.instance = binary.BigEndian.Uint64(instance[:])
	m.setLines(time.Time{})
	m.setRelays(time.Time{}, servers.Relays)
	m.Bind(0, cfg.Listen)
	return m, nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// draw fills b from the random source. A source that fails is a defect of the
// machine's owner.
func (m *Machine) draw(b []byte) {
	if _, err := io.ReadFull(m.cfg.Rand, b); err != nil {
		panic("peer: random source: " + err.Error())
	}
}

// ID is who we are.
func (m *Machine) ID() identity.ID { return m.cfg.Key.ID() }

// StreamConfig is how the machine's streams are to be carried, see sansio.Streams.
func (m *Machine) StreamConfig() sansio.StreamConfig {
	return sansio.StreamConfig{Roots: m.cfg.Roots}
}

// HandleBound implements sansio.Machine: both servers are asked at once, so
// that neither waits for the other.
func (m *Machine) HandleBound(now time.Time, s sansio.Socket, local netip.AddrPort, err error) {
	if m.boundExtra(now, s, local, err) {
		return
	}
	if m.streamBound(now, s, err) {
		m.pump(now)
		return
	}
	if m.boundSurvey(now, s, local, err) {
		return
	}
	if s == probeSocket {
		if l := m.upkeep.learner; l != nil {
			l.HandleBound(now, err)
		}
		m.pump(now)
		return
	}
	if err != nil {
		m.Emit(Failed{Err: err})
		return
	}
	m.bound, m.local = true, local
	m.Emit(Bound{Local: local})
	m.updateOffer(now)
	m.rendezvous.Start(now)
	for _, a := range m.relays {
		a.relay.Start(now)
	}
	m.regauge(now)
	m.startLines(now)
	m.pump(now)
	m.examine(now) // behind the requests to the servers
}

// HandleDatagram implements sansio.Machine.
func (m *Machine) HandleDatagram(now time.Time, d sansio.Datagram) {
	if m.receiveExtra(now, d) {
		return
	}
	from := unmap(d.Remote)
	base, local := m.arrivedAt(d.Local)
	m.cameTo = d.Local
	switch {
	case m.fromStream(now, d), m.answersUDP(now, from, d.Payload), m.learns(now, d.Socket, from, d.Payload):
	case m.surveyed(now, d):
	case m.rendezvous.HandleDatagram(now, from, d.Payload):
	case m.answered(now, from, d.Payload), m.relayed(now, local, from, d.Payload):
	default:
		m.receive(now, base, from, d.Payload)
	}
	m.pump(now)
	m.cameTo = netip.Addr{}
}

// receive takes what a peer sent, over the socket or over the relay. First
// bytes tell frames from STUN, see frameType.
func (m *Machine) receive(now time.Time, b punch.Base, from netip.AddrPort, payload []byte) {
	switch {
	case isFrame(payload):
		m.receiveFrame(now, b, from, payload)
		return
	case isHint(payload):
		m.handleHint(now, b, from, payload)
		return
	case stun.Is(payload):
		ufrag, request := punch.LocalUfrag(payload)
		for _, s := range m.sessions {
			if request && ufrag != s.local.ufrag {
				continue
			}
			if s.agent.HandleDatagram(now, b, from, payload) {
				m.hit(now, s, b, from)
				return
			}
		}
	}
	m.stats.Strange++
}

// HandleTimeout implements sansio.Machine.
func (m *Machine) HandleTimeout(now time.Time) {
	if !m.bound {
		return
	}
	m.wake(now, m.PollTimeout())
	m.rendezvous.HandleTimeout(now)
	m.timeoutRelays(now)
	m.gaugeRelays(now)
	m.timeoutLines(now)
	if l := m.upkeep.learner; l != nil {
		l.HandleTimeout(now)
	}
	for _, s := range m.sessions {
		if due(now, s.agent.PollTimeout()) {
			s.agent.HandleTimeout(now)
		}
	}
	m.pump(now)
	m.keepTrying(now)
	m.meetExpected(now)
	m.watchLeaving(now)
	m.watchFormer(now)
	m.hangUpIdle()
	m.hardTimeout(now)
	m.pump(now)
}

// PollTimeout implements sansio.Machine.
func (m *Machine) PollTimeout() time.Time {
	if !m.bound {
		return time.Time{}
	}
	t := m.rendezvous.PollTimeout()
	t = earlier(earlier(earlier(t, m.wakeRelays()), m.wakeGauges()), m.wakeLines())
	t = earlier(t, m.former.endsAt())
	if l := m.upkeep.learner; l != nil {
		t = earlier(t, l.PollTimeout())
	}
	for _, s := range m.sessions {
		t = earlier(t, s.agent.PollTimeout())
		t = earlier(t, s.retryAt)
		t = earlier(t, m.giveUpAt(s))
	}
	for _, e := range m.expected {
		t = earlier(t, e.at)
	}
	return earlier(t, m.hardTimer())
}

// pump passes on what the parts want to send and tells their events to whom they
// concern, until all are quiet.
func (m *Machine) pump(now time.Time) {
	for busy := true; busy; {
		busy = m.pumpRendezvous(now)
		busy = m.pumpLearner(now) || busy
		for i := 0; i < len(m.relays); i++ {
			busy = m.pumpAllocation(now, m.relays[i]) || busy
		}
		for i := 0; i < len(m.sessions); i++ {
			busy = m.pumpSession(now, m.sessions[i]) || busy
		}
	}
}

func due(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// earlier is the earlier of two times, the zero time meaning never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
