package peer

import (
	"net/netip"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/punch"
	"p2pmodel/core/sansio"
	"p2pmodel/core/traits"
)

// Path is a pair of addresses that carries a session; see punch.Path.
type Path = punch.Path

// The kinds of paths.
const (
	NoPath = punch.NoPath
	Direct = punch.Direct
	Relay  = punch.ViaRelay
)

// The events of a Machine.
type (
	// Bound: the machine's socket is open, at this local address.
	Bound struct{ Local netip.AddrPort }
	// Registered: the rendezvous knows us, after a start, a change of network
	// or an outage.
	Registered struct {
		// Reflexive is our address as the rendezvous sees it; the zero value where
		// it sees one of a stream, at which no peer reaches us.
		Reflexive netip.AddrPort
		// RTT is the round trip to the rendezvous; zero if unknown.
		RTT time.Duration
	}
	// ReflexiveChanged: the NAT gave our socket another address.
	ReflexiveChanged struct{ Old, New netip.AddrPort }
	// ServerReached: a server is reached another way than before, by its streams
	// because UDP to it gets no answer, or by UDP because that does. Server is its
	// UDP address, by which it is known, At what answers now.
	ServerReached struct {
		Server    netip.AddrPort
		Transport sansio.Transport
		At        netip.AddrPort
	}
	// KeepaliveLearned: paths that carry nothing are kept alive each Interval from
	// now on. Mappings of this network that were idle for Alive lived, one idle for
	// Dead did not; zero: none so far.
	KeepaliveLearned struct{ Interval, Alive, Dead time.Duration }
	// RelayReady: we have an allocation on the relay.
	RelayReady struct{ Relayed netip.AddrPort }
	// TicketRenewed: the rendezvous goes by the ticket that SetServers gave;
	// RelayRenewed: the relay by the credentials.
	TicketRenewed struct{}
	RelayRenewed  struct{ Relayed netip.AddrPort }
	// RelayReleased: the allocation at the relay before the present one has been
	// given back, or was lost.
	RelayReleased struct{ Relayed netip.AddrPort }
	// RelayFailed: we have none, or lost it. The machine asks again.
	RelayFailed struct{ Err error }
	// Introduced: a session with a peer has begun; checks start.
	Introduced struct {
		Peer    identity.ID
		Session SessionID
		// Initiator is true on the side whose Connect began the session.
		Initiator bool
	}
	// PathChanged: datagrams to the peer go another way from now on. Old is the
	// zero Path when the session gets its first path, New when it has none.
	PathChanged struct {
		Peer     identity.ID
		Session  SessionID
		Old, New Path
	}
	// Settled: checks are over, with this path (NoPath: with none, and the
	// machine tries again later). Again after each restart of the checks.
	Settled struct {
		Peer    identity.ID
		Session SessionID
		Path    Path
	}
	// PathLost: the path in use stopped answering; After is how long ago its
	// last answer came. The session goes on.
	PathLost struct {
		Peer    identity.ID
		Session SessionID
		Path    Path
		After   time.Duration
	}
	// Surveyed: how the NATs in front of the socket give ports is known.
	Surveyed struct{ Traits traits.Traits }
	// Attempted: a technique beyond plain punching has ended. Direct says that the
	// session's path is direct by it.
	Attempted struct {
		Peer      identity.ID
		Session   SessionID
		Technique Technique
		Direct    bool
		// Sockets were opened and Probes sent for it, on this side.
		Sockets, Probes int
		// Hit says which of this side's probes of a birthday search met a port that was open,
		// from 1; 0: none, or the peer probed.
		Hit int
	}
	// Received is a datagram of the peer, each at most once. The payload is the
	// receiver's.
	Received struct {
		Peer    identity.ID
		Session SessionID
		Payload []byte
		// Path is how it came.
		Via PathKind
	}
	// Closed: the session is over. Err is nil if we closed it, else
	// ErrClosedByPeer, ErrReplaced, ErrGivenUp or ErrNotAllowed.
	Closed struct {
		Peer    identity.ID
		Session SessionID
		Err     error
	}
	// MemberJoined and MemberLeft: a room's members, ourselves left out. Those
	// who are there already join when we do.
	MemberJoined struct {
		Room string
		Peer identity.ID
	}
	MemberLeft struct {
		Room string
		Peer identity.ID
	}
	// Failed: something that was asked for did not work, and why. Peer is zero
	// where it is about none. Introductions are tried again.
	Failed struct {
		Peer identity.ID
		Err  error
	}
)

// PathKind says whether a relay is on a path.
type PathKind = punch.PathKind
