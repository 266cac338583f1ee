package relay

import (
	"errors"
	"net/netip"
	"time"
)

// Allocated says that the allocation exists.
type Allocated struct {
	// Relayed is where peers reach us through the relay; Reflexive is what the
	// server sees of us.
	Relayed, Reflexive netip.AddrPort
	Lifetime           time.Duration
	// RTT is one round trip to the server, zero if the request had to be
	// retransmitted (the answer could be to either).
	RTT time.Duration
}

// Renewed says that the server has taken other credentials for the allocation,
// which goes on as it was.
type Renewed struct{}

// AllocateFailed says that there is no allocation and that none is being
// asked for any more.
type AllocateFailed struct{ Err error }

// Permitted says that the peer's address may send to us through the relay, and
// that Send to it is passed on. It is given once for each call of Permit, and
// again after Rebind; refreshing is silent.
type Permitted struct{ Peer netip.AddrPort }

// PermitFailed says that the relay will not pass this peer's datagrams, and
// that the client has forgotten it.
type PermitFailed struct {
	Peer netip.AddrPort
	Err  error
}

// Data is application data that a permitted peer sent to the relayed address.
// The payload belongs to the receiver.
type Data struct {
	From    netip.AddrPort
	Payload []byte
}

// Lost says that the allocation is gone, or out of our reach. The owner may
// call Rebind.
type Lost struct{ Err error }

// Errors of the client, in AllocateFailed, PermitFailed and Lost, or returned
// by Send. A *stun.ResponseError is what the server itself refused with.
var (
	// ErrNoAnswer means that a request and its retransmissions stayed
	// unanswered.
	ErrNoAnswer = errors.New("the relay does not answer")
	// ErrCredentials means that the server refused the username or password.
	ErrCredentials = errors.New("the relay refused the username or password")
	// ErrAddressChanged means that the server now sees another address of
	// ours, so that it no longer knows the allocation as ours.
	ErrAddressChanged = errors.New("our address as the relay sees it has changed")
	// ErrForgotten means that the server answers, and has no allocation of ours
	// (any more): it was restarted, or our address has changed.
	ErrForgotten = errors.New("the relay has forgotten our allocation")
	// ErrOtherUser means that the server does not take the credentials of
	// SetCredentials for the allocation, which others made.
	ErrOtherUser = errors.New("the allocation is another user's by the relay's rules")
	// ErrNotAllocated means that there is no allocation to send through.
	ErrNotAllocated = errors.New("no allocation at the relay")
	// ErrTooLarge means that a payload does not fit into one relayed datagram.
	ErrTooLarge = errors.New("payload larger than a relayed datagram carries")
	// ErrMalformed means that a success response lacks what it must have.
	ErrMalformed = errors.New("the relay's answer lacks a mandatory attribute")
)
