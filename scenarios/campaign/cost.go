package campaign

import (
	"time"

	"p2pmodel/nat/oracle"
)

// Thousand is how many players costs are given for.
const Thousand = 1000

// RelayCost is what the relay carries, as bytes of IP packets that leave it. Shares
// are counted over all pairs, those of rooms included.
type RelayCost struct {
	// Samples is how many relayed pairs were played on to see what they take; of 0
	// nothing is known.
	Samples uint64 `json:"samples"`
	// PairRate is what leaves the relay for a relayed pair, IdleRate what it answers to a
	// direct one, which keeps its allocations; bytes a second. Setup is for each pair,
	// bytes until its path is decided.
	PairRate float64 `json:"pair_rate"`
	IdleRate float64 `json:"idle_rate"`
	Setup    float64 `json:"setup"`
	// Paths is how many paths a player has, Relayed how many of them are relayed, each
	// counted at one of its ends.
	Paths   float64 `json:"paths"`
	Relayed float64 `json:"relayed"`
	// GB is for a thousand players in a month, in 10⁹ bytes; Price what that costs.
	GB    float64 `json:"gb"`
	Price float64 `json:"price"`
	// OnlineMbit is what leaves the relay while all that are online play.
	OnlineMbit float64 `json:"online_mbit"`
}

// rates gives what leaves the relay for a pair of some path: with its payload and
// without, bytes a second, and before its path is decided. ok says that it is known.
func (c *Counts) rates(path oracle.Path) (payload, upkeep, setup float64, ok bool) {
	l := c.loadOf(path)
	s := l.Sample
	if s.Trials == 0 || s.PlayedMS == 0 {
		return 0, 0, 0, false
	}
	payload = 1000 * float64(s.RelayPayload) / float64(s.PlayedMS)
	upkeep = 1000 * float64(s.RelayUpkeep) / float64(s.PlayedMS+s.RestedMS)
	setup = float64(l.Setup.RelaySetup+s.RelaySetup) / float64(l.Setup.Trials+s.Trials)
	return payload, upkeep, setup, true
}

func (p *Population) relayCost(c *Counts) RelayCost {
	var r RelayCost
	r.Samples = c.loadOf(oracle.PathRelay).Sample.Trials
	payload, relayUpkeep, relaySetup, known := c.rates(oracle.PathRelay)
	// Payload of a direct pair is relayed at the very beginning at most.
	_, direct, directSetup, idle := c.rates(oracle.PathDirect)
	relayed := payload + relayUpkeep
	r.PairRate, r.IdleRate = relayed, direct
	var players, pairs, through float64
	for _, x := range c.Rooms {
		for _, room := range p.Rooms {
			if room.Players != x.Players || x.Rooms == 0 {
				continue
			}
			players += room.Weight * float64(x.Players)
			pairs += room.Weight * float64(x.Pairs.Pairs()) / float64(x.Rooms)
			through += room.Weight * float64(x.Pairs.Relayed) / float64(x.Rooms)
		}
	}
	if players == 0 || !known {
		return r
	}
	r.Paths, r.Relayed = pairs/players, through/players
	if !idle {
		direct, directSetup = 0, relaySetup
	}
	r.Setup = (directSetup*(pairs-through) + relaySetup*through) / pairs
	// A direct pair's rate is that of two allocations; each player has one.
	perPlayer := r.Relayed*max(0, relayed-direct) + direct/2
	sessions := p.Play.Hours / p.Play.Session.Hours()
	r.GB = Thousand * (perPlayer*p.Play.Hours*time.Hour.Seconds() + sessions*r.Paths*r.Setup) / 1e9
	r.Price = r.GB * p.Price.PerGB
	r.OnlineMbit = perPlayer * float64(p.Play.Online) * 8 / 1e6
	return r
}

// Upkeep is what one player of a pair sends while it plays besides payload:
// keepalives, consent, refreshed registrations and allocations.
type Upkeep struct {
	Path    oracle.Path `json:"path"`
	Samples uint64      `json:"samples"`
	// Packets and Bytes are for an hour, as the mean over a session, of which half an
	// hour at most is played.
	Packets float64 `json:"packets"`
	Bytes   float64 `json:"bytes"`
	// Setup packets are sent until the path is decided, SetupBytes theirs.
	Setup      float64 `json:"setup"`
	SetupBytes float64 `json:"setup_bytes"`
}

func upkeep(c *Counts) []Upkeep {
	var all []Upkeep
	for _, path := range paths {
		l := c.loadOf(path)
		n, ms := float64(l.Sample.Trials), float64(l.Sample.PlayedMS+l.Sample.RestedMS)
		if n == 0 || ms == 0 {
			continue
		}
		hours := ms / float64(time.Hour.Milliseconds())
		all = append(all, Upkeep{
			Path: path, Samples: l.Sample.Trials,
			Packets: float64(l.Sample.UpkeepPackets) / hours / 2, Bytes: float64(l.Sample.UpkeepBytes) / hours / 2,
			Setup: float64(l.Sample.SetupPackets) / n / 2, SetupBytes: float64(l.Sample.SetupBytes) / n / 2,
		})
	}
	return all
}

// Sensitivity is how shares move when one weight is as low, or as high, as it may
// be, and all others stay in proportion.
type Sensitivity struct {
	Of   string  `json:"of"`
	Low  float64 `json:"low"` // per cent
	Base float64 `json:"base"`
	High float64 `json:"high"`
	Basis
	AtLow  Mix `json:"at_low"`
	AtHigh Mix `json:"at_high"`
	// GBAtLow and GBAtHigh are the relay's traffic, in proportion to the relayed share.
	GBAtLow  float64 `json:"gb_at_low"`
	GBAtHigh float64 `json:"gb_at_high"`
}

func (p *Population) sensitivity(c *Counts, gb float64) []Sensitivity {
	w := p.weights()
	base := p.mix(c, w)
	scaled := func(m Mix) float64 {
		if base.Relayed == 0 {
			return 0
		}
		return gb * m.Relayed / base.Relayed
	}
	var all []Sensitivity
	for _, b := range p.Sensitivity {
		low, high := p.mix(c, w.with(b, b.Low/100)), p.mix(c, w.with(b, b.High/100))
		all = append(all, Sensitivity{
			Of: b.Of, Low: b.Low, Base: p.baseOf(b), High: b.High, Basis: b.Basis,
			AtLow: low, AtHigh: high, GBAtLow: scaled(low), GBAtHigh: scaled(high),
		})
	}
	return all
}

// baseOf is what the file has for a band's weight, per cent.
func (p *Population) baseOf(b Band) float64 {
	n := p.Networks[b.network]
	switch b.what {
	case bandNAT:
		return n.NATs[b.nat].Weight
	case bandBlocked:
		return 100 * n.Blocked.Share
	case bandSameHome:
		return 100 * n.SameHome.Share
	}
	return n.Weight
}
