package peer

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/core/relay"
	"p2pmodel/core/sansio/simnet"
)

// station is one relay of several.
type station struct {
	w      *world
	host   *simnet.Host
	at     netip.AddrPort
	number byte
	runner *simnet.Runner
}

// station starts a relay with a line of its own.
func (w *world) station(number byte, delay time.Duration) *station {
	w.t.Helper()
	s := &station{w: w, number: number, at: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 3, number}), 3478)}
	s.host = w.net.Internet().Host(fmt.Sprint("relay ", number), s.at.Addr())
	s.host.SetLink(simnet.Link{Delay: delay})
	s.start()
	return s
}

func (s *station) start() {
	s.w.t.Helper()
	server, err := relay.NewServer(relay.ServerConfig{
		Listen: s.at, RelayAddress: s.at.Addr(), PortLow: 50000, PortHigh: 50999,
		Authenticators: []relay.Authenticator{relay.Users{"user": "secret"}}, Rand: random(s.w.seed, 3000+uint64(s.number)),
	})
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.runner = s.host.Run(server, nil)
}

// several is a configuration with relays to choose from.
func several(stations ...*station) Config {
	cfg := laboratory
	for _, s := range stations {
		cfg.Relays = append(cfg.Relays, RelayConfig{Server: s.at, Username: "user", Password: "secret"})
	}
	return cfg
}

// at are the servers of the allocations in use.
func (n *node) at() (list []netip.AddrPort) {
	for _, a := range n.machine.inUse() {
		list = append(list, a.cfg.Server)
	}
	return list
}

// TestTheNearestRelaysAreUsed: two of three, the nearest first, and one that comes
// nearer takes the place of the farther one.
func TestTheNearestRelaysAreUsed(t *testing.T) {
	w := newWorld(t, 1)
	far, near, middle := w.station(1, 60*ms), w.station(2, 5*ms), w.station(3, 25*ms)
	a := w.peer("a", symmetric, several(far, near, middle))
	b := w.peer("b", symmetric, several(far, near, middle))
	w.net.Run(2 * time.Second)
	for _, n := range []*node{a, b} {
		if at := n.at(); len(at) != 2 || at[0] != near.at || at[1] != middle.at {
			t.Errorf("%s has allocations at %v, want at %v and %v\n%s", n.name, at, near.at, middle.at, n.history())
		}
	}
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Relay)
	w.chat(a, b, 5*time.Second)
	for _, n := range []*node{a, b} {
		to := a
		if n == a {
			to = b
		}
		p := n.path(to)
		if p.Local.Addr() != near.at.Addr() && p.Remote.Addr() != near.at.Addr() {
			t.Errorf("%s's path is %v, want one over %v", n.name, p, near.at)
		}
	}
	session := a.session(b)
	far.host.SetLink(simnet.Link{Delay: ms})
	gap := w.chat(a, b, 2*time.Minute)
	for _, n := range []*node{a, b} {
		if at := n.at(); len(at) != 2 || at[0] != near.at || at[1] != far.at {
			t.Errorf("when %v had come nearer %s has allocations at %v\n%s", far.at, n.name, at, n.history())
		}
		if failed := count[RelayFailed](n); failed != 0 {
			t.Errorf("%s: %d relays failed", n.name, failed)
		}
	}
	if gap > 100*ms || a.session(b) != session {
		t.Errorf("the change of relays took %v, session %v → %v", gap, session, a.session(b))
	}
}

// TestRelayDies: the one that carries; the session goes on over the other one, and
// when it comes back it is used again.
func TestRelayDies(t *testing.T) {
	for _, b := range []behaviour{symmetric, portRestricted} {
		w := newWorld(t, 1)
		first, second := w.station(1, 5*ms), w.station(2, 15*ms)
		x, y := w.peer("a", symmetric, several(first, second)), w.peer("b", b, several(first, second))
		w.net.Run(time.Second)
		x.connect(y)
		w.net.Until(10*time.Second, settled(x, y))
		w.want(x, y, Relay)
		w.chat(x, y, 3*time.Second)
		session := x.session(y)
		first.runner.Stop()
		gap := w.chat(x, y, 20*time.Second)
		w.want(x, y, Relay)
		t.Logf("%s: silent for %v", b.name, gap)
		if gap > 3*time.Second || x.session(y) != session {
			t.Errorf("%s: the relay's death silenced the session for %v, id %v → %v\n%s\n%s", b.name, gap, session, x.session(y), x.history(), y.history())
		}
		for _, n := range []*node{x, y} {
			if at := n.at(); len(at) != 1 || at[0] != second.at {
				t.Errorf("%s: %s has allocations at %v, want at %v", b.name, n.name, at, second.at)
			}
		}
		first.start()
		if gap := w.chat(x, y, 20*time.Second); gap > 100*ms {
			t.Errorf("%s: when the relay came back, the session was silent for %v", b.name, gap)
		}
		for _, n := range []*node{x, y} {
			if at := n.at(); len(at) != 2 {
				t.Errorf("%s: %s has allocations at %v, want at both again", b.name, n.name, at)
			}
		}
		second.runner.Stop()
		if gap := w.chat(x, y, 10*time.Second); gap > 3*time.Second {
			t.Errorf("%s: the second death took %v\n%s\n%s", b.name, gap, x.history(), y.history())
		}
		w.want(x, y, Relay)
	}
}

// TestOneRelayDies: the control of TestRelayDies; with no other there is no path.
func TestOneRelayDies(t *testing.T) {
	w := newWorld(t, 1)
	only := w.station(1, 5*ms)
	a, b := w.peer("a", symmetric, several(only)), w.peer("b", symmetric, several(only))
	w.net.Run(time.Second)
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Relay)
	only.runner.Stop()
	w.chat(a, b, 10*time.Second)
	w.want(a, b, NoPath)
}

// TestDirectSessionsNoticeNoRelay that dies.
func TestDirectSessionsNoticeNoRelay(t *testing.T) {
	w := newWorld(t, 1)
	first, second := w.station(1, 5*ms), w.station(2, 15*ms)
	a, b := w.peer("a", portRestricted, several(first, second)), w.peer("b", portRestricted, several(first, second))
	w.net.Run(time.Second)
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Direct)
	first.runner.Stop()
	if gap := w.chat(a, b, time.Minute); gap > 60*ms || count[PathLost](a)+count[PathLost](b) > 0 {
		t.Errorf("a relay's death silenced a direct path for %v\n%s", gap, a.history())
	}
	if at := a.at(); len(at) != 1 || at[0] != second.at {
		t.Errorf("allocations at %v, want at %v", at, second.at)
	}
}

// TestRelayRefuses: its credentials are wrong; the other one has to do, and the
// refusing one is not asked all the time.
func TestRelayRefuses(t *testing.T) {
	w := newWorld(t, 1)
	first, second := w.station(1, 5*ms), w.station(2, 15*ms)
	cfg := several(first, second)
	cfg.Relays[0].Password = "wrong"
	a, b := w.peer("a", symmetric, cfg), w.peer("b", symmetric, cfg)
	w.net.Run(time.Second)
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	w.net.Run(time.Minute)
	w.want(a, b, Relay)
	if failed := count[RelayFailed](a); failed < 2 || failed > 8 {
		t.Errorf("%d times refused in a minute, want a few", failed)
	}
}
