package ice

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/relay"
	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// Config is what a machine needs to know from the start.
type Config struct {
	// Controlling is the side that nominates: as a rule the one that offers. Where
	// both sides say the same, ICE resolves it.
	Controlling bool
	// Rand gives credentials, transaction ids and jitter; required.
	Rand io.Reader
	// Listen is where sockets are bound. An address that is none or unspecified:
	// one socket for each of the host's addresses (at most MaxAddresses); port 0:
	// any.
	Listen netip.AddrPort
	// STUN are the servers that say where our packets come from.
	STUN []netip.AddrPort
	// TURN are the relays, over UDP.
	TURN []Relay
	// RelayOnly leaves out candidates that would tell where we are, and all pairs
	// but relayed ones of ours.
	RelayOnly bool
	// Renomination announces that a nomination is not final: where the other side does
	// so, too, the controlling one moves to a better path that comes late, and away from
	// one that stops answering (draft-thatcher-ice-renomination).
	Renomination bool
	// Gather is how long servers may take: after it gathering is done with what
	// there is. Zero: DefaultGather.
	Gather time.Duration
	// Patience is how long there is no verdict that there is no path (RFC 8863).
	// Zero: DefaultPatience.
	Patience time.Duration
	// Timing is the checks'. Zero fields of it are here DefaultPace, DefaultConsent
	// and, for DeadAfter, DefaultExpiry.
	Timing punch.Timing
}

// Relay is a TURN server with long-term credentials.
type Relay struct {
	Server             netip.AddrPort
	Username, Password string
}

const (
	// MaxAddresses is how many of the host's addresses get a socket.
	MaxAddresses = 8
	// maxServers is how many servers of each kind there may be.
	maxServers = 4
	// maxAllocations bounds what is asked of relays: the first addresses of the
	// host count.
	maxAllocations = 8
)

// Machine is an ICE endpoint. Make it with NewMachine; it is a sansio.Machine and
// not safe for concurrent use.
type Machine struct {
	sansio.Outbox
	cfg Config

	links       []*link
	nextSocket  sansio.Socket
	allocations []*allocation
	bindings    stun.Transactions[*binding]
	started     bool

	gathering bool
	gatherBy  time.Time
	gathered  bool // GatheringDone was said of this generation
	locals    []Candidate
	// foundations are what makes candidates of one foundation.
	foundations []foundation
	keepAt      time.Time // of the mappings at STUN servers

	controlling bool
	session     *session
	// former is the session of before a restart, while it has a path and the
	// present one has none.
	former *session

	state State
	path  punch.Path
	err   error

	parser stun.Parser
}

// NewMachine makes a machine, which opens its sockets when it is told the host's
// addresses. The error is ErrConfig.
func NewMachine(cfg Config) (*Machine, error) {
	switch {
	case cfg.Rand == nil:
		return nil, fmt.Errorf("%w: no source of randomness", ErrConfig)
	case len(cfg.STUN) > maxServers || len(cfg.TURN) > maxServers:
		return nil, fmt.Errorf("%w: %d STUN and %d TURN servers, at most %d of each", ErrConfig, len(cfg.STUN), len(cfg.TURN), maxServers)
	case cfg.RelayOnly && len(cfg.TURN) == 0:
		return nil, fmt.Errorf("%w: relayed paths only, and no TURN server", ErrConfig)
	}
	cfg.STUN, cfg.TURN = slices.Clone(cfg.STUN), slices.Clone(cfg.TURN)
	for i, s := range cfg.STUN {
		if cfg.STUN[i] = unmap(s); !usable(s) {
			return nil, fmt.Errorf("%w: STUN server %v has no address and port", ErrConfig, s)
		}
	}
	for i, s := range cfg.TURN {
		if cfg.TURN[i].Server = unmap(s.Server); !usable(s.Server) {
			return nil, fmt.Errorf("%w: TURN server %v has no address and port", ErrConfig, s.Server)
		}
	}
	for _, d := range []struct {
		to    *time.Duration
		value time.Duration
	}{
		{&cfg.Gather, DefaultGather}, {&cfg.Patience, DefaultPatience}, {&cfg.Timing.Pace, DefaultPace},
		{&cfg.Timing.Consent, DefaultConsent}, {&cfg.Timing.DeadAfter, DefaultExpiry},
	} {
		if *d.to == 0 {
			*d.to = d.value
		}
	}
	m := &Machine{cfg: cfg, controlling: cfg.Controlling, nextSocket: 1}
	m.session = m.newSession()
	return m, nil
}

func usable(a netip.AddrPort) bool { return a.Addr().IsValid() && a.Port() != 0 }

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// draw draws random bytes. A machine without randomness is not safe to go on.
func (m *Machine) draw(size int) []byte {
	b := make([]byte, size)
	if _, err := io.ReadFull(m.cfg.Rand, b); err != nil {
		panic(fmt.Sprintf("ice: random source: %v", err))
	}
	return b
}

// Bits of the credentials: 24 and 128 at least (RFC 8445 section 5.3).
const (
	ufragBytes    = 6
	passwordBytes = 18
)

// credential draws so many bytes as ice-chars: base64's are the same.
func (m *Machine) credential(size int) string { return base64.StdEncoding.EncodeToString(m.draw(size)) }

func (m *Machine) tieBreaker() uint64 { return binary.BigEndian.Uint64(m.draw(8)) }

// Local is what the other side has to know: our credentials, and the candidates
// so far.
func (m *Machine) Local() Description {
	options := []string{OptionICE2, OptionTrickle}
	if m.cfg.Renomination {
		options = append(options, OptionRenomination)
	}
	return Description{
		Ufrag: m.session.ufrag, Password: m.session.password, Options: options,
		Candidates: slices.Clone(m.locals), Complete: m.gathered,
	}
}

// State is how far the machine is, with the reason where it has failed.
func (m *Machine) State() (State, error) { return m.state, m.err }

// Path is the path in use; its kind is NoPath while there is none.
func (m *Machine) Path() punch.Path { return m.path }

// Controlling reports whether we nominate: what Config said, or what came of a
// conflict of roles.
func (m *Machine) Controlling() bool {
	if a := m.session.agent; a != nil {
		return a.Controlling()
	}
	return m.controlling
}

// Send sends a datagram to the other side. The error is ErrTooLarge, ErrIsSTUN, or
// says why there is no path: ErrNoPath (there may be one later), ErrConsent,
// ErrClosed.
func (m *Machine) Send(now time.Time, payload []byte) error {
	switch {
	case m.state == Closed:
		return ErrClosed
	case len(payload) > MaxPayload:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(payload), MaxPayload)
	case stun.Is(payload):
		return ErrIsSTUN
	case m.path.Kind == punch.NoPath && m.err != nil:
		return m.err
	case m.path.Kind == punch.NoPath:
		return ErrNoPath
	}
	m.transmit(now, punch.Transmit{Base: m.path.Base, Remote: m.path.Remote, Payload: bytes.Clone(payload)})
	m.pump(now)
	return nil
}

// Close gives the allocations back and closes the sockets.
func (m *Machine) Close(now time.Time) {
	if m.state == Closed {
		return
	}
	for _, a := range m.allocations {
		a.client.Close(now)
	}
	m.pump(now)
	m.session.agent, m.former, m.allocations = nil, nil, nil
	m.bindings = stun.Transactions[*binding]{}
	m.gathering, m.gatherBy, m.keepAt = false, time.Time{}, time.Time{}
	for _, l := range m.links {
		m.Unbind(l.socket)
	}
	m.links = nil
	m.usePath(punch.Path{})
	m.enter(Closed, ErrClosed)
}

// HandleTimeout implements sansio.Machine.
func (m *Machine) HandleTimeout(now time.Time) {
	for _, a := range m.allocations {
		a.client.HandleTimeout(now)
	}
	m.retransmit(now)
	if due(now, m.gatherBy) {
		m.gatherBy = time.Time{}
		m.finishGathering()
	}
	if due(now, m.keepAt) {
		m.keepMappings(now)
	}
	for _, s := range m.sessions() {
		if s.agent != nil {
			s.agent.HandleTimeout(now)
		}
	}
	m.pump(now)
}

// PollTimeout implements sansio.Machine.
func (m *Machine) PollTimeout() time.Time {
	if m.state == Closed {
		return time.Time{}
	}
	t := earlier(m.bindings.Deadline(), earlier(m.gatherBy, m.keepAt))
	for _, a := range m.allocations {
		t = earlier(t, a.client.PollTimeout())
	}
	for _, s := range m.sessions() {
		if s.agent != nil {
			t = earlier(t, s.agent.PollTimeout())
		}
	}
	return earlier(t, m.verdictAt())
}

func due(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// earlier is the earlier of two times, the zero time meaning never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// pump takes what the parts of the machine want done, until they want nothing.
func (m *Machine) pump(now time.Time) {
	for busy := true; busy; {
		busy = false
		for _, s := range m.sessions() {
			busy = m.pumpSession(now, s) || busy
		}
		for _, a := range m.allocations {
			busy = m.pumpAllocation(now, a) || busy
		}
	}
	m.judge(now)
}

// transmit sends by a base: a socket or an allocation.
func (m *Machine) transmit(now time.Time, t punch.Transmit) {
	if t.Base >= firstAllocation {
		if a := m.allocationOf(t.Base); a != nil {
			a.permit(now, t.Remote)
			// What the relay does not take is lost like any datagram.
			_ = a.client.Send(now, t.Remote, t.Payload)
		}
		return
	}
	if l := m.linkOf(t.Base); l != nil {
		m.Outbox.Send(l.socket, t.Remote, t.Payload)
	}
}

var _ sansio.Machine = (*Machine)(nil)

// relayClient makes the client of one allocation.
func (m *Machine) relayClient(r Relay) *relay.Client {
	return relay.NewClient(relay.ClientConfig{Server: r.Server, Username: r.Username, Password: r.Password, Rand: m.cfg.Rand})
}
