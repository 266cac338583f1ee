package trial

import (
	"reflect"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/peer"
	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/grid"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim/link"
	"p2pmodel/sim/virtual"
)

const ms = time.Millisecond

var (
	portRestricted = nat.Behavior{Filtering: nat.AddressAndPortDependent}
	symmetric      = nat.Behavior{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Random}
	hairpinning    = nat.Behavior{Filtering: nat.AddressAndPortDependent, Hairpin: nat.HairpinExternal}
	line           = link.Impairment{Delay: 20 * ms}
	lossy          = link.Impairment{Delay: 30 * ms, Jitter: 10 * ms, Loss: 0.05, Rate: 2_000_000}
)

// at is a player behind NATs, the inner first, on a line of 20 ms.
func at(chain ...nat.Behavior) Player { return on(line, chain...) }

func on(l link.Impairment, chain ...nat.Behavior) Player {
	p := Player{Up: l, Down: l}
	for _, b := range chain {
		p.Chain = append(p.Chain, Node{NAT: &b})
	}
	return p
}

// home has players share their first router, and all in front of it.
func home(number int, p Player) Player {
	p.SameHome = number
	return p
}

// walled puts a firewall between a player and its chain.
func walled(f nat.Firewall, p Player) Player {
	p.Chain = append([]Node{{Firewall: &f}}, p.Chain...)
	return p
}

func run(t testing.TB, s Setting, seed uint64) Outcome {
	t.Helper()
	tr, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	o, err := tr.Run(seed)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestPairs(t *testing.T) {
	blocked := nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{}}
	stateful := nat.Firewall{Inbound: nat.InboundReplies}
	for _, c := range []struct {
		name    string
		setting Setting
		want    oracle.Path
	}{
		{"public ↔ public", Setting{Players: []Player{at(), at()}}, oracle.PathDirect},
		{"port-restricted ↔ port-restricted", Setting{Players: []Player{at(portRestricted), at(portRestricted)}}, oracle.PathDirect},
		{"symmetric ↔ port-restricted", Setting{Players: []Player{at(symmetric), at(portRestricted)}}, oracle.PathRelay},
		{"without a relay", Setting{Players: []Player{at(symmetric), at(portRestricted)}, NoRelay: true}, oracle.PathNone},
		{"over the relay only", Setting{Players: []Player{at(portRestricted), at()}, RelayOnly: true}, oracle.PathRelay},
		{"two in one home", Setting{Players: []Player{home(1, at(symmetric)), home(1, at(symmetric))}}, oracle.PathDirect},
		{"behind a carrier's NAT that hairpins", Setting{Players: []Player{home(3, at(hairpinning)), home(3, at(hairpinning)), at(portRestricted, hairpinning)}}, oracle.PathDirect},
		{"a home behind a carrier", Setting{Players: []Player{at(portRestricted, symmetric), at(nat.Behavior{})}}, oracle.PathDirect},
		{"UDP is blocked", Setting{Players: []Player{walled(blocked, at()), at()}}, oracle.PathNone},
		{"a stateful firewall", Setting{Players: []Player{walled(stateful, at(portRestricted)), at(portRestricted)}}, oracle.PathDirect},
		{"a lossy line", Setting{Players: []Player{on(lossy, portRestricted), at(portRestricted)}}, oracle.PathDirect},
		{"in a room", Setting{Players: []Player{at(portRestricted), at(portRestricted)}, Room: true}, oracle.PathDirect},
	} {
		o := run(t, c.setting, 7)
		for _, p := range o.Pairs {
			if p.Path != c.want {
				t.Errorf("%s: players %d and %d: %s, want %s: %+v", c.name, p.A, p.B, p.Path, c.want, p)
			}
			if direct := p.Path == oracle.PathDirect; direct != (p.Direct >= 0) || p.Path != oracle.PathNone && (p.FirstByte < 0 || p.Settled < 0) {
				t.Errorf("%s: %s, and yet %+v", c.name, p.Path, p)
			}
		}
	}
}

// TestAsTheScenario: for all pairs of mapping and filtering, a trial has the path
// that the whole scenario has on the same fabric, that the oracle expects, and that
// the players themselves believe in.
func TestAsTheScenario(t *testing.T) {
	template, err := grid.DefaultTemplate()
	if err != nil {
		t.Fatal(err)
	}
	said := map[oracle.Path]peer.PathKind{oracle.PathDirect: peer.Direct, oracle.PathRelay: peer.Relay}
	for _, a := range grid.Axes() {
		for _, b := range grid.Axes() {
			sc, expected, err := template.Cell(a, b)
			if err != nil {
				t.Fatal(err)
			}
			r := runner.Runner{Fabric: virtual.Fabric{}, Seed: 1, SkipControls: true}
			res, err := r.Run(t.Context(), sc)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := New(Setting{Players: []Player{at(a.Behavior), at(b.Behavior)}})
			if err != nil {
				t.Fatal(err)
			}
			p := new(play)
			if err := p.begin(tr, 1); err != nil {
				t.Fatal(err)
			}
			if err := p.run(); err != nil {
				t.Fatal(err)
			}
			got := p.outcome().Pairs[0]
			if got.Path != expected.Path || scenarios.Path(got.Path) != res.Observed.Path {
				t.Errorf("%s ↔ %s: the trial has %s, the scenario %s, the oracle expects %s", a.Name, b.Name, got.Path, res.Observed.Path, expected.Path)
			}
			if x, y := p.players[0].said[1], p.players[1].said[0]; x != said[got.Path] || y != x {
				t.Errorf("%s ↔ %s: the wires say %s, the players %s and %s", a.Name, b.Name, got.Path, x, y)
			}
			if err := p.net.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestSeeds: equal settings and seeds give equal outcomes, in whatever order and
// beside whatever else they are played, though all use each other's memory.
func TestSeeds(t *testing.T) {
	mixed := []Player{at(portRestricted), on(lossy, symmetric), at(), home(1, at(hairpinning)), home(1, at(hairpinning)), at(nat.Behavior{Kind: nat.KindMasquerade, Ports: nat.Preserve})}
	var trials []*Trial
	for _, s := range []Setting{
		{Players: []Player{on(lossy, symmetric), on(lossy, portRestricted)}, Play: time.Second},
		{Players: []Player{on(lossy, portRestricted), at()}, Strangers: true},
		{Players: mixed[:5], Room: true, Play: 200 * ms},
		{Players: mixed[:3]},
	} {
		tr, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		trials = append(trials, tr)
	}
	const seeds = 6
	play := func(i, seed int) Outcome {
		o, err := trials[i].Run(uint64(seed))
		if err != nil {
			t.Error(err)
		}
		return o
	}
	first := make([][seeds]Outcome, len(trials))
	for i := range trials {
		for seed := range seeds {
			first[i][seed] = play(i, seed)
		}
		if reflect.DeepEqual(first[i][0], first[i][1]) {
			t.Errorf("trial %d: seeds 0 and 1 give the same", i)
		}
	}
	var wg sync.WaitGroup
	for seed := range seeds {
		for i := range trials {
			wg.Go(func() {
				if again := play(i, seed); !reflect.DeepEqual(again, first[i][seed]) {
					t.Errorf("trial %d with seed %d once more:\n%+v, was\n%+v", i, seed, again, first[i][seed])
				}
			})
		}
	}
	wg.Wait()
	strangers, friends := trials[1], *trials[1]
	friends.setting.Strangers = false
	a, _ := strangers.Run(3)
	if b, _ := friends.Run(3); !reflect.DeepEqual(a, b) {
		t.Errorf("who computes a secret makes a difference:\n%+v\n%+v", a, b)
	}
}

func TestRoom(t *testing.T) {
	s := Setting{Room: true}
	for i := range 8 {
		if i < 3 {
			s.Players = append(s.Players, at(symmetric))
		} else {
			s.Players = append(s.Players, at(portRestricted))
		}
	}
	o := run(t, s, 1)
	if len(o.Pairs) != 28 {
		t.Fatalf("%d pairs of 8 players", len(o.Pairs))
	}
	for i, p := range o.Pairs {
		want := oracle.PathDirect
		if p.A < 3 {
			want = oracle.PathRelay
		}
		if p.Path != want || p.B*(p.B-1)/2+p.A != i {
			t.Errorf("pair %d: %+v, want %s", i, p, want)
		}
	}
}

// TestTraffic: what is counted is what went over the wires.
func TestTraffic(t *testing.T) {
	s := Setting{Players: []Player{at(symmetric), at(symmetric)}, Play: 2 * time.Second, Interval: 100 * ms, Size: 200}
	o := run(t, s, 1)
	p := o.Pairs[0]
	if o.Played != s.Play || p.Sent < 40 || p.Relayed+4 < p.Sent || p.Relayed > p.Sent || p.Directly != 0 {
		t.Errorf("relayed, 20 datagrams each way and second: %+v", o)
	}
	if got := o.Relay.Payload; got.Datagrams < p.Relayed || got.Datagrams > p.Sent || got.Bytes < 200*p.Relayed {
		t.Errorf("%d datagrams of 200 bytes were relayed, and the relay counts %+v", p.Relayed, got)
	}
	if sent := o.Peers[0].Payload.Datagrams + o.Peers[1].Payload.Datagrams; sent != p.Sent {
		t.Errorf("%d datagrams of payload left, %d were sent", sent, p.Sent)
	}
	decided, rest := o.RelayAtDecision.Payload, o.RelayAtRest.Payload
	if o.RelayAtRest != o.Relay || rest.Datagrams-decided.Datagrams < 38 || rest.Datagrams-decided.Datagrams > 42 || o.RelayAtDecision.Out.Bytes == 0 {
		t.Errorf("until the decision %+v, until the end %+v", o.RelayAtDecision, o.RelayAtRest)
	}
	quiet := Setting{Players: []Player{at(portRestricted), at(portRestricted)}, Play: 5 * time.Minute, Interval: time.Hour, Keepalive: 5 * time.Second, Consent: 5 * time.Second}
	o = run(t, quiet, 1)
	busy := o.Peers[0].Upkeep
	quiet.Keepalive = 20 * time.Second
	quiet.Consent = 20 * time.Second
	if lazy := run(t, quiet, 1).Peers[0].Upkeep; lazy.Datagrams == 0 || busy.Datagrams < 2*lazy.Datagrams {
		t.Errorf("upkeep of five minutes: %+v, and %+v with a keepalive of 20 s", busy, lazy)
	}
	if o.Pairs[0].Relayed+o.Pairs[0].Directly != o.Pairs[0].Sent || o.Peers[0].Setup.Datagrams == 0 {
		t.Errorf("silence: %+v", o)
	}
}
