package certify

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"p2pmodel/nat"
)

const (
	// DefaultWait is how long silence lasts until it counts as a drop. The probe
	// stands on the router's own segments, where round trips take microseconds.
	DefaultWait = 200 * time.Millisecond
	// DefaultPatience and MaxPatience are the usual Options.Patience and its bound.
	DefaultPatience = 5 * time.Second
	MaxPatience     = nat.MaxTimeout
	// The ports of the outside sockets where the configuration names none.
	defaultOutsidePort1, defaultOutsidePort2 = 3478, 3479
)

// Config says what stands around the NAT, and what it claims to be.
type Config struct {
	Declared nat.Behavior
	// Outside are two addresses on the router's outer segment, at each of which
	// the probe opens sockets at both Ports. Ports may be zero: 3478 and 3479.
	Outside [2]netip.Addr
	Ports   [2]uint16
	// Inside are addresses behind the NAT, at which the probe opens as many
	// sockets as it needs, at ports of its choice. With two or more the probe
	// also makes hosts contend for a port, and tells hairpin=internal; for the
	// latter each address must be a host of its own, or the hosts must accept
	// packets from their own addresses.
	Inside []netip.Addr
	// External are the NAT's external addresses.
	External []netip.Addr
	// Wait is how long silence lasts until it counts as a drop; 0: DefaultWait.
	Wait time.Duration
	// Rand chooses ports and marks the probe's datagrams.
	Rand *rand.Rand
	Options
	// Oversize is a size of datagrams that the inside hosts' link carries whole and
	// the router's outer one does not. 0: there is none, and RFC 4787 REQ-13 is not
	// tested.
	Oversize int
}

// Options say how much is measured.
type Options struct {
	// All measures what takes more than a moment, too: limits of up to 8192 mappings
	// and times that are not declared, which are their defaults.
	All bool
	// Requirements asks for a report about the requirements of RFC 4787.
	Requirements bool
	// Patience is the longest time for which a mapping is left idle: longer times
	// are not measured, though they are declared. 0: DefaultPatience.
	Patience time.Duration
}

// Times gives those of the behaviour's times that are measured: what it declares
// and the patience allows. A mapping that is given up in use before its idle time
// is over does not show that.
func (o Options) Times(b nat.Behavior) (all []nat.Axis) {
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.All && b.Timeout == 0 {
		b.Timeout = nat.DefaultTimeout
	}
	for _, t := range []struct {
		axis nat.Axis
		time time.Duration
	}{{nat.AxisTimeout, b.Timeout}, {nat.AxisStream, b.Stream}, {nat.AxisTimeoutTCP, b.TimeoutTCP}, {nat.AxisTimeoutICMP, b.TimeoutICMP}} {
		if t.time > 0 && t.time <= o.Patience && (b.Rotate == 0 || t.time*3/2 <= b.Rotate) {
			all = append(all, t.axis)
		}
	}
	if b.Rotate > 0 && b.Rotate <= o.Patience {
		all = append(all, nat.AxisRotate)
	}
	return all
}

// Protocol is what a socket speaks.
type Protocol uint8

const (
	// UDP sockets send datagrams.
	UDP Protocol = iota
	// TCP sockets: one inside connects with the first datagram that it sends, one
	// outside listens, and answers to whom it has accepted. Payloads have one length,
	// StreamPayload, and follow each other.
	TCP
	// ICMP sockets speak echo: one inside sends requests with its port as the
	// identifier, one outside sends replies with the port that they go to. Replies of
	// the outside system itself are not meant, and not told.
	ICMP
)

// StreamPayload is how many bytes each payload of a TCP connection has.
const StreamPayload = marked

// Open asks the driver to open a socket, or to close one.
type Open struct {
	Socket   int
	Protocol Protocol
	// Inside tells the network: behind the NAT, or on its outer segment.
	Inside bool
	// Local is where to bind, exactly. Ignored on close.
	Local netip.AddrPort
	Close bool
}

// Form is how a datagram is put on the wire.
type Form uint8

const (
	// Plain is a UDP datagram as the system sends it.
	Plain Form = iota
	// DontFragment has DF=1, and leaves the sender's machine whole.
	DontFragment
	// MayFragment has DF=0.
	MayFragment
	// Fragments is a datagram in several IP fragments, Reversed the same with the
	// last fragment first.
	Fragments
	Reversed
	// Error is not the payload, but an ICMP error about it: as if it had come to the
	// socket from where it is sent to now.
	Error
)

// ICMPError is what an ICMP error says.
type ICMPError struct{ Type, Code uint8 }

// The errors that matter to NATs (RFC 792).
var (
	HostUnreachable     = ICMPError{3, 1}
	PortUnreachable     = ICMPError{3, 3}
	FragmentationNeeded = ICMPError{3, 4}
	TimeExceeded        = ICMPError{11, 0}
	ParameterProblem    = ICMPError{12, 0}
)

// Send asks the driver to send a datagram, or an error about one.
type Send struct {
	Socket  int
	To      netip.AddrPort
	Payload []byte
	Form    Form
	// Error is what an ICMP error says, Via is whence it comes.
	Error ICMPError
	Via   netip.Addr
}

// New makes a probe. The error says what the configuration lacks.
func New(cfg Config) (*Probe, error) {
	if err := cfg.Declared.Validate(); err != nil {
		return nil, fmt.Errorf("certify: declared behaviour: %w", err)
	}
	if cfg.Rand == nil {
		return nil, errors.New("certify: Config.Rand is nil")
	}
	if len(cfg.Inside) == 0 || len(cfg.External) == 0 {
		return nil, errors.New("certify: at least one inside and one external address are needed")
	}
	if cfg.Outside[0] == cfg.Outside[1] || !cfg.Outside[0].IsValid() || !cfg.Outside[1].IsValid() {
		return nil, fmt.Errorf("certify: two different outside addresses are needed, have %v", cfg.Outside)
	}
	if cfg.Ports == [2]uint16{} {
		cfg.Ports = [2]uint16{defaultOutsidePort1, defaultOutsidePort2}
	}
	if cfg.Ports[0] == cfg.Ports[1] {
		return nil, fmt.Errorf("certify: two different outside ports are needed, have %v", cfg.Ports)
	}
	if cfg.Patience < 0 || cfg.Patience > MaxPatience {
		return nil, fmt.Errorf("certify: patience is from 0 to %s, not %s", MaxPatience, cfg.Patience)
	}
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Wait == 0 {
		cfg.Wait = DefaultWait
	}
	p := newProbe(cfg)
	if n := p.room(); n < minimalRange {
		return nil, fmt.Errorf("certify: a certification takes up to %d mappings, and the declared range, table and blocks allow %d: certify the behaviour with larger ones", minimalRange, n)
	}
	return p, nil
}
