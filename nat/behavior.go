// Package nat describes how a network address translator behaves, in the
// terms of RFC 4787: a Behavior is a comparable value with one field an axis.
// It holds no state and translates nothing; package nat/table executes a
// behaviour, nat/ruleset renders it for the Linux kernel, nat/certify measures
// it from outside, and nat/oracle derives what two of them allow.
package nat

import (
	"time"
)

// Dependence says how much of the remote transport address a NAT looks at
// (RFC 4787 section 4.1 for mapping, section 5 for filtering).
type Dependence uint8

const (
	// EndpointIndependent looks at nothing of the remote side.
	EndpointIndependent Dependence = iota
	// AddressDependent looks at the remote address.
	AddressDependent
	// AddressAndPortDependent looks at the remote address and port.
	AddressAndPortDependent
)

// Allocation says how the external port of a new mapping is chosen.
type Allocation uint8

const (
	// Preserve takes the inside port where it is free and in the range, and
	// else does what Fallback says (RFC 4787 section 4.2.1, "port preservation").
	Preserve Allocation = iota
	// Sequential gives each Delta-th port of the range, from its low end on, and
	// starts there again when the range ends: with Delta 3 and the range 1-8 it gives
	// 1, 4, 7, 1. A port that is taken is skipped by another step of Delta, so the
	// ports between are never given. All external addresses share one counter a
	// protocol. Ports that were preserved do not move it.
	Sequential
	// Random draws a free port, each with equal chance.
	Random
	// Block gives each inside address a block of Block consecutive ports when it
	// first needs one (RFC 6888 section 4, RFC 7753), and draws its ports from that
	// at random. Blocks lie side by side from the low end of the range, and what is
	// left at its high end belongs to none. They are given in turn, by one counter a
	// protocol for all external addresses; with arbitrary pooling, an inside address
	// has one of each external address. An address that has used up its block gets
	// no further mapping: the block is also the limit a subscriber (RFC 6888 REQ-4).
	// A block is given back when no mapping has been in use for the idle timeout, the
	// longer one where Stream is another.
	Block
)

// Fallback says what Preserve does where the inside port is taken or out of the
// range.
type Fallback uint8

const (
	// FallbackSequential takes the next free one, like Sequential, with its counter.
	FallbackSequential Fallback = iota
	// FallbackRandom draws one, like Random.
	FallbackRandom
)

// Parity says whether an external port is even where the inside port is, and odd
// where it is odd (RFC 4787 section 4.2.2, REQ-4).
type Parity uint8

const (
	// ParityIgnore does not look at it.
	ParityIgnore Parity = iota
	// ParityKeep gives even ports to even ones and odd ports to odd ones, and none
	// where only the others are free. Each parity has a sequential counter of its
	// own, and an odd Delta is rounded up: from 1024 on, even ports are given as 1024,
	// 1026, 1028.
	ParityKeep
)

// Full says what a NAT does that needs a mapping and has TableSize of them.
type Full uint8

const (
	// FullDrop drops the packet.
	FullDrop Full = iota
	// FullEvict removes the mapping that was idle for longest, and makes the new
	// one. nftables has no such operation: nat/ruleset refuses it.
	FullEvict
)

// Kind says by what kind of machine a NAT is made.
type Kind uint8

const (
	// KindRFC is a NAT that does what its axes say.
	KindRFC Kind = iota
	// KindMasquerade is Linux's conntrack with masquerade: endpoint-independent as
	// long as nobody else wants the port; two hosts share an external port while
	// their destinations differ, and where flows would clash the later one gets
	// another port.
	KindMasquerade
	// KindMasqueradeRandom is masquerade random: each flow draws a port.
	KindMasqueradeRandom
	// KindMasqueradeFullyRandom is masquerade fully-random. Kernels before 5.0 chose
	// the ports of random by a hash; since then the two are one.
	KindMasqueradeFullyRandom
)

// EarlyInbound says what a Linux router does with packets from outside that no
// flow expects. It matters for punching: an accepted one becomes a flow of the
// router itself, with which the flow from inside to that peer then clashes.
type EarlyInbound uint8

const (
	// EarlyDrop drops them in the input chain.
	EarlyDrop EarlyInbound = iota
	// EarlyAccept gives them to the router itself, which answers with an ICMP error.
	EarlyAccept
)

// Refresh says which direction of traffic restarts a mapping's idle timer
// (RFC 4787 section 4.3).
type Refresh uint8

const (
	// RefreshOutbound: outbound packets only, REQ-6.
	RefreshOutbound Refresh = iota
	// RefreshBoth: packets of either direction.
	RefreshBoth
	// RefreshInbound: inbound packets only. RFC 4787 REQ-6 forbids it. Packets from
	// inside still let their destination answer for an idle timeout, and for as long
	// the port is not given to anybody else: when the mapping has ended meanwhile, the
	// next one gets another port.
	RefreshInbound
)

// Hairpin says what becomes of a packet from inside to an external address of
// the same NAT (RFC 4787 section 6).
type Hairpin uint8

const (
	// HairpinNone drops it.
	HairpinNone Hairpin = iota
	// HairpinInternal delivers it with the sender's inside address as source.
	// The filter does not apply: it knows outside addresses only. The sender's
	// packet makes no mapping.
	HairpinInternal
	// HairpinExternal delivers it with the sender's mapped address as source,
	// REQ-9a. It is an outbound packet that makes or refreshes the sender's
	// mapping, and then an inbound one that the receiver's filter judges.
	HairpinExternal
)

// Scope says what filter state belongs to.
type Scope uint8

const (
	// ScopeMapping: each mapping has its own filter.
	ScopeMapping Scope = iota
	// ScopeEndpoint: all mappings of one inside endpoint share a filter.
	ScopeEndpoint
)

// Pooling says how an external address is chosen where there are several
// (RFC 4787 section 4.1, REQ-2).
type Pooling uint8

const (
	// PoolPaired gives all mappings of an inside address one external address.
	PoolPaired Pooling = iota
	// PoolArbitrary chooses for every mapping anew, round robin.
	PoolArbitrary
)

// PortRange is the range of external ports that a NAT hands out, both ends
// included. The zero value means DefaultPortRange.
type PortRange struct {
	Low, High uint16
}

// DefaultPortRange leaves the well-known ports alone (RFC 4787 section 4.2.2).
var DefaultPortRange = PortRange{Low: 1024, High: 65535}

const (
	// DefaultTimeout is the idle timeout of a behaviour that names none: the
	// default that RFC 4787 REQ-5 recommends.
	DefaultTimeout = 5 * time.Minute
	// TCPTimeout is how long an idle mapping of TCP lives at least, and an idle flow
	// of TCP through a firewall (RFC 5382 REQ-5, RFC 6092 REC-35): what Timeout says
	// is of connections that are not known to be open.
	TCPTimeout = 2*time.Hour + 4*time.Minute
	// DefaultTableSize is the number of mappings a protocol of a behaviour that
	// names none.
	DefaultTableSize = 65536
	// DefaultDelta is the step of sequential ports.
	DefaultDelta = 1
	// DefaultBlock is the size of a block of ports where none is named; carriers use
	// 512 to 4096 (Richter et al. 2016).
	DefaultBlock = 512
)

// Behavior is what a NAT does, one field an axis. Values compare with ==. The
// zero value is a valid behaviour: a full cone that preserves ports.
type Behavior struct {
	Mapping   Dependence
	Filtering Dependence
	Scope     Scope
	Ports     Allocation
	// Fallback is for Ports == Preserve.
	Fallback Fallback
	// Delta is the step between sequential ports, 1 to MaxDelta; zero means
	// DefaultDelta. See Sequential.
	Delta int
	// Block is the number of ports of a block, for Ports == Block; zero means
	// DefaultBlock.
	Block   int
	Parity  Parity
	Range   PortRange // zero: DefaultPortRange
	Pooling Pooling
	// Timeout is the idle timeout of a mapping. Zero means that the declaration
	// names none: DefaultTimeout applies, and certification does not measure it.
	Timeout time.Duration
	// Stream is the idle timeout of UDP mappings through which packets have passed
	// both ways; zero means Timeout. The first inbound packet that passes makes a
	// mapping such a one for all its life; the time counts from the next packet that
	// restarts the timer on, which may be this one.
	Stream time.Duration
	// TimeoutTCP and TimeoutICMP are the idle timeouts of those protocols; zero
	// means Timeout, and for TCP at least TCPTimeout.
	TimeoutTCP, TimeoutICMP time.Duration
	Refresh                 Refresh
	// Rotate is the age at which a mapping ends although it is in use: its external
	// port is closed at once, and the next packet from inside gets a new mapping at
	// another port. The old port counts as taken, and towards TableSize, until the
	// mapping would have been idle for too long. Zero: never.
	Rotate  time.Duration
	Hairpin Hairpin
	// TableSize bounds the mappings a protocol. Zero means DefaultTableSize.
	TableSize int
	// Full says what becomes of a new mapping in a full table.
	Full Full
	// Kind is by what the NAT is made. All but KindRFC fix the axes that it decides:
	// see Kind.Implied.
	Kind Kind
	// Early is for kinds other than KindRFC.
	Early EarlyInbound
}
