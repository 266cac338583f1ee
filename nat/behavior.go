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
	// falls back to Sequential (RFC 4787 section 4.2.1, "port preservation").
	Preserve Allocation = iota
	// Sequential takes the next free port after the last one given, starting at
	// the low end of the range. All external addresses share one counter a
	// protocol.
	Sequential
	// Random draws a free port.
	Random
)

// Refresh says which direction of traffic restarts a mapping's idle timer
// (RFC 4787 section 4.3).
type Refresh uint8

const (
	// RefreshOutbound: outbound packets only, REQ-6.
	RefreshOutbound Refresh = iota
	// RefreshBoth: packets of either direction.
	RefreshBoth
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
)

// Behavior is what a NAT does, one field an axis. Values compare with ==. The
// zero value is a valid behaviour: a full cone that preserves ports.
type Behavior struct {
	Mapping   Dependence
	Filtering Dependence
	Scope     Scope
	Ports     Allocation
	Range     PortRange // zero: DefaultPortRange
	Pooling   Pooling
	// Timeout is the idle timeout of a mapping. Zero means that the declaration
	// names none: DefaultTimeout applies, and certification does not measure it.
	Timeout time.Duration
	Refresh Refresh
	Hairpin Hairpin
	// TableSize bounds the mappings a protocol; a full table drops new ones.
	// Zero means DefaultTableSize.
	TableSize int
}
