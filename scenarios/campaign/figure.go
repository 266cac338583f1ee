package campaign

import (
	"p2pmodel/nat"
	"p2pmodel/scenarios/wilson"
)

// Quantity is what a published figure is a share of.
type Quantity string

// The quantities.
const (
	// QuantityPunchable: of players, those whose NAT can be punched.
	QuantityPunchable Quantity = "players whose NAT can be punched"
	// QuantityBlocked: of players, those whose network lets no UDP out.
	QuantityBlocked Quantity = "players without UDP"
	// QuantityDirect: of pairs in two homes that have a path, those that are direct.
	QuantityDirect Quantity = "pairs with a path that are direct"
	// QuantityPunched: the same, of two players whose NATs can be punched.
	QuantityPunched Quantity = "pairs of punchable players that are direct"
	// QuantityRelayed: of pairs in two homes that have a path, those that are relayed.
	QuantityRelayed Quantity = "pairs with a path that are relayed"
)

// Figure is a published one.
type Figure struct {
	ID       string       `json:"id"`
	Title    string       `json:"title"`
	Quantity Quantity     `json:"quantity"`
	Value    float64      `json:"value"`
	Low      float64      `json:"low"` // its interval; Value if none was given
	High     float64      `json:"high"`
	Evidence nat.Evidence `json:"evidence"`
	Source   string       `json:"source"`
}

const (
	ford     = "Ford, Srisuresh, Kegel: Peer-to-peer communication across network address translators, USENIX 2005"
	dcutr    = "arXiv:2510.27500, 4.4 million attempts in 85 thousand networks"
	halkes   = "Halkes, Pouwelse: UDP NAT and firewall puncturing in the wild, Networking 2011"
	richters = "1−(1−s₁)(1−s₂) with shares s of symmetric NATs by Richter et al., A multi-perspective analysis of carrier-grade NAT deployment, IMC 2016, as quoted: homes 2 %, fixed carriers 11 %, cellular 40 %"
)

var figures = []Figure{
	counted("ford-2005", "UDP hole punching worked through 310 of 380 devices", QuantityPunchable, 310, 380, nat.EvidenceRead, ford),
	{"dcutr-2025", "hole punching succeeded in 70 % ± 7.1 of attempts", QuantityDirect, 0.70, 0.629, 0.771, nat.EvidenceRead, dcutr},
	{"halkes-2011", "64 % of peers could be punched", QuantityPunchable, 0.64, 0.64, 0.64, nat.EvidenceRead, halkes},
	{"halkes-2011-pairs", "more than 80 % of attempts between such peers succeeded", QuantityPunched, 0.80, 0.80, 1, nat.EvidenceRead, halkes},
	relayed("home-home", "home and home", 0.02, 0.02),
	relayed("carrier-carrier", "carrier and carrier", 0.11, 0.11),
	relayed("cellular-home", "cellular and home", 0.40, 0.02),
	relayed("cellular-cellular", "cellular and cellular", 0.40, 0.40),
	{"udp-unusable", "UDP is unusable in 3 to 5 % of networks", QuantityBlocked, 0.04, 0.03, 0.05, nat.EvidenceSecondary, "RFC 9308 section 2, which quotes measurements"},
}

// Figures gives all figures that populations may be compared with.
func Figures() []Figure { return append([]Figure(nil), figures...) }

func counted(id, title string, q Quantity, successes, runs int, e nat.Evidence, source string) Figure {
	i := wilson.Of(successes, runs)
	return Figure{id, title, q, i.Share, i.Low, i.High, e, source + " (interval of 95 % by the counts)"}
}

func relayed(id, between string, s1, s2 float64) Figure {
	v := 1 - (1-s1)*(1-s2)
	return Figure{"relay-" + id, "relay share of " + between, QuantityRelayed, v, v, v, nat.EvidenceDerived, richters}
}

// rounding is how far off sums of weights are.
const rounding = 1e-9

// Finding is a figure beside what the campaign found.
type Finding struct {
	Figure
	// Of are the networks that it is between; empty: all.
	Of      []string `json:"of,omitempty"`
	Derived bool     `json:"derived"`
	// Found is from trials, or from weights alone, without an interval.
	Found wilson.Interval `json:"found"`
	Pairs uint64          `json:"pairs"` // 0: from weights alone
	// Inside says that the intervals meet; nothing is known of no pairs.
	Inside bool   `json:"inside"`
	Why    string `json:"why"`
}

// find computes what a figure is compared with.
func (p *Population) find(c *Counts, cmp Comparison) (Finding, error) {
	var f Finding
	for _, known := range figures {
		if known.ID == cmp.Figure {
			f.Figure = known
		}
	}
	f.Of, f.Derived, f.Why = cmp.Of, cmp.Derived, cmp.Why
	w := p.weights()
	switch f.Quantity {
	case QuantityPunchable, QuantityBlocked:
		share := 0.0
		for k, kind := range p.kinds {
			counts := kind.Blocked
			if f.Quantity == QuantityPunchable {
				ok, err := p.punchable(k)
				if err != nil {
					return f, err
				}
				counts = ok
			}
			if counts {
				share += w.networks[kind.Network] * w.kind(kind)
			}
		}
		f.Found = wilson.Interval{Share: share, Low: share, High: share}
		f.Inside = f.Low-rounding <= share && share <= f.High+rounding
		return f, nil
	}
	var of [2]int
	if len(cmp.Of) == 2 {
		of = [2]int{p.network(cmp.Of[0]), p.network(cmp.Of[1])}
	}
	var hits, pairs uint64
	for _, x := range c.Cells {
		a, b := p.kinds[x.A].Network, p.kinds[x.B].Network
		if x.Home || len(cmp.Of) == 2 && [2]int{a, b} != of && [2]int{b, a} != of {
			continue
		}
		if f.Quantity == QuantityPunched {
			first, err := p.punchable(x.A)
			if err != nil {
				return f, err
			}
			second, err := p.punchable(x.B)
			if err != nil {
				return f, err
			}
			if !first || !second {
				continue
			}
		}
		pairs += x.Pairs() - x.Failed
		if f.Quantity == QuantityRelayed {
			hits += x.Relayed
		} else {
			hits += x.AllDirect()
		}
	}
	f.Found, f.Pairs = wilson.Of(hits, pairs), pairs
	f.Inside = pairs > 0 && f.Low <= f.Found.High && f.High >= f.Found.Low
	return f, nil
}
