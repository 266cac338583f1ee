package sansio

import (
	"net/netip"
	"time"
)

// Undeliverable is an ICMP error about a datagram that a machine has sent.
type Undeliverable struct {
	Socket Socket
	// Remote is where the datagram was to go; its family says of which ICMP Type
	// and Code are (RFC 792, RFC 4443).
	Remote     netip.AddrPort
	Type, Code uint8
	// MTU is the next hop's where the error says that the datagram was too big;
	// else 0.
	MTU uint32
}

// ErrorMachine is a Machine that wants to hear of ICMP errors, about the sockets that
// it has asked for with Bind.Errors. Who is on the way can forge them, and who is not
// needs to know both ports: they are a hint. Of what a driver cannot hear of, it says
// nothing: Linux's can, over sockets of the kernel.
type ErrorMachine interface {
	Machine
	// HandleUndeliverable tells of one error.
	HandleUndeliverable(now time.Time, u Undeliverable)
}

// The types and codes of errors that name an MTU.
const (
	icmpUnreachable      = 3
	icmpFragmentNeeded   = 4
	icmpv6PacketTooBig   = 2
	maxUndeliverableRead = 64 // at once
)
