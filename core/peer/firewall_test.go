package peer

import (
	"net/netip"
	"testing"
	"time"
)

// firewall lets UDP out to one port, 0 to all, and the replies in; it translates
// nothing.
type firewall struct {
	port  uint16
	flows map[[2]netip.AddrPort]bool
}

func (f *firewall) Outbound(_ time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	if f.port != 0 && destination.Port() != f.port {
		return netip.AddrPort{}, false
	}
	f.flows[[2]netip.AddrPort{source, destination}] = true
	return source, true
}

func (f *firewall) Inbound(_ time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	return destination, f.flows[[2]netip.AddrPort{destination, source}]
}

// TestFirewall is TC-04: H may send to port 3478 only, so that its own
// allocation carries the session, whoever connects and whether G has a relay.
func TestFirewall(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		for _, relayOfG := range []bool{true, false} {
			w := newWorld(t, 1)
			cfg := laboratory
			if !relayOfG {
				cfg.Relay = &RelayConfig{Server: netip.MustParseAddrPort("198.18.0.99:3478")}
			}
			g := w.peer("g", fullCone, cfg)
			addr := netip.MustParseAddr("198.18.99.2")
			h := &node{w: w, name: "h"}
			h.segment = w.net.Internet().Behind(&firewall{port: 3478, flows: map[[2]netip.AddrPort]bool{}}, addr)
			h.host = h.segment.Host("h", addr)
			w.start(h, laboratory)
			w.net.Run(500 * ms)
			if reverse {
				h.connect(g)
			} else {
				g.connect(h)
			}
			w.net.Until(10*time.Second, settled(g, h))
			w.want(g, h, Relay)
			atG, atH := w.exchange(g, h, 20, 50*ms)
			w.net.Run(20 * time.Second)
			w.want(g, h, Relay)
			if atG < 18 || atH < 18 || w.direct != 0 {
				t.Errorf("g's relay %v: %d and %d of 20 datagrams arrived, %d frames went directly", relayOfG, atG, atH, w.direct)
			}
		}
	}
}

// TestUpgrade: what kept two peers from a direct path when they met is over. They
// look again, after a while and ever more rarely; and where there never is one, that
// costs little.
func TestUpgrade(t *testing.T) {
	for _, opens := range []bool{true, false} {
		w := newWorld(t, 1)
		g := w.peer("g", portRestricted, laboratory)
		addr := netip.MustParseAddr("198.18.99.2")
		wall := &firewall{port: 3478, flows: map[[2]netip.AddrPort]bool{}}
		h := &node{w: w, name: "h"}
		h.segment = w.net.Internet().Behind(wall, addr)
		h.host = h.segment.Host("h", addr)
		w.start(h, laboratory)
		w.net.Run(500 * ms)
		g.connect(h)
		w.net.Until(10*time.Second, settled(g, h))
		w.want(g, h, Relay)
		session := g.session(h)
		if opens {
			wall.port = 0
			w.net.Run(2*upgradeFirst + settleTime)
			w.want(g, h, Direct)
			w.net.Run(time.Minute)
			if n := g.machine.Stats().Introductions + h.machine.Stats().Introductions; n > 5 {
				t.Errorf("direct, and still %d introductions", n)
			}
		} else {
			before := g.machine.Stats().Checks.ChecksSent
			w.net.Run(10 * time.Minute)
			w.want(g, h, Relay)
			n := g.machine.Stats().Introductions + h.machine.Stats().Introductions
			if n < 5 || n > 14 {
				t.Errorf("%d introductions in ten minutes, want some and ever fewer", n)
			}
			checks := g.machine.Stats().Checks.ChecksSent - before
			t.Logf("%d introductions, %d checks of one peer in ten minutes of relaying", n, checks)
		}
		if g.session(h) != session || h.session(g) != session {
			t.Error("the session changed")
		}
	}
}

// settleTime is more than checks take on these links.
const settleTime = 4 * time.Second

// TestExpiryWithoutKeepalive: consent alone, less often than the NATs forget.
// The path dies again and again and comes back in the same session.
func TestExpiryWithoutKeepalive(t *testing.T) {
	w := newWorld(t, 1)
	w.timeout = 2 * time.Second
	a, b := w.pair(portRestricted, portRestricted, Config{Keepalive: -1, Consent: 5 * time.Second, DeadAfter: time.Second})
	w.net.Until(10*time.Second, settled(a, b))
	session := a.session(b)
	w.net.Run(2 * time.Minute)
	if count[PathLost](a)+count[PathLost](b) == 0 {
		t.Error("no path was lost although nothing kept the mappings alive")
	}
	back := w.net.Until(20*time.Second, func() bool { return a.path(b).Kind == Direct && b.path(a).Kind == Direct })
	if !back || a.session(b) != session || b.session(a) != session {
		t.Errorf("direct again: %v; session %v became %v and %v", back, session, a.session(b), b.session(a))
	}
}
