package trial

import (
	"testing"
	"time"

	"p2pmodel/nat/oracle"
	"p2pmodel/sim/virtual"
)

// TestDecide: a pair is decided when what both have sent since their checks were over
// has arrived by one way. One may hear of the direct path before the other one.
func TestDecide(t *testing.T) {
	const relay, direct = true, false
	type arrival struct {
		from    int
		relayed bool
	}
	for _, c := range []struct {
		name     string
		arrivals []arrival
		decided  bool
		path     oracle.Path
	}{
		{"nothing", nil, false, oracle.PathNone},
		{"of one only", []arrival{{0, direct}, {0, direct}}, false, oracle.PathNone},
		{"both direct", []arrival{{0, direct}, {1, direct}}, true, oracle.PathDirect},
		{"both over the relay", []arrival{{1, relay}, {0, relay}}, true, oracle.PathRelay},
		{"one has not heard of the direct path, for good", []arrival{{0, relay}, {1, direct}, {0, relay}}, false, oracle.PathRelay},
		{"one hears of the direct path later", []arrival{{0, relay}, {1, direct}, {0, direct}}, true, oracle.PathDirect},
		{"the other one does", []arrival{{0, direct}, {1, relay}, {0, direct}, {1, direct}}, true, oracle.PathDirect},
	} {
		over := virtual.Epoch.Add(time.Second)
		p := &play{players: make([]player, 2), pairs: []pair{{a: 0, b: 1}}, undecided: 1}
		p.players[0].settled, p.players[1].settled = []time.Time{1: over}, []time.Time{0: over}
		for i := range p.players {
			p.players[i].introduced = make([]time.Time, 2)
		}
		for i, a := range c.arrivals {
			sent := over.Add(time.Duration(i) * 10 * ms)
			p.arrived(sent.Add(40*ms), a.from, 1-a.from, sent, a.relayed)
		}
		if got := p.pairs[0].outcome(p).Path; p.pairs[0].decided != c.decided || (p.undecided == 0) != c.decided || got != c.path {
			t.Errorf("%s: decided %v, %s; want %v, %s", c.name, p.pairs[0].decided, got, c.decided, c.path)
		}
	}
}

// TestLossyPairsThatAreDirect are seeds with which one player has heard of the direct
// path a round trip before the other one, or later, since answers were lost.
func TestLossyPairsThatAreDirect(t *testing.T) {
	s := Setting{Players: []Player{on(lossy, portRestricted), on(lossy, portRestricted)}, Interval: time.Second}
	for _, seed := range []uint64{262, 680, 1457, 1747, 1951, 2214, 2787, 2923, 3476} {
		if o := run(t, s, seed); o.Pairs[0].Path != oracle.PathDirect {
			t.Errorf("seed %d: %+v", seed, o.Pairs[0])
		}
	}
}
