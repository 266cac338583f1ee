package campaign

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/trial"
)

const (
	// sampleEvery is how many trials there are for each that, if it is a pair, goes on
	// after its path is decided, so that it is seen what upkeep and the relay take: the
	// others end there. Trials from sampledUntil on do: it would take longer than they
	// do, and tell no more.
	sampleEvery  = 64
	sampledUntil = 512 * sampleEvery
	// A sample has its payload for sampleTime, and goes on to the end of a session, with
	// little payload, or for longestSample. What players do besides payload is rarer the
	// longer they play: who is relayed looks for a direct path after 5 s, then 10 s, and
	// each 2 min in the end. So nothing is concluded from a beginning.
	sampleTime    = 30 * time.Second
	longestSample = 30 * time.Minute
	// shortest is the least session.
	shortest = time.Minute
)

// drawn is one trial: who plays.
type drawn struct {
	players []seat
	sampled bool
	seed    uint64
}

// seat is a player: its kind, its line, and its home, 0 if it shares it with nobody.
type seat struct{ kind, link, home int }

// dice draws trials of a population. It does not change.
type dice struct {
	population *Population
	networks   []uint64   // sums of weights, to scale
	nats       [][]uint64 // by network
	links      [][]uint64
	rooms      []uint64
	kinds      [][][2]int // by network and NAT: with UDP, and where it is blocked
}

// scale is what whole numbers stand for 1: draws compare integers, so that every
// machine draws the same.
const scale = 1 << 32

func newDice(p *Population) *dice {
	d := &dice{population: p}
	for i, n := range p.Networks {
		d.networks = append(d.networks, uint64(n.Weight/all*scale))
		d.nats, d.links = append(d.nats, nil), append(d.links, nil)
		d.kinds = append(d.kinds, make([][2]int, len(n.NATs)))
		for _, t := range n.NATs {
			d.nats[i] = append(d.nats[i], uint64(t.Weight/all*scale))
		}
		for _, l := range n.Links {
			d.links[i] = append(d.links[i], uint64(l.Weight/all*scale))
		}
		accumulate(d.nats[i])
		accumulate(d.links[i])
	}
	for _, r := range p.Rooms {
		d.rooms = append(d.rooms, uint64(r.Weight/all*scale))
	}
	accumulate(d.networks)
	accumulate(d.rooms)
	for k, kind := range p.kinds {
		of := 0
		if kind.Blocked {
			of = 1
		}
		d.kinds[kind.Network][kind.NAT][of] = k
	}
	return d
}

// accumulate turns weights into their sums up to each.
func accumulate(w []uint64) {
	for i := 1; i < len(w); i++ {
		w[i] += w[i-1]
	}
}

// pick draws an index by sums of weights.
func pick(r *rand.Rand, sums []uint64) int {
	if len(sums) == 1 {
		return 0
	}
	at := r.Uint64N(sums[len(sums)-1])
	i, _ := slices.BinarySearchFunc(sums, at, func(sum, at uint64) int {
		if sum <= at {
			return -1
		}
		return 1
	})
	return i
}

// chance draws whether something of a probability happens.
func chance(r *rand.Rand, p float64) bool {
	if p == 0 {
		return false
	}
	return r.Uint64N(scale) < uint64(math.Round(p*scale))
}

// trial draws trial i of a campaign.
func (d *dice) trial(seed, i uint64) drawn {
	r := rand.New(rand.NewPCG(seed, i))
	t := drawn{seed: r.Uint64()}
	for n := range d.population.Rooms[pick(r, d.rooms)].Players {
		if n > 0 {
			last := &t.players[n-1]
			if chance(r, d.population.Networks[d.population.kinds[last.kind].Network].SameHome.Share) {
				if last.home == 0 {
					last.home = n
				}
				t.players = append(t.players, *last)
				continue
			}
		}
		network := pick(r, d.networks)
		kinds := d.kinds[network][pick(r, d.nats[network])]
		s := seat{kind: kinds[0]}
		if chance(r, d.population.Networks[network].Blocked.Share) {
			s.kind = kinds[1]
		}
		s.link = pick(r, d.links[network])
		t.players = append(t.players, s)
	}
	t.sampled = len(t.players) == 2 && i%sampleEvery == 0 && i < sampledUntil
	return t
}

// setting is what is played. A pair meets by a connection, a room by the room.
func (d *dice) setting(t drawn) trial.Setting {
	p := d.population
	s := trial.Setting{
		Room: len(t.players) > 2, Interval: time.Second / time.Duration(p.Traffic.Rate), Size: p.Traffic.Size, Keepalive: p.Keepalive,
		Split: p.plays(scenarios.SplitPaths), Prediction: p.plays(scenarios.Prediction), Birthday: p.plays(scenarios.Birthday),
	}
	if t.sampled {
		s.Play = sampleTime
		s.Rest = min(p.Play.Session, longestSample) - sampleTime
	}
	for _, seat := range t.players {
		kind := p.kinds[seat.kind]
		l := p.Networks[kind.Network].Links[seat.link]
		s.Players = append(s.Players, trial.Player{Chain: kind.Chain, SameHome: seat.home, Up: l.Up, Down: l.Down})
	}
	return s
}
