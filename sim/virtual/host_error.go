package virtual

import (
	"net/netip"
	"time"
)

// learnt is an MTU that an ICMP error has told of.
type learnt struct {
	mtu   int
	until instant
}

const (
	// mtuExpires is how long a path's MTU is believed (RFC 1191 section 6.3).
	mtuExpires = instant(10 * time.Minute)
	// leastMTU is the least that is believed (RFC 791).
	leastMTU = 68
)

// learn notes what an ICMP error says of a path. Machines are not told of errors.
func (h *Host) learn(p *packet) {
	if p.kind != icmpUnreachable || p.code != codeFragNeeded || p.mtu < leastMTU || !h.has(p.quoted.src.Addr()) {
		return
	}
	if h.mtus == nil {
		h.mtus = make(map[netip.Addr]learnt)
	}
	h.mtus[p.quoted.dst.Addr()] = learnt{int(p.mtu), h.network.now + mtuExpires}
}

// pathMTU is what the host knows of the way to an address.
func (h *Host) pathMTU(to netip.Addr) int {
	if len(h.mtus) == 0 {
		return sizeMTU
	}
	l, known := h.mtus[to]
	if !known || h.network.now >= l.until {
		return sizeMTU
	}
	return l.mtu
}

// tokens are the errors that one destination may still be told, as time.
type tokens struct {
	left instant
	last instant
}

const (
	// errorEvery and errorBurst are how often a host tells one destination of ports
	// that nobody listens at, as Linux does (icmp_ratelimit).
	errorEvery = instant(time.Second)
	errorBurst = 6 * errorEvery
)

// mayTell takes a token for an error to an address.
func (h *Host) mayTell(to netip.Addr) bool {
	if h.lab.Firewall != nil && h.lab.Firewall.Reject.Entering() {
		return true // it says no as often as it is asked
	}
	now := h.network.now
	t, known := h.told[to]
	if !known {
		t = tokens{errorBurst, now}
	}
	t.left, t.last = min(t.left+now-t.last, errorBurst), now
	may := t.left >= errorEvery
	if may {
		t.left -= errorEvery
	}
	if h.told == nil {
		h.told = make(map[netip.Addr]tokens)
	}
	h.told[to] = t
	return may
}
