package campaign

import (
	"fmt"
	"slices"

	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios/trial"
)

// Outcomes counts pairs by what became of them.
type Outcomes struct {
	Direct    uint64 `json:"direct"`
	Predicted uint64 `json:"predicted"`
	Searched  uint64 `json:"searched"`
	Relayed   uint64 `json:"relayed"`
	Failed    uint64 `json:"failed"`
}

// Pairs is how many pairs were counted.
func (o Outcomes) Pairs() uint64 { return o.AllDirect() + o.Relayed + o.Failed }

// AllDirect is how many were direct, by whatever technique.
func (o Outcomes) AllDirect() uint64 { return o.Direct + o.Predicted + o.Searched }

func (o *Outcomes) add(p trial.Pair) {
	switch {
	case p.Path == oracle.PathDirect && p.Predicted:
		o.Predicted++
	case p.Path == oracle.PathDirect && p.Searched:
		o.Searched++
	case p.Path == oracle.PathDirect:
		o.Direct++
	case p.Path == oracle.PathRelay:
		o.Relayed++
	default:
		o.Failed++
	}
}

func (o *Outcomes) merge(b Outcomes) {
	o.Direct += b.Direct
	o.Predicted += b.Predicted
	o.Searched += b.Searched
	o.Relayed += b.Relayed
	o.Failed += b.Failed
}

// CellCounts is a pair of kinds of players; Home: behind one first router.
type CellCounts struct {
	A    int  `json:"a"`
	B    int  `json:"b"`
	Home bool `json:"home,omitempty"`
	Outcomes
}

// TimeCounts are the times of a pair of networks, from the introduction.
type TimeCounts struct {
	A         int       `json:"a"`
	B         int       `json:"b"`
	Home      bool      `json:"home,omitempty"`
	FirstByte Histogram `json:"first_byte"`
	Direct    Histogram `json:"direct"`
}

// RoomCounts are rooms of one size.
type RoomCounts struct {
	Players int    `json:"players"`
	Rooms   uint64 `json:"rooms"`
	// AllDirect rooms have nothing but direct paths, Whole ones have a path between
	// each two players.
	AllDirect uint64   `json:"all_direct"`
	Whole     uint64   `json:"whole"`
	Pairs     Outcomes `json:"pairs"`
}

// LoadCounts is what pairs took, by path: of trials that ended when the path was
// decided (Setup), and of those that were played on (Sample). Bytes are of IP
// packets.
type LoadCounts struct {
	Path   oracle.Path `json:"path"`
	Setup  Load        `json:"setup"`
	Sample Load        `json:"sample"`
}

// Load is a sum over trials.
type Load struct {
	Trials uint64 `json:"trials"`
	// PlayedMS is for how long they had their payload after their paths were decided,
	// RestedMS for how long they went on then.
	PlayedMS uint64 `json:"played_ms"`
	RestedMS uint64 `json:"rested_ms"`
	// What left the relay: RelaySetup until paths were decided, RelayPayload from then
	// on with payload in it and while that was played, RelayUpkeep all the time from
	// then on without payload.
	RelaySetup    uint64 `json:"relay_setup"`
	RelayPayload  uint64 `json:"relay_payload"`
	RelayUpkeep   uint64 `json:"relay_upkeep"`
	SetupBytes    uint64 `json:"setup_bytes"`
	SetupPackets  uint64 `json:"setup_packets"`
	UpkeepBytes   uint64 `json:"upkeep_bytes"`
	UpkeepPackets uint64 `json:"upkeep_packets"`
	PayloadBytes  uint64 `json:"payload_bytes"`
}

func (l *Load) merge(o Load) {
	l.Trials += o.Trials
	l.PlayedMS += o.PlayedMS
	l.RestedMS += o.RestedMS
	l.RelaySetup += o.RelaySetup
	l.RelayPayload += o.RelayPayload
	l.RelayUpkeep += o.RelayUpkeep
	l.SetupBytes += o.SetupBytes
	l.SetupPackets += o.SetupPackets
	l.UpkeepBytes += o.UpkeepBytes
	l.UpkeepPackets += o.UpkeepPackets
	l.PayloadBytes += o.PayloadBytes
}

// Counts is all that is kept of trials: whole numbers, whose sums do not depend on
// any order. Lists have what was met only, sorted.
//
// Of a room its first two players count as a pair, and no others: they were drawn
// as any pair is, and pairs of different rooms know nothing of each other, which is
// what intervals take for granted. All pairs of rooms are in Rooms.
type Counts struct {
	Trials uint64       `json:"trials"`
	Cells  []CellCounts `json:"cells"`
	Times  []TimeCounts `json:"times"`
	Rooms  []RoomCounts `json:"rooms"`
	Loads  []LoadCounts `json:"loads"`
}

// cell gives the counts of a pair of kinds.
func (c *Counts) cell(a, b int, home bool) *CellCounts {
	want := CellCounts{A: min(a, b), B: max(a, b), Home: home}
	i, found := slices.BinarySearchFunc(c.Cells, want, func(x, y CellCounts) int { return order(x.A, x.B, x.Home, y.A, y.B, y.Home) })
	if !found {
		c.Cells = slices.Insert(c.Cells, i, want)
	}
	return &c.Cells[i]
}

// time gives the times of a pair of networks.
func (c *Counts) time(a, b int, home bool) *TimeCounts {
	want := TimeCounts{A: min(a, b), B: max(a, b), Home: home}
	i, found := slices.BinarySearchFunc(c.Times, want, func(x, y TimeCounts) int { return order(x.A, x.B, x.Home, y.A, y.B, y.Home) })
	if !found {
		c.Times = slices.Insert(c.Times, i, want)
	}
	return &c.Times[i]
}

// order sorts by the first, the second, and homes last.
func order(a, b int, home bool, c, d int, other bool) int {
	switch {
	case home != other && home:
		return 1
	case home != other:
		return -1
	case a != c:
		return a - c
	}
	return b - d
}

func (c *Counts) room(players int) *RoomCounts {
	i, found := slices.BinarySearchFunc(c.Rooms, players, func(r RoomCounts, n int) int { return r.Players - n })
	if !found {
		c.Rooms = slices.Insert(c.Rooms, i, RoomCounts{Players: players})
	}
	return &c.Rooms[i]
}

// paths are in the order of Counts.Loads.
var paths = []oracle.Path{oracle.PathDirect, oracle.PathRelay, oracle.PathNone}

func (c *Counts) load(path oracle.Path) *LoadCounts {
	i, found := slices.BinarySearchFunc(c.Loads, slices.Index(paths, path), func(l LoadCounts, n int) int { return slices.Index(paths, l.Path) - n })
	if !found {
		c.Loads = slices.Insert(c.Loads, i, LoadCounts{Path: path})
	}
	return &c.Loads[i]
}

// loadOf reads the load of a path.
func (c *Counts) loadOf(path oracle.Path) LoadCounts {
	for _, l := range c.Loads {
		if l.Path == path {
			return l
		}
	}
	return LoadCounts{Path: path}
}

// add counts a trial.
func (c *Counts) add(p *Population, t drawn, o trial.Outcome) error {
	n := len(t.players)
	if len(o.Pairs) != n*(n-1)/2 || len(o.Peers) != n {
		return fmt.Errorf("a trial of %d players has %d pairs and %d peers", n, len(o.Pairs), len(o.Peers))
	}
	c.Trials++
	room := c.room(n)
	var here Outcomes
	for _, pair := range o.Pairs {
		here.add(pair)
	}
	room.Rooms++
	room.Pairs.merge(here)
	if here.AllDirect() == here.Pairs() {
		room.AllDirect++
	}
	if here.Failed == 0 {
		room.Whole++
	}
	first := o.Pairs[0]
	a, b := t.players[0], t.players[1]
	home := a.home != 0 && a.home == b.home
	c.cell(a.kind, b.kind, home).add(first)
	times := c.time(p.kinds[a.kind].Network, p.kinds[b.kind].Network, home)
	times.FirstByte.Add(first.FirstByte)
	times.Direct.Add(first.Direct)
	if n > 2 {
		return nil
	}
	load := Load{
		Trials: 1, PlayedMS: uint64(o.Played.Milliseconds()), RestedMS: uint64(o.Rested.Milliseconds()),
		RelaySetup:   o.RelayAtDecision.Out.Bytes,
		RelayPayload: o.RelayAtRest.Payload.Bytes - o.RelayAtDecision.Payload.Bytes,
		RelayUpkeep:  (o.Relay.Out.Bytes - o.Relay.Payload.Bytes) - (o.RelayAtDecision.Out.Bytes - o.RelayAtDecision.Payload.Bytes),
	}
	for _, peer := range o.Peers {
		load.SetupBytes += peer.Setup.Bytes
		load.SetupPackets += peer.Setup.Datagrams
		load.UpkeepBytes += peer.Upkeep.Bytes
		load.UpkeepPackets += peer.Upkeep.Datagrams
		load.PayloadBytes += peer.Payload.Bytes
	}
	to := &c.load(first.Path).Setup
	if t.sampled {
		to = &c.load(first.Path).Sample
	}
	to.merge(load)
	return nil
}

// Merge adds the counts of other trials of the same population.
func (c *Counts) Merge(o *Counts) {
	c.Trials += o.Trials
	for _, x := range o.Cells {
		c.cell(x.A, x.B, x.Home).merge(x.Outcomes)
	}
	for _, x := range o.Times {
		t := c.time(x.A, x.B, x.Home)
		t.FirstByte.Merge(x.FirstByte)
		t.Direct.Merge(x.Direct)
	}
	for _, x := range o.Rooms {
		r := c.room(x.Players)
		r.Rooms += x.Rooms
		r.AllDirect += x.AllDirect
		r.Whole += x.Whole
		r.Pairs.merge(x.Pairs)
	}
	for _, x := range o.Loads {
		l := c.load(x.Path)
		l.Setup.merge(x.Setup)
		l.Sample.merge(x.Sample)
	}
}

// check says what cannot be about counts that were read from a file.
func (c *Counts) check(p *Population) error {
	var pairs uint64
	for _, x := range c.Cells {
		if x.A < 0 || x.A > x.B || x.B >= len(p.kinds) {
			return fmt.Errorf("there is no pair of kinds %d and %d", x.A, x.B)
		}
		pairs += x.Pairs()
	}
	for _, x := range c.Times {
		if x.A < 0 || x.A > x.B || x.B >= len(p.Networks) {
			return fmt.Errorf("there is no pair of networks %d and %d", x.A, x.B)
		}
	}
	for _, x := range c.Loads {
		if !slices.Contains(paths, x.Path) {
			return fmt.Errorf("there is no path %q", x.Path)
		}
	}
	for _, x := range c.Rooms {
		if !slices.ContainsFunc(p.Rooms, func(r Room) bool { return r.Players == x.Players }) {
			return fmt.Errorf("nobody plays in rooms of %d", x.Players)
		}
	}
	if pairs != c.Trials {
		return fmt.Errorf("it has %d pairs of %d trials", pairs, c.Trials)
	}
	return nil
}
