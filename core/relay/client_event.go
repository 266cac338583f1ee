package relay

import (
	"errors"
	"net/netip"
	"time"
)

// Allocated says that the allocation exists.
type Allocated struct {
	// Relayed is where peers reach us through the relay; Reflexive is what the
	// server sees of us, zero where it did not say (after a move, see Rebind).
	Relayed, Reflexive netip.AddrPort
	// Other is the relayed address of IPv6 where there are both; where BothFamilies
	// was asked for and there is one only, OtherErr may say why.
	Other    netip.AddrPort
	OtherErr error
	Lifetime time.Duration
	// Moved says that it is the allocation of before, which has come along.
	Moved bool
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

// Unreachable says that a datagram of ours did not get from the relay to a permitted
// peer, by an ICMP error of the way there (RFC 8656 section 11.6). Forged ones look the
// same.
type Unreachable struct {
	Peer netip.AddrPort
	// Type and Code are those of ICMP, or of ICMPv6 where the peer's address is IPv6.
	Type, Code uint8
	// MTU is the next hop's, where the datagram was too big; else 0.
	MTU uint32
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
	// ErrFragments means that the relay does not know DONT-FRAGMENT, or was not asked.
	ErrFragments = errors.New("the relay does not promise to leave datagrams whole")
	// ErrRedirected means that relays sent us from one to another too often.
	ErrRedirected = errors.New("relays name each other as the one to ask")
	// ErrMalformed means that a success response lacks what it must have.
	ErrMalformed = errors.New("the relay's answer lacks a mandatory attribute")
)
