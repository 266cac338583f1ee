package campaign

import "slices"

// weights are those of a population, as probabilities.
type weights struct {
	networks      []float64
	nats          [][]float64 // of a network
	blocked, home []float64   // by network
}

func (p *Population) weights() weights {
	var w weights
	for _, n := range p.Networks {
		w.networks = append(w.networks, n.Weight)
		var nats []float64
		for _, t := range n.NATs {
			nats = append(nats, t.Weight)
		}
		w.nats = append(w.nats, normal(nats))
		w.blocked, w.home = append(w.blocked, n.Blocked.Share), append(w.home, n.SameHome.Share)
	}
	w.networks = normal(w.networks)
	return w
}

// normal gives weights the sum 1.
func normal(w []float64) []float64 {
	total := 0.0
	for _, v := range w {
		total += v
	}
	out := make([]float64, len(w))
	for i, v := range w {
		out[i] = v / total
	}
	return out
}

// with gives the weights with one of them at another value; those beside it keep
// their proportions among each other.
func (w weights) with(b Band, value float64) weights {
	switch b.what {
	case bandNetwork:
		w.networks = replaced(w.networks, b.network, value)
	case bandNAT:
		w.nats = slices.Clone(w.nats)
		w.nats[b.network] = replaced(w.nats[b.network], b.nat, value)
	case bandBlocked:
		w.blocked = slices.Clone(w.blocked)
		w.blocked[b.network] = value
	case bandSameHome:
		w.home = slices.Clone(w.home)
		w.home[b.network] = value
	}
	return w
}

func replaced(list []float64, at int, value float64) []float64 {
	out := slices.Clone(list)
	for i := range out {
		if i != at {
			out[i] *= (1 - value) / (1 - list[at])
		}
	}
	out[at] = value
	return out
}

// kind is the probability that a player of the kind's network is of that kind.
func (w weights) kind(k Kind) float64 {
	share := w.blocked[k.Network]
	if !k.Blocked {
		share = 1 - share
	}
	return w.nats[k.Network][k.NAT] * share
}

// cell is the probability that a pair is of two kinds (a ≤ b). Who plays with a
// player is behind the same router with the probability of that player's network,
// and of any network otherwise.
func (w weights) cell(kinds []Kind, a, b int, home bool) float64 {
	ka, kb := kinds[a], kinds[b]
	pa, pb := w.networks[ka.Network]*w.kind(ka), w.networks[kb.Network]*w.kind(kb)
	switch {
	case home && a == b:
		return pa * w.home[ka.Network]
	case home:
		return 0
	case a == b:
		return pa * (1 - w.home[ka.Network]) * pa
	}
	return pa*(1-w.home[ka.Network])*pb + pb*(1-w.home[kb.Network])*pa
}

// Mix is what becomes of pairs, as shares. Unknown is the share of pairs of which
// no trial was drawn; the others sum up to the rest.
type Mix struct {
	Direct    float64 `json:"direct"`
	Predicted float64 `json:"predicted"`
	Searched  float64 `json:"searched"`
	Relayed   float64 `json:"relayed"`
	Failed    float64 `json:"failed"`
	Unknown   float64 `json:"unknown"`
}

// mix weighs what became of each pair of kinds with the weights. What becomes of
// such a pair does not depend on weights, so that this holds for weights that were
// never drawn from.
func (p *Population) mix(c *Counts, w weights) Mix {
	var m Mix
	m.Unknown = 1
	for _, x := range c.Cells {
		n := float64(x.Pairs())
		if n == 0 {
			continue
		}
		share := w.cell(p.kinds, x.A, x.B, x.Home)
		m.Direct += share * float64(x.Direct) / n
		m.Predicted += share * float64(x.Predicted) / n
		m.Searched += share * float64(x.Searched) / n
		m.Relayed += share * float64(x.Relayed) / n
		m.Failed += share * float64(x.Failed) / n
		m.Unknown -= share
	}
	m.Unknown = max(0, m.Unknown)
	if m.Unknown < 1e-9 {
		m.Unknown = 0
	}
	return m
}
