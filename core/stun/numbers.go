package stun

import "github.com/pion/stun/v3"

// The methods of our own. The registry (IANA, "STUN Methods") has no range for
// private use; 0x00D to 0x0FF are unassigned, and 0x100 upwards must stay so
// that the first byte of a message tells STUN from DTLS and RTP (RFC 7983). We
// take the end of the free range, farthest from where assignments grow.
const (
	// MethodRegister tells the rendezvous who and where a peer is.
	MethodRegister stun.Method = 0x0F0
	// MethodConnect asks the rendezvous to introduce two peers.
	MethodConnect stun.Method = 0x0F1
	// MethodIntroduce is how the rendezvous tells a peer of another.
	MethodIntroduce stun.Method = 0x0F2
	// MethodJoin enters a room, MethodLeave leaves it.
	MethodJoin  stun.Method = 0x0F3
	MethodLeave stun.Method = 0x0F4
	// MethodMember is how the rendezvous tells of joins and leaves.
	MethodMember stun.Method = 0x0F5
	// MethodHint is how a peer tells another, over the path that they have, at
	// which ports of its NAT it will be.
	MethodHint stun.Method = 0x0F6
)

// The attributes of our own, at the end of the unassigned comprehension-required
// range (IANA, "STUN Attributes": 0x0031 to 0x7FFF are unassigned): a server or
// peer that does not know them has to refuse the message with 420, which is
// what we want of it.
const (
	// AttrPeerID is a peer's public key, 32 bytes.
	AttrPeerID stun.AttrType = 0x7F00
	// AttrServerKey is the rendezvous' public key, 32 bytes.
	AttrServerKey stun.AttrType = 0x7F01
	// AttrOffer is what a peer wants the other to know of its candidates:
	// opaque to the rendezvous.
	AttrOffer stun.AttrType = 0x7F02
	// AttrSession is the 16 bytes that name a session between two peers.
	AttrSession stun.AttrType = 0x7F03
	// AttrRoom is a room's name, 1 to 64 bytes of UTF-8.
	AttrRoom stun.AttrType = 0x7F04
	// AttrMembers is a list of public keys, 32 bytes each.
	AttrMembers stun.AttrType = 0x7F05
	// AttrPresence is one byte: 1 a member joined, 0 it left.
	AttrPresence stun.AttrType = 0x7F06
	// AttrSequence is 8 bytes that grow with each message of a sender, so that
	// a late one is known for what it is.
	AttrSequence stun.AttrType = 0x7F07
	// AttrCursor is a public key: where a list of members goes on.
	AttrCursor stun.AttrType = 0x7F08
	// AttrTarget is the public key of the peer that a request is about.
	AttrTarget stun.AttrType = 0x7F09
	// AttrTicket is a signed statement of what its sender may do; package ticket
	// has its form.
	AttrTicket stun.AttrType = 0x7F0A
	// AttrHint is what MethodHint tells; package peer has its form.
	AttrHint stun.AttrType = 0x7F0B
)

// Attributes of TURN's RFCs that the codec has no names for.
const (
	// AttrAdditionalAddressFamily and AttrAddressErrorCode are RFC 8656's (sections
	// 18.11, 18.12), as AttrICMP is (section 18.13).
	AttrAdditionalAddressFamily stun.AttrType = 0x8000
	AttrAddressErrorCode        stun.AttrType = 0x8001
	AttrICMP                    stun.AttrType = 0x8004
	// AttrDraftAdditionalFamily and AttrDraftAddressError are the same two by the
	// numbers that coturn has for them, from before RFC 8656 (draft-martinsen-tram-ssoda).
	AttrDraftAdditionalFamily stun.AttrType = 0x8032
	AttrDraftAddressError     stun.AttrType = 0x8033
	// AttrMobilityTicket is RFC 8016's (section 3.4).
	AttrMobilityTicket stun.AttrType = 0x8030
)

// AttrPad is our own, of the comprehension-optional range: zeros that make an
// unauthenticated request as long as its answer, so that a server that never sends
// more than it got may answer it.
const AttrPad stun.AttrType = 0xFFF0

// Error codes of RFC 8489 section 14.8, and our own where it has none.
const (
	// CodeTryAlternate names another server in ALTERNATE-SERVER.
	CodeTryAlternate = 300
	CodeBadRequest   = 400
	CodeUnauthorized = 401
	// CodeForbidden: the sender is who it says, but may not do this, as in TURN
	// (RFC 8656 section 19).
	CodeForbidden = 403
	// CodeMobilityForbidden: no tickets are given here (RFC 8016 section 3.4).
	CodeMobilityForbidden = 405
	CodeUnknownAttribute  = 420
	CodeStaleNonce        = 438
	// CodeNotFound: the rendezvous knows no such peer. 404 is unassigned in the
	// registry (IANA, "STUN Error Codes") and means this everywhere else.
	CodeNotFound = 404
	// CodeMismatch: the sender is not registered; as TURN's 437 says that there
	// is no allocation (RFC 8656 section 19).
	CodeMismatch = 437
	// CodeConflict: a newer message came before. 409 is unassigned, too.
	CodeConflict = 409
	// CodeTooMany: a quota is used up, as in TURN (RFC 8656 section 19).
	CodeTooMany = 486
	// CodeCapacity: the server as a whole is full (RFC 8656 section 19).
	CodeCapacity = 508
)
