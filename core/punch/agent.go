package punch

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

// Config is what an agent needs to know from the start.
type Config struct {
	// Controlling is the side that nominates. Where both sides say the same,
	// the tie-breaker decides (RFC 8445 section 7.3.1.1).
	Controlling bool
	// TieBreaker is drawn at random for each session.
	TieBreaker uint64
	// The credentials of both sides (RFC 8445 section 5.3): ufrag 4 to 256
	// characters, password 22 to 256. The remote ones may be empty: they are not
	// known yet, and SetCredentials tells them; until then checks are answered,
	// and none are sent.
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
	// Renomination: both sides announced that a later nomination replaces an
	// earlier one (draft-thatcher-ice-renomination). Extended agents always do.
	Renomination bool
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
	// RemoteFrom is where the peer's answers come from, if that is another
	// address than Remote: the path is split. Else it is the zero value.
	RemoteFrom netip.AddrPort
}

// Split says that datagrams go to one address of the peer's and come from
// another.
func (p Path) Split() bool { return p.RemoteFrom.IsValid() }

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
	// PathQuiet says that the peer, which was speaking, says nothing, or does not
	// answer in its usual time, over the path in use: it is asked, and the network
	// may have changed on either side. Extended agents only.
	PathQuiet struct{ Path Path }
	// Remapped says that the peer, or its relay, sees us at another address than
	// before: a NAT in front of us has given another mapping. Path.Mapped is the new
	// one. InUse: it is the path in use. Extended agents only.
	Remapped struct {
		Path  Path
		Old   netip.AddrPort
		InUse bool
	}
)

// Event is one of PathChanged, Settled, PathLost, PathQuiet and Remapped.
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
	// Split counts those that were taken all the same, because the agent is
	// extended.
	Split uint64
	// Early counts datagrams that left before a path was proved.
	Early uint64
	// Unauthentic counts messages for this session with wrong integrity.
	Unauthentic   uint64
	RoleConflicts uint64
}

// Agent keeps one session's path. Make it with New.
type Agent struct {
	cfg           Config
	given         Timing // as the owner set it
	local, remote credentials
	// former are the credentials before the last ICE restart: over the path in
	// use consent goes on with them until the restart has found one.
	formerLocal, formerRemote credentials
	controlling               bool

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

	// relays are the addresses of relays that let nobody in but whom their client has
	// permitted.
	relays []netip.Addr

	// complete: neither side will have more candidates. revoked: we want no
	// more datagrams of the peer's.
	complete, revoked bool
	// validSince is when the first pair became valid since started.
	validSince time.Time
	switchedAt time.Time // to a path only because it is better

	spoke    time.Time // when data was sent last
	started  time.Time // of the checks, or of their last restart
	heard    time.Time // first sign of the peer since started
	settled  bool
	outcome  PathKind  // of the last Settled
	rebound  time.Time // what was proved before is in doubt
	nextSlot time.Time // of checks, as paced; a burst may be ahead of it
	stepped  time.Time
	// wake is what PollTimeout says, while polled: nothing has changed since.
	// An owner of hundreds of agents asks them all far more often than they
	// change.
	wake   time.Time
	polled bool

	// learned are the strange addresses that became pairs, named those that did because
	// the peer nominated them.
	learned, named chances

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

// ErrConfig is returned by New and SetCredentials for credentials of an unusable
// length.
var ErrConfig = errors.New("punch: unusable configuration")

// New makes an agent. Checks begin as soon as it knows a candidate of either
// side, and the peer's credentials.
func New(now time.Time, cfg Config) (*Agent, error) {
	if err := checkCredentials("local", cfg.LocalUfrag, cfg.LocalPwd, false); err != nil {
		return nil, err
	}
	if err := checkCredentials("remote", cfg.RemoteUfrag, cfg.RemotePwd, true); err != nil {
		return nil, err
	}
	if cfg.Rand == nil {
		return nil, fmt.Errorf("%w: no source of randomness", ErrConfig)
	}
	given := cfg.Timing
	cfg.Timing = given.withDefaults(cfg.Extended)
	return &Agent{
		cfg:         cfg,
		given:       given,
		local:       newCredentials(cfg.LocalUfrag, cfg.LocalPwd),
		remote:      newCredentials(cfg.RemoteUfrag, cfg.RemotePwd),
		controlling: cfg.Controlling,
		started:     now,
	}, nil
}

// SetExtended says anew what Config.Extended says, for owners who learn what the
// peer understands after the agent was made.
func (a *Agent) SetExtended(extended bool) {
	if a.cfg.Extended != extended {
		a.cfg.Extended, a.polled = extended, false
		a.cfg.Timing = a.given.withDefaults(extended)
	}
}

// SetRenomination says anew what Config.Renomination says, for owners who learn what the
// peer announces after the agent was made.
func (a *Agent) SetRenomination(both bool) { a.cfg.Renomination, a.polled = both, false }

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
	path := Path{Kind: kind, Base: p.base, Local: p.local.Addr, Remote: p.remote.Addr, Mapped: p.mapped}
	if p.split() {
		path.RemoteFrom = p.from
	}
	return path
}

// IsSettled reports whether checks are over.
func (a *Agent) IsSettled() bool { return a.settled }

// Stats gives the counters so far.
func (a *Agent) Stats() Stats { return a.stats }

// PollTransmit gives the next datagram to send. The payload is the caller's.
func (a *Agent) PollTransmit() (Transmit, bool) { return a.transmits.Pop() }

// PollEvent gives the next event.
func (a *Agent) PollEvent() (Event, bool) { return a.events.Pop() }
