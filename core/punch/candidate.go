package punch

import (
	"fmt"
	"net/netip"
)

// Kind is a candidate's type (RFC 8445 section 4).
type Kind uint8

// The kinds of candidates, best first.
const (
	// Host is an address of an interface of the peer.
	Host Kind = iota
	// PeerReflexive is an address learned from a check.
	PeerReflexive
	// ServerReflexive is an address that a server on the Internet saw.
	ServerReflexive
	// Relayed is an address on a relay.
	Relayed
)

var kindNames = [...]string{"host", "prflx", "srflx", "relay"}

// String is the name that SDP gives the kind (RFC 8839 section 5.1).
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// typePreference is what RFC 8445 section 5.1.2.2 recommends.
func (k Kind) typePreference() uint32 {
	switch k {
	case Host:
		return 126
	case PeerReflexive:
		return 110
	case ServerReflexive:
		return 100
	default:
		return 0
	}
}

// Base names what a datagram leaves by: a socket, or an allocation on a relay.
// The agent's owner gives the numbers.
type Base uint16

// Candidate is a transport address at which a peer may be reached.
type Candidate struct {
	Kind Kind
	Addr netip.AddrPort
	// Priority is 1 to 2³¹−1 (RFC 8445 section 5.1.2). Zero in a local
	// candidate: the agent computes it.
	Priority uint32
}

// String reads like an SDP candidate line: kind, address, priority.
func (c Candidate) String() string {
	return fmt.Sprintf("%s %s %d", c.Kind, c.Addr, c.Priority)
}

const (
	// directPreference is the local preference of the first direct candidate.
	directPreference = 65535
	// relayPreference is the local preference of relayed bases. The PRIORITY of
	// a check carries it, so that whoever learns a peer-reflexive candidate
	// from the check can tell that the path is relayed: below
	// relayedThreshold it is.
	relayPreference   = 16383
	relayedThreshold  = 32768
	defaultComponent  = 1
	componentMinuend  = 256
	localPreferenceAt = 8
	typePreferenceAt  = 24
)

// Priority computes a candidate's priority (RFC 8445 section 5.1.2.1) for the
// only component. index counts the host's addresses from 0, best first.
func Priority(k Kind, index int) uint32 {
	preference := directPreference - min(index, relayedThreshold-1)
	if k == Relayed {
		preference = relayPreference - min(index, relayPreference)
	}
	return priority(k, uint32(preference))
}

func priority(k Kind, localPreference uint32) uint32 {
	return k.typePreference()<<typePreferenceAt | localPreference<<localPreferenceAt | (componentMinuend - defaultComponent)
}

// checkPriority is the PRIORITY attribute of a check (RFC 8445 section 7.1.1):
// what a peer-reflexive candidate learned from it gets.
func checkPriority(local Candidate) uint32 {
	return priority(PeerReflexive, local.Priority>>localPreferenceAt&0xffff)
}

// throughRelay reports whether a check's PRIORITY says that the check left its
// sender by a relay. Foreign agents do not say so.
func throughRelay(checkPriority uint32) bool {
	return checkPriority>>localPreferenceAt&0xffff < relayedThreshold
}

// carrierGrade is the shared address space of carriers (RFC 6598).
var carrierGrade = netip.MustParsePrefix("100.64.0.0/10")

// Relayable reports whether an address means something to a relay on the
// Internet: not if it is private, link-local or a carrier's.
func Relayable(a netip.Addr) bool {
	return !a.IsPrivate() && !a.IsLinkLocalUnicast() && !carrierGrade.Contains(a)
}
