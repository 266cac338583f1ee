package relay

import (
	"net/netip"
	"time"
)

// Listening says that the sockets are open that clients come by. TCP and TLS are the
// zero value where there are none.
type Listening struct{ Addr, TCP, TLS netip.AddrPort }

// ListenFailed says that it could not be opened; the server does nothing then.
type ListenFailed struct{ Err error }

// AllocationCreated says that a client has got a relayed transport address.
type AllocationCreated struct {
	Client, Relayed netip.AddrPort
	Other           netip.AddrPort // the IPv6 one, where there are both
	Username        string         // as sent by the client: quote it before printing
	Lifetime        time.Duration
}

// AllocationRefused says that an authenticated client got no allocation.
type AllocationRefused struct {
	Client   netip.AddrPort
	Username string // as sent by the client: quote it before printing
	Code     int    // the error code of the answer, e.g. 486 or 508
}

// AllocationMoved says that a client goes on with its allocation from elsewhere.
type AllocationMoved struct {
	From, Client, Relayed netip.AddrPort
	Username              string // as sent by the client: quote it before printing
}

// Drained says that Drain was called and no allocation is left.
type Drained struct{}

// AllocationDeleted says that the client gave its allocation up.
type AllocationDeleted struct {
	Client, Relayed netip.AddrPort
	Username        string // as sent by the client: quote it before printing
}

// AllocationExpired says that an allocation ended because nobody refreshed it.
type AllocationExpired struct {
	Client, Relayed netip.AddrPort
	Username        string // as sent by the client: quote it before printing
}

// Stats are the server's present state and what it did since it began.
type Stats struct {
	// Now.
	Allocations, Reservations, Permissions, Channels int
	// Since the beginning. Datagrams and bytes are application data.
	Created, Expired, Deleted, Moved uint64
	Refused                          uint64 // allocations, by any code
	TurnedAway                       uint64 // of these, because the server drains
	ToPeers, ToPeersBytes            uint64
	ToClients, ToClientsBytes        uint64
	Passed                           Passed // of these, by the fast path
	ICMP                             uint64 // errors that clients were told of
	Challenged                       uint64 // 401 and 438 sent
	// Dropped datagrams, by reason.
	DroppedMalformed    uint64 // not STUN, not ChannelData, lengths that lie
	DroppedUnsolicited  uint64 // responses, unknown methods and indications
	DroppedBudget       uint64 // unauthenticated source past its budget
	DroppedNoAllocation uint64 // data from no client of ours
	DroppedNoPermission uint64 // data to or from a peer without permission
	DroppedNoChannel    uint64 // ChannelData on an unbound channel
	DroppedForbidden    uint64 // data to a peer that the policy refuses
	DroppedRate         uint64 // data past a rate
}
