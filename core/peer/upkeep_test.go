package peer

import (
	"testing"
	"time"

	"p2pmodel/core/keepalive"
	"p2pmodel/core/sansio/simnet"
)

// idle are two peers with a direct session who say nothing.
func idle(t *testing.T, timeout time.Duration, cfg Config) (w *world, a, b *node, sent *int) {
	t.Helper()
	w = newWorld(t, 1)
	w.timeout = timeout
	a, b = w.pair(portRestricted, portRestricted, cfg)
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Direct)
	sent = new(int)
	w.net.Observe(func(p simnet.Packet) {
		if p.From == a.host || p.From == b.host {
			*sent++
		}
	})
	return w, a, b, sent
}

// TestKeepaliveIsLearned: for NATs of several patience the interval becomes half of
// it at most, and the session never loses its path.
func TestKeepaliveIsLearned(t *testing.T) {
	for _, row := range []struct{ timeout, least, most time.Duration }{
		{8 * time.Second, 5 * time.Second, 5 * time.Second}, // shorter than what is tried
		{20 * time.Second, 7 * time.Second, 10 * time.Second},
		{30 * time.Second, 11 * time.Second, 15 * time.Second},
		{60 * time.Second, 24 * time.Second, 30 * time.Second},
		{5 * time.Minute, 30 * time.Second, 30 * time.Second},
	} {
		w, a, b, _ := idle(t, row.timeout, Config{})
		w.net.Run(15 * time.Minute)
		for _, n := range []*node{a, b} {
			d := max(keepalive.Safe, n.machine.upkeep.interval)
			if d < row.least || d > row.most || n.machine.upkeep.learner.Known().Alive > row.timeout {
				t.Errorf("NATs that wait for %v: an interval of %v, want %v to %v; it believes %+v",
					row.timeout, d, row.least, row.most, n.machine.upkeep.learner.Known())
			}
			if count[PathLost](n) > 0 || count[ReflexiveChanged](n) > 0 {
				t.Errorf("NATs that wait for %v: a mapping was lost\n%s", row.timeout, n.history())
			}
		}
		w.want(a, b, Direct)
		t.Logf("NATs that wait for %v: %v", row.timeout, max(keepalive.Safe, a.machine.upkeep.interval))
	}
}

// TestKeepaliveSavesTraffic: an hour of silence, with and without what is learned.
func TestKeepaliveSavesTraffic(t *testing.T) {
	count := func(cfg Config) int {
		w, _, _, sent := idle(t, 3*time.Minute, cfg)
		w.net.Run(time.Hour)
		return *sent
	}
	fixed, learned := count(Config{Keepalive: keepalive.Safe}), count(Config{})
	t.Logf("in an idle hour both peers together send %d datagrams with an interval of %v, %d with a learned one", fixed, keepalive.Safe, learned)
	if learned > fixed/2 {
		t.Errorf("%d datagrams with what was learned, %d without; want half at most", learned, fixed)
	}
}

// TestProbeCliff: what was learned is not true any more; the interval shrinks at once,
// and goes no further for a while than what failed.
func TestProbeCliff(t *testing.T) {
	w, a, b, _ := idle(t, 5*time.Minute, Config{})
	w.net.Run(5 * time.Minute)
	if d := a.machine.upkeep.interval; d != keepalive.Most/2 {
		t.Fatalf("an interval of %v, want %v", d, keepalive.Most/2)
	}
	a.nat.Timeout = 11 * time.Second
	session := a.session(b)
	w.net.Run(2 * time.Minute)
	if d := max(keepalive.Safe, a.machine.upkeep.interval); d > 10*time.Second {
		t.Errorf("two minutes after the NAT became impatient a's interval is %v\n%s", d, a.history())
	}
	events := len(a.events)
	w.net.Run(30 * time.Minute)
	if lost := countFrom[PathLost](a, events); lost > 0 {
		t.Errorf("%d paths were lost once that had been noticed\n%s", lost, a.history())
	}
	w.want(a, b, Direct)
	if a.session(b) != session {
		t.Error("the session changed")
	}
}

// TestNetworksAreRemembered: back in one that is known, what was learned there counts
// again, at once.
func TestNetworksAreRemembered(t *testing.T) {
	w, a, _, _ := idle(t, 5*time.Minute, Config{})
	w.net.Run(5 * time.Minute)
	home := a.segment
	_, cafe := w.home(portRestricted)
	a.host.Move(cafe, a.machine.addrs[0].Next())
	w.net.Run(time.Second)
	if d := max(keepalive.Safe, a.machine.upkeep.interval); d != keepalive.Safe {
		t.Errorf("in another network the interval is %v, want %v", d, keepalive.Safe)
	}
	a.host.Move(home, a.machine.addrs[0].Next())
	w.net.Run(time.Second)
	if d := a.machine.upkeep.interval; d != keepalive.Most/2 {
		t.Errorf("back home the interval is %v, want %v", d, keepalive.Most/2)
	}
}
