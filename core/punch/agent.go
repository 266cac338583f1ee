package punch

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// Config is what an agent needs to know from the start.
type Config struct {
	// Controlling is the side that nominates. Where both sides say the same,
	// the tie-breaker decides (RFC 8445 section 7.3.1.1).
	Controlling bool
	// TieBreaker is drawn at random for each session.
	TieBreaker uint64
	// The credentials of both sides (RFC 8445 section 5.3): ufrag 4 to 256
	// characters, password 22 to 256.
	LocalUfrag, LocalPwd   string
	RemoteUfrag, RemotePwd string
	// Rand gives transaction ids and jitter. Ids have to be unpredictable where
	// the network is not trusted.
	Rand io.Reader

	// Rider is what else travels on checks; nil: nothing.
	Rider Rider

	Timing
	// Extended is the behaviour beyond ICE, which a peer has to know of: see
	// the package. False: a standard agent (RFC 8445), for any other agent.
	Extended bool
	// NoSplit keeps ICE's symmetry rule where the agent is extended: answers
	// from another address than was probed prove nothing.
	NoSplit bool
	// RelayOnly leaves out pairs that would be direct, and refuses the peer's
	// checks over them.
	RelayOnly bool
}

// Path is a pair of addresses that carries a session.
type Path struct {
	Kind PathKind
	// Base is what our datagrams leave by.
	Base Base
	// Local is the base's candidate, Remote where datagrams go.
	Local, Remote netip.AddrPort
	// Mapped is our address as the peer sees it.
	Mapped netip.AddrPort
}

// PathKind says whether a relay is on the path.
type PathKind uint8

// The kinds of paths.
const (
	// NoPath is the kind of the zero Path.
	NoPath PathKind = iota
	// Direct runs between the peers' own sockets.
	Direct
	// ViaRelay runs over the relay of one of the peers, or of both.
	ViaRelay
)

// String is "none", "direct" or "relay".
func (k PathKind) String() string {
	switch k {
	case Direct:
		return "direct"
	case ViaRelay:
		return "relay"
	default:
		return "none"
	}
}

// The agent's events.
type (
	// PathChanged says that datagrams go another way from now on. Old or New is
	// the zero Path where there was or is none.
	PathChanged struct{ Old, New Path }
	// Settled says that checks are over: a direct pair is nominated, or every
	// direct pair failed or ran out of time (SettleAfter). It comes again when
	// a restart has settled, or when a late check still brought another kind of
	// path.
	Settled struct{ Path Path }
	// PathLost says that the path in use stopped answering. After is how long
	// ago its last answer came.
	PathLost struct {
		Path  Path
		After time.Duration
	}
)

// Event is one of PathChanged, Settled and PathLost.
type Event any

// Transmit is a datagram that is to leave by a base.
type Transmit struct {
	Base    Base
	Remote  netip.AddrPort
	Payload []byte
}

// Stats counts what an agent did.
type Stats struct {
	ChecksSent, ChecksReceived, AnswersReceived uint64
	// Asymmetric counts authentic answers that were discarded because they came
	// from another address than was probed (RFC 8445 section 7.2.5.2.1).
	Asymmetric uint64
	// Unauthentic counts messages for this session with wrong integrity.
	Unauthentic   uint64
	RoleConflicts uint64
}

// Agent keeps one session's path. Make it with New.
type Agent struct {
	cfg           Config
	local, remote credentials
	controlling   bool

	locals  []local
	leaving []Base // those that Withdraw named
	remotes []Candidate
	pairs   []*pair
	flights flights

	selected *pair
	// nominated is the pair the controlling side chose last, as the controlled
	// side knows it; nomination is the number of the latest nomination.
	nominated  *pair
	nomination uint32

	started  time.Time // of the checks, or of their last restart
	heard    time.Time // first sign of the peer since started
	settled  bool
	outcome  PathKind  // of the last Settled
	rebound  time.Time // what was proved before is in doubt
	nextSlot time.Time
	stepped  time.Time
	// wake is what PollTimeout says, while polled: nothing has changed since.
	// An owner of hundreds of agents asks them all far more often than they
	// change.
	wake   time.Time
	polled bool

	transmits sansio.Queue[Transmit]
	events    sansio.Queue[Event]
	stats     Stats
	parser    stun.Parser
	drawn     [pion.TransactionIDSize]byte // what was drawn last
}

type local struct {
	base      Base
	candidate Candidate
}

// ErrConfig is returned by New for credentials of an unusable length.
var ErrConfig = errors.New("punch: unusable configuration")

// New makes an agent. Checks begin as soon as it knows a candidate of either
// side.
func New(now time.Time, cfg Config) (*Agent, error) {
	for _, c := range []struct{ what, ufrag, pwd string }{
		{"local", cfg.LocalUfrag, cfg.LocalPwd}, {"remote", cfg.RemoteUfrag, cfg.RemotePwd},
	} {
		if len(c.ufrag) < 4 || len(c.ufrag) > 256 || len(c.pwd) < 22 || len(c.pwd) > 256 {
			return nil, fmt.Errorf("%w: %s ufrag has %d and password %d characters, want 4 to 256 and 22 to 256 (RFC 8445 section 5.3)",
				ErrConfig, c.what, len(c.ufrag), len(c.pwd))
		}
	}
	if cfg.Rand == nil {
		return nil, fmt.Errorf("%w: no source of randomness", ErrConfig)
	}
	cfg.Timing = cfg.withDefaults()
	return &Agent{
		cfg:         cfg,
		local:       newCredentials(cfg.LocalUfrag, cfg.LocalPwd),
		remote:      newCredentials(cfg.RemoteUfrag, cfg.RemotePwd),
		controlling: cfg.Controlling,
		started:     now,
	}, nil
}

// SetLocal says which candidates a base has now, replacing those it had; none
// means that the base is gone, and its pairs with it.
func (a *Agent) SetLocal(now time.Time, b Base, candidates []Candidate) {
	a.locals = slices.DeleteFunc(a.locals, func(l local) bool { return l.base == b })
	if len(candidates) == 0 {
		a.leaving = slices.DeleteFunc(a.leaving, func(o Base) bool { return o == b })
	}
	for i, c := range candidates {
		if c.Priority == 0 {
			c.Priority = Priority(c.Kind, i)
		}
		a.locals = append(a.locals, local{b, c})
	}
	a.prune(now, func(p *pair) bool {
		if p.base != b {
			return false
		}
		l, ok := a.localFor(b, p.remote.Addr.Addr())
		if ok && p.local.Kind == Relayed && l.Addr != p.local.Addr {
			return true // another allocation: nothing of the old pair holds
		}
		if ok {
			p.local = l
			a.prioritise(p)
		}
		return !ok
	})
	a.order()
	a.pairUp(now)
	a.step(now)
}

// SetExtended says anew what Config.Extended says, for owners who learn what the
// peer understands after the agent was made.
func (a *Agent) SetExtended(extended bool) { a.cfg.Extended, a.polled = extended, false }

// Withdraw says that a base is on its way out: another one is used as soon as it
// works, and the peer is told by a nomination. SetLocal ends the base.
func (a *Agent) Withdraw(now time.Time, b Base) {
	if !slices.Contains(a.leaving, b) {
		a.leaving = append(a.leaving, b)
	}
	for _, p := range a.pairs {
		p.withdrawn = p.withdrawn || p.base == b
	}
	a.step(now)
}

// SetRemote says which candidates the peer offers now, replacing what it
// offered before. Pairs of candidates that are gone leave, but for valid ones,
// which go on until they die, or, where a relayed address is gone or the peer is
// somewhere else altogether, until another pair works.
func (a *Agent) SetRemote(now time.Time, candidates []Candidate) {
	elsewhere := moved(a.remotes, candidates)
	a.remotes = a.remotes[:0]
	for _, c := range candidates {
		if c.Addr.IsValid() && c.Addr.Port() != 0 && !slices.ContainsFunc(a.remotes, func(r Candidate) bool { return r.Addr == c.Addr }) {
			a.remotes = append(a.remotes, c)
		}
	}
	a.prune(now, func(p *pair) bool {
		for _, c := range a.remotes {
			if c.Addr == p.remote.Addr {
				// What was learned from a check has a proper name now
				// (RFC 8838 section 11.4).
				p.remote = c
				p.withdrawn = slices.Contains(a.leaving, p.base)
				a.prioritise(p)
				return false
			}
		}
		p.withdrawn = p.withdrawn || p.remote.Kind == Relayed || elsewhere
		return p.state != succeeded && p.remote.Kind != PeerReflexive
	})
	a.order()
	a.pairUp(now)
	a.step(now)
}

// prune removes the pairs for which gone is true.
func (a *Agent) prune(now time.Time, gone func(*pair) bool) {
	a.pairs = slices.DeleteFunc(a.pairs, func(p *pair) bool {
		if !gone(p) {
			return false
		}
		p.state = failed
		return true
	})
	if a.nominated != nil && !slices.Contains(a.pairs, a.nominated) {
		a.nominated = nil
	}
	if a.selected != nil && !slices.Contains(a.pairs, a.selected) {
		a.lose(now)
	}
}

// Restart checks every pair again, keeping the path in use until a better one
// is found or it proves dead. Call it after anything that may have changed what
// the pairs can do: a new network, a rebooted NAT, a new offer of the peer.
func (a *Agent) Restart(now time.Time) {
	a.recheck(now)
	a.step(now)
}

// Rebind is Restart after our own network has changed: what pairs could do
// before, they may not any more, so that the first pair that answers is used
// instead of waiting until the present one has proved dead.
func (a *Agent) Rebind(now time.Time) {
	a.rebound = now
	a.Restart(now)
}

func (a *Agent) recheck(now time.Time) {
	for _, p := range a.pairs {
		p.retriggers = 0
		if p.state != succeeded {
			p.state, p.triggered = waiting, false
		}
		p.next = now
	}
	a.settled = false
	a.started, a.heard = now, time.Time{}
}

// unsettle reopens the checks because there are new pairs.
func (a *Agent) unsettle(now time.Time) {
	if a.selected != nil && !a.selected.relayed() {
		return // nothing to look for
	}
	if a.settled && !a.heard.IsZero() {
		a.heard = now
	}
	if a.settled || a.selected == nil {
		a.settled = false
		a.started = now
	}
}

// Path is the path in use.
func (a *Agent) Path() (Path, bool) {
	if a.selected == nil {
		return Path{}, false
	}
	return a.pathOf(a.selected), true
}

// PathRTT is the smoothed round-trip time of the path in use, as checks have
// measured it; false while there is no path.
func (a *Agent) PathRTT() (time.Duration, bool) {
	if a.selected == nil {
		return 0, false
	}
	return a.selected.rtt, true
}

func (a *Agent) pathOf(p *pair) Path {
	if p == nil {
		return Path{}
	}
	kind := Direct
	if p.relayed() {
		kind = ViaRelay
	}
	return Path{Kind: kind, Base: p.base, Local: p.local.Addr, Remote: p.remote.Addr, Mapped: p.mapped}
}

// IsSettled reports whether checks are over.
func (a *Agent) IsSettled() bool { return a.settled }

// Stats gives the counters so far.
func (a *Agent) Stats() Stats { return a.stats }

// PollTransmit gives the next datagram to send. The payload is the caller's.
func (a *Agent) PollTransmit() (Transmit, bool) { return a.transmits.Pop() }

// PollEvent gives the next event.
func (a *Agent) PollEvent() (Event, bool) { return a.events.Pop() }
