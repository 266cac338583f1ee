package simnet

import (
	"net/netip"
	"time"
)

// Dependence is what a mapping or a filter looks at (RFC 4787 sections 4.1, 5).
type Dependence uint8

// The three dependences.
const (
	Endpoint Dependence = iota // endpoint-independent
	Address
	AddressPort
)

// narrow keeps of a remote what the dependence looks at.
func (d Dependence) narrow(remote netip.AddrPort) netip.AddrPort {
	switch d {
	case Endpoint:
		return netip.AddrPort{}
	case Address:
		return netip.AddrPortFrom(remote.Addr(), 0)
	default:
		return remote
	}
}

// TestNAT is a NAT small enough to be obviously right, for tests. Ports are
// given in sequence; outbound packets alone refresh a mapping.
type TestNAT struct {
	External           netip.Addr
	Mapping, Filtering Dependence
	// Timeout is how long an idle mapping lives; zero: forever.
	Timeout time.Duration

	mappings map[mappingKey]*testMapping
	byPort   map[uint16]*testMapping
	lastPort uint16
}

type mappingKey struct{ source, remote netip.AddrPort }

type testMapping struct {
	inner   netip.AddrPort
	port    uint16
	used    time.Time
	allowed map[netip.AddrPort]bool
}

// firstExternalPort keeps external ports apart from those of hosts.
const firstExternalPort = 20000

// Outbound implements NAT.
func (t *TestNAT) Outbound(now time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	if t.mappings == nil {
		t.Reset()
	}
	key := mappingKey{source, t.Mapping.narrow(destination)}
	m := t.mappings[key]
	if m == nil || t.expired(now, m) {
		if m != nil {
			delete(t.byPort, m.port)
		}
		t.lastPort++
		m = &testMapping{inner: source, port: t.lastPort, allowed: make(map[netip.AddrPort]bool)}
		t.mappings[key], t.byPort[m.port] = m, m
	}
	m.used = now
	m.allowed[t.Filtering.narrow(destination)] = true
	return netip.AddrPortFrom(t.External, m.port), true
}

// Inbound implements NAT.
func (t *TestNAT) Inbound(now time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	m := t.byPort[destination.Port()]
	if m == nil || t.expired(now, m) || !m.allowed[t.Filtering.narrow(source)] {
		return netip.AddrPort{}, false
	}
	return m.inner, true
}

// Reset forgets all mappings, as a reboot does; ports go on from the last, so
// that a mapping made anew is another.
func (t *TestNAT) Reset() {
	t.mappings, t.byPort = make(map[mappingKey]*testMapping), make(map[uint16]*testMapping)
	t.lastPort = max(t.lastPort, firstExternalPort-1)
}

func (t *TestNAT) expired(now time.Time, m *testMapping) bool {
	return t.Timeout > 0 && now.Sub(m.used) >= t.Timeout
}
