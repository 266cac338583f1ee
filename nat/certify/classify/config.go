// Package classify tells how the NAT in front of a machine behaves, from that
// machine alone, with the help of a STUN server that has two addresses and two
// ports (RFC 5780). The machine is sans-IO; Run drives it over real sockets. It
// concludes by nat/certify/analysis, as the certification of the laboratory's own
// NATs does, and shares no code with the system that is tested behind them.
package classify

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"p2pmodel/nat"
)

const (
	// DefaultRTO is the time between two copies of a request: RFC 8489's first.
	DefaultRTO = 500 * time.Millisecond
	// DefaultCopies is how often a request is sent until silence is an answer. What
	// a filter drops looks like loss.
	DefaultCopies = 4
	// DefaultPort is STUN's (RFC 8489 section 8).
	DefaultPort = 3478
	// MaxLifetime bounds Config.Lifetime.
	MaxLifetime = time.Hour
	// samples is how many mappings the ports are concluded from.
	samples = 17
)

// Errors of Result.
var (
	// ErrUnreachable: the server does not answer.
	ErrUnreachable = errors.New("no answer from the STUN server")
	// ErrNoAlternate: mapping and filtering need a server with two addresses.
	ErrNoAlternate = errors.New("the STUN server names no other address (OTHER-ADDRESS, RFC 5780)")
)

// Config says what is asked.
type Config struct {
	// Server is the STUN server's first address.
	Server netip.AddrPort
	// Local is the address of this machine towards the server.
	Local netip.Addr
	// RTO is the time between two copies of a request, Copies how many there are;
	// zero: DefaultRTO, DefaultCopies.
	RTO    time.Duration
	Copies int
	// Lifetime is the longest time for which a mapping is left idle, up to
	// MaxLifetime, to find out how long one lives. Zero: that is not measured.
	Lifetime time.Duration
	// Rand draws transaction ids, which nobody must foretell.
	Rand io.Reader
}

func (c Config) validate() error {
	var errs []error
	if !c.Server.IsValid() || c.Server.Port() == 0 {
		errs = append(errs, fmt.Errorf("server %s is no address and port", c.Server))
	}
	if !c.Server.Addr().Is4() || !c.Local.Is4() {
		errs = append(errs, fmt.Errorf("server %s, seen from %s: only IPv4 is classified", c.Server.Addr(), c.Local))
	}
	if c.Rand == nil {
		errs = append(errs, errors.New("Config.Rand is nil"))
	}
	if c.RTO < 0 || c.Copies < 0 {
		errs = append(errs, errors.New("RTO and Copies must not be negative"))
	}
	if c.Lifetime < 0 || c.Lifetime > MaxLifetime || c.Lifetime > 0 && c.Lifetime < nat.MinTimeout {
		errs = append(errs, fmt.Errorf("the lifetime is looked for from %s to %s, not up to %s", nat.MinTimeout, MaxLifetime, c.Lifetime))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("classify: %w", err)
	}
	return nil
}

// Open asks the driver to open a socket at Config.Local, at any port, or to close
// one.
type Open struct {
	Socket int
	Close  bool
}

// Send asks the driver to send a datagram.
type Send struct {
	Socket  int
	To      netip.AddrPort
	Payload []byte
}

// Result is what was found out.
type Result struct {
	Server    netip.AddrPort `json:"server"`
	Local     netip.AddrPort `json:"local"`     // of the first socket
	Reflexive netip.AddrPort `json:"reflexive"` // what the server saw it as
	// Behavior has the axes that were told, in the text form of nat.Behavior.
	Behavior string `json:"behavior"`
	// Classic is the name in the terms of RFC 3489, or says that there is none.
	Classic  string    `json:"classic"`
	Findings []Finding `json:"findings"`
	Untold   []Untold  `json:"untold,omitempty"`
	// Meddling is how an address in the payload was changed on the way; empty: none
	// was. An ALG does so, against RFC 4787 REQ-10.
	Meddling string `json:"meddling,omitempty"`
	// Err is why nothing was found out at all.
	Err error `json:"-"`
}

// Complete reports whether mapping and filtering are known.
func (r Result) Complete() bool {
	return r.Err == nil && r.has(nat.AxisMapping) && r.has(nat.AxisFiltering)
}

func (r Result) has(axis nat.Axis) bool { return r.Measured(axis) != "" }

// Measured gives what was told of an axis; it is empty if nothing was.
func (r Result) Measured(axis nat.Axis) string {
	for _, f := range r.Findings {
		if f.Axis == axis {
			return f.Measured
		}
	}
	return ""
}

// Finding is what was told of one axis, and of what.
type Finding struct {
	Axis     nat.Axis `json:"axis"`
	Measured string   `json:"measured"`
	Evidence []string `json:"evidence"`
}

// Untold is an axis of which nothing could be told, and why.
type Untold struct {
	Axis nat.Axis `json:"axis"`
	Why  string   `json:"why"`
}
