package campaign

import (
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios/wilson"
)

// Report is what follows from a campaign's counts. Times are in milliseconds.
type Report struct {
	Shares      []ShareOf     `json:"shares"`
	Matrix      []MatrixCell  `json:"matrix"`
	Kinds       []MatrixCell  `json:"kinds"`
	Times       []TimesOf     `json:"times"`
	Rooms       []RoomShares  `json:"rooms"`
	Relay       RelayCost     `json:"relay"`
	Upkeep      []Upkeep      `json:"upkeep"`
	Theory      Theory        `json:"theory"`
	Agreement   Agreement     `json:"agreement"`
	Weighted    Mix           `json:"weighted"`
	Sensitivity []Sensitivity `json:"sensitivity"`
	Findings    []Finding     `json:"findings"`
	First       Histogram     `json:"-"`
	Direct      Histogram     `json:"-"`
}

// ShareOf is the share of pairs with one outcome.
type ShareOf struct {
	Outcome  string          `json:"outcome"` // direct, predicted, searched, relayed, failed
	Pairs    uint64          `json:"pairs"`
	Interval wilson.Interval `json:"interval"` // 95 %
}

// MatrixCell is a pair of networks, or of kinds.
type MatrixCell struct {
	A    string `json:"a"`
	B    string `json:"b"`
	Home bool   `json:"home"` // behind one first router
	// Weight is the share of all pairs that are such.
	Weight float64 `json:"weight"`
	Outcomes
	DirectShare  wilson.Interval `json:"direct_share"`
	RelayedShare wilson.Interval `json:"relayed_share"`
	// Oracle is the share of direct pairs by the model of the NATs alone.
	Oracle float64 `json:"oracle"`

	a, b int
}

// TimesOf are percentiles of one time of pairs, from their introduction.
type TimesOf struct {
	What  string  `json:"what"` // first byte, direct
	Pairs uint64  `json:"pairs"`
	P50   float64 `json:"p50"`
	P75   float64 `json:"p75"`
	P90   float64 `json:"p90"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
}

// RoomShares is what became of rooms of one size.
type RoomShares struct {
	Players   int             `json:"players"`
	Rooms     uint64          `json:"rooms"`
	AllDirect wilson.Interval `json:"all_direct"` // every path direct
	Whole     wilson.Interval `json:"whole"`      // a path between each two
	// Relayed is the share of relayed pairs among all of these rooms.
	Relayed float64 `json:"relayed"`
}

// Agreement compares each pair's path with the one that the oracle gives for its
// kinds.
type Agreement struct {
	Pairs uint64 `json:"pairs"` // for which the oracle gives one path only
	As    uint64 `json:"as"`
	// Lost were to be direct and were not, Gained were not to be and were.
	Lost   uint64 `json:"lost"`
	Gained uint64 `json:"gained"`
	// Cut had to have a path and had none.
	Cut uint64 `json:"cut"`
}

func newReport(p *Population, c *Counts) (*Report, error) {
	r := &Report{}
	asked := verdicts{}
	var all Outcomes
	for _, x := range c.Cells {
		all.merge(x.Outcomes)
	}
	for _, s := range []struct {
		name  string
		count uint64
	}{{"direct", all.Direct}, {"predicted", all.Predicted}, {"searched", all.Searched}, {"relayed", all.Relayed}, {"failed", all.Failed}} {
		r.Shares = append(r.Shares, ShareOf{s.name, s.count, wilson.Of(s.count, all.Pairs())})
	}
	if err := r.matrices(p, c, asked); err != nil {
		return nil, err
	}
	for _, t := range c.Times {
		r.First.Merge(t.FirstByte)
		r.Direct.Merge(t.Direct)
	}
	r.Times = []TimesOf{timesOf("first byte", r.First), timesOf("direct", r.Direct)}
	for _, x := range c.Rooms {
		r.Rooms = append(r.Rooms, RoomShares{
			x.Players, x.Rooms, wilson.Of(x.AllDirect, x.Rooms), wilson.Of(x.Whole, x.Rooms), share(x.Pairs.Relayed, x.Pairs.Pairs()),
		})
	}
	var err error
	if r.Theory, err = p.theory(asked); err != nil {
		return nil, err
	}
	r.Relay, r.Upkeep = p.relayCost(c), upkeep(c)
	r.Weighted = p.mix(c, p.weights())
	r.Sensitivity = p.sensitivity(c, r.Relay.GB)
	for _, cmp := range p.Compare {
		f, err := p.find(c, cmp)
		if err != nil {
			return nil, err
		}
		r.Findings = append(r.Findings, f)
	}
	return r, nil
}

// matrices fills in pairs of networks and of kinds, and what the oracle says of them.
func (r *Report) matrices(p *Population, c *Counts, asked verdicts) error {
	w := p.weights()
	for _, x := range c.Cells {
		v, err := asked.of(p, x.A, x.B, x.Home)
		if err != nil {
			return err
		}
		e := v.expected
		e.Path = v.path
		r.Agreement.add(x.Outcomes, e)
		cell := MatrixCell{
			A: p.kinds[x.A].Name, B: p.kinds[x.B].Name, Home: x.Home, Weight: w.cell(p.kinds, x.A, x.B, x.Home), Outcomes: x.Outcomes, a: x.A, b: x.B,
		}
		if v.expected.Path == oracle.PathDirect {
			cell.Oracle = 1
		}
		r.Kinds = append(r.Kinds, cell)
		a, b := p.kinds[x.A].Network, p.kinds[x.B].Network
		at := -1
		for i, m := range r.Matrix {
			if m.a == a && m.b == b && m.Home == x.Home {
				at = i
			}
		}
		if at < 0 {
			at = len(r.Matrix)
			r.Matrix = append(r.Matrix, MatrixCell{A: p.Networks[a].Name, B: p.Networks[b].Name, Home: x.Home, a: a, b: b})
		}
		m := &r.Matrix[at]
		m.Outcomes.merge(x.Outcomes)
		m.Oracle += cell.Weight * cell.Oracle
		m.Weight += cell.Weight
	}
	for _, list := range [][]MatrixCell{r.Matrix, r.Kinds} {
		for i := range list {
			m := &list[i]
			m.DirectShare, m.RelayedShare = wilson.Of(m.AllDirect(), m.Pairs()), wilson.Of(m.Relayed, m.Pairs())
		}
	}
	for i := range r.Matrix {
		if m := &r.Matrix[i]; m.Weight > 0 {
			m.Oracle /= m.Weight
		}
	}
	return nil
}

func (a *Agreement) add(o Outcomes, e oracle.Expectation) {
	if e.Or != "" {
		return
	}
	a.Pairs += o.Pairs()
	direct := o.AllDirect()
	switch e.Path {
	case oracle.PathDirect:
		a.As += direct
		a.Lost += o.Relayed + o.Failed
		a.Cut += o.Failed
	case oracle.PathRelay:
		a.As += o.Relayed
		a.Gained += direct
		a.Cut += o.Failed
	default:
		a.As += o.Failed
		a.Gained += direct + o.Relayed
	}
}

func timesOf(what string, h Histogram) TimesOf {
	return TimesOf{
		what, h.Count(), h.Quantile(0.50), h.Quantile(0.75), h.Quantile(0.90), h.Quantile(0.95), h.Quantile(0.99),
	}
}

func share(part, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}
