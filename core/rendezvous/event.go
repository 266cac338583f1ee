package rendezvous

import (
	"net/netip"
	"time"

	"p2pmodel/core/identity"
)

// The events of a Client.
type (
	// Registered: the rendezvous knows us; after a start, a Rebind, an outage.
	Registered struct {
		// Reflexive is our address as the rendezvous sees it.
		Reflexive netip.AddrPort
		// RTT is the round-trip time to the rendezvous; zero if only
		// retransmitted requests were answered so far.
		RTT time.Duration
	}
	// ReflexiveChanged: the NAT gave our socket another address, as it does
	// after a reboot or when the mapping has expired.
	ReflexiveChanged struct{ Old, New netip.AddrPort }
	// Introduced: another peer is to be connected to, now.
	Introduced struct {
		Peer    identity.ID
		Session SessionID
		Offer   []byte
		// Reflexive is where the rendezvous sees the peer; the zero value if it is
		// registered over a stream, and so at no address of its UDP socket.
		Reflexive netip.AddrPort
		// Initiator is true for whoever called Connect.
		Initiator bool
	}
	// ConnectFailed: the rendezvous did not introduce us.
	ConnectFailed struct {
		Peer    identity.ID
		Session SessionID
		// Err is ErrUnknownPeer, ErrUnreachable, ErrTicket, or a *stun.ResponseError.
		Err error
	}
	// Members is who else is in a room that we have joined, in order of their
	// IDs; given again after each new registration.
	Members struct {
		Room string
		IDs  []identity.ID
	}
	// Member joined a room that we are in, or left it.
	Member struct {
		Room   string
		ID     identity.ID
		Joined bool
	}
	// RoomFailed: we are not in the room.
	RoomFailed struct {
		Room string
		Err  error
	}
	// TicketRenewed: the rendezvous goes by the ticket that SetTicket gave.
	TicketRenewed struct{}
	// Refused: the rendezvous does not let us in; Err is ErrTicket with the
	// reason. Once for each ticket; the client asks again now and then, and at
	// once after SetTicket.
	Refused struct{ Err error }
	// Unreachable: the rendezvous does not answer, or not with the key that we
	// expect. Once per outage; the client goes on trying, and Registered ends
	// the outage.
	Unreachable struct {
		// Since is when it answered last; zero if it never did.
		Since time.Time
		Err   error
	}
)

// The events of a Server.
type (
	// Listening: all sockets are open, at these addresses.
	Listening struct{ Listen, Alternate, TCP, TLS netip.AddrPort }
	// ListenFailed: a socket could not be opened; the server does not work.
	ListenFailed struct{ Err error }
	// PeerRegistered: a peer is new, or has another address.
	PeerRegistered struct {
		ID      identity.ID
		Address netip.AddrPort
	}
	// PeerGone: a registration was given up, or has expired, as it also does when
	// the key of its ticket is none of ours any more.
	PeerGone struct {
		ID      identity.ID
		Expired bool
	}
	// PeersIntroduced: Initiator asked for Target, and Target is being told.
	PeersIntroduced struct {
		Initiator, Target identity.ID
		Session           SessionID
	}
)
