// Package sansio is the contract between a protocol endpoint and whatever runs
// it, and the loop that runs endpoints over real UDP sockets.
//
// An endpoint is a Machine: a struct without I/O, clock, goroutine or global
// randomness. What happens is told to it, with the time; what it wants is
// polled from it. A driver
//
//  1. calls one of the Handle methods (or a method of the machine's own that
//     its owner wants to call),
//  2. then drains PollBind, PollTransmit and PollEvent, in this order, until
//     each says false,
//  3. and asks PollTimeout when to call HandleTimeout next.
//
// A machine is not safe for concurrent use: one driver owns it. Given the same
// calls, the same times and the same random source, it gives the same outputs.
package sansio

import (
	"net/netip"
	"time"
)

// Transport is what carries a datagram.
type Transport uint8

// The transports. On TCP and TLS, framing and TLS itself are the driver's work:
// a machine sees whole messages on each. What a stream carries is STUN messages
// and ChannelData (RFC 8656 section 12.5), which tell their own length; nothing
// else fits on one.
const (
	UDP Transport = iota
	TCP
	TLS
)

// String is the transport's usual name.
func (t Transport) String() string {
	switch t {
	case UDP:
		return "UDP"
	case TCP:
		return "TCP"
	case TLS:
		return "TLS"
	}
	return "unknown transport"
}

// Socket names a socket of one machine. The machine chooses the number when it
// asks for the socket with a Bind.
type Socket uint32

// Datagram is one message that arrived on a socket or is to leave by it.
type Datagram struct {
	Socket Socket
	// Transport is how it came. One that is to leave goes by its socket's.
	Transport Transport
	// Remote is the peer's transport address; an IPv4 address is never in its
	// IPv6-mapped form.
	Remote netip.AddrPort
	// Local is which of the host's addresses the datagram came to, where the
	// driver can tell, or which one it is to leave with. The zero value, for one
	// to send: that of its socket, and of a socket for all addresses whichever
	// the system takes. A datagram with an address that the host has lost, or
	// with any where the driver cannot choose one, is lost.
	Local netip.Addr
	// DontFragment asks that the datagram leaves whole or not at all (the DF bit of
	// IPv4): see DontFragment, the constant, for whether the driver can. Of what
	// arrived it says nothing.
	DontFragment bool
	// Payload is valid only during the call that hands it over: whoever keeps
	// it copies it. (PollTransmit: until the next call of any method.)
	Payload []byte
}

// Bind asks the driver to open a socket, or to close one.
type Bind struct {
	Socket Socket
	// Transport is the socket's. Streams are for machines that implement
	// StreamMachine; others get an error.
	Transport Transport
	// Local is where to bind. An unspecified address means all addresses, port
	// 0 any port. Ignored on close.
	Local netip.AddrPort
	// Errors asks for ICMP errors about what leaves by the socket: see ErrorMachine.
	Errors bool
	// Remote makes a stream socket one connection, to there; without it the
	// socket listens. On close it names the one connection of a listening
	// socket to close; without it the socket goes, with all that it accepted.
	Remote netip.AddrPort
	// ServerName is who a TLS server has to be, by its certificate. Empty:
	// whoever may call itself by Remote's address.
	ServerName string
	Close      bool
}

// Event is what a machine tells its owner. Each machine documents its own types.
type Event any

// Machine is a protocol endpoint without I/O.
type Machine interface {
	// HandleBound answers a Bind that opens: the local address as bound, or the
	// error. After an error the socket does not exist.
	HandleBound(now time.Time, s Socket, local netip.AddrPort, err error)
	// HandleDatagram gives a datagram that arrived.
	HandleDatagram(now time.Time, d Datagram)
	// HandleInterfaces gives the host's unicast addresses (no loopback): once
	// before anything else, and again whenever they change.
	HandleInterfaces(now time.Time, addrs []netip.Addr)
	// HandleTimeout says that the time named by PollTimeout has come. A call
	// too early is harmless.
	HandleTimeout(now time.Time)

	PollBind() (Bind, bool)
	PollTransmit() (Datagram, bool)
	PollEvent() (Event, bool)
	// PollTimeout is when HandleTimeout wants to be called; the zero time means
	// never. A time that has passed means at once.
	PollTimeout() time.Time
}

// StreamMachine is a Machine that asks for stream sockets. HandleBound answers
// its Binds of these, too: of one that listens when it does, of a connection when
// it stands (of TLS: when the other side has proved who it is). The messages of a
// connection come and go as datagrams of its socket whose Remote is the other end.
type StreamMachine interface {
	Machine
	// HandleAccepted says that somebody has connected to a listening socket.
	HandleAccepted(now time.Time, s Socket, remote netip.AddrPort)
	// HandleClosed says that a connection is over, and why: one that a listening
	// socket had accepted, or that of the socket, which then does not exist any
	// more. It follows no Bind that closes.
	HandleClosed(now time.Time, s Socket, remote netip.AddrPort, err error)
}

// Forwarder is a Machine that passes datagrams on. A driver may ask Forward about each
// datagram of a socket first, and call HandleDatagram only where it says so; what leaves is the
// same either way, in the same order.
type Forwarder interface {
	Machine
	// Forward is HandleDatagram for a datagram of which comes at most another one, which
	// it gives instead of queueing it; an invalid Remote: none. False: it did nothing, and
	// HandleDatagram is to be called. The driver drains the machine as after any other
	// call, but may do so once for many of these.
	Forward(now time.Time, d Datagram) (Forwarded, bool)
}

// Forwarded is a datagram that is passed on: what its Payload is, with Prefix before it. Both
// are valid until the next call of any method, and Payload may be a part of the
// datagram that came.
type Forwarded struct {
	Datagram
	Prefix []byte
}
