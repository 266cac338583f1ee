package campaign

import (
	"fmt"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
)

// The search that theory is asked about: one side has so many sockets open, the
// other sends so many probes to ports drawn from so many.
const (
	SearchSockets = 256
	SearchProbes  = 2048
	SearchPorts   = 64512
)

// Birthday is the probability that at least one of so many probes, each to another
// port, meets one of so many open ones: 1 − ∏ (N−K−i)/(N−i), i from 0 to probes−1.
func Birthday(sockets, probes, ports int) float64 {
	miss := 1.0
	for i := range probes {
		miss *= float64(ports-sockets-i) / float64(ports-i)
		if miss <= 0 {
			return 1
		}
	}
	return 1 - miss
}

// Theory is what the oracle says of all pairs, by the weights alone: no trial is in
// it. It knows no loss and no time.
type Theory struct {
	// Direct, Relayed and Failed are what plain punching comes to, with split paths where
	// the population has them.
	Direct  float64 `json:"direct"`
	Relayed float64 `json:"relayed"`
	Failed  float64 `json:"failed"`
	// Predictable is what of Relayed could become direct where ports can be foretold,
	// Searchable where they can be found by a birthday search, times its chance. Hard is
	// what stays with the relay.
	Predictable float64 `json:"predictable"`
	Searchable  float64 `json:"searchable"`
	Hard        float64 `json:"hard"`
	// Chance is that of one search.
	Chance float64 `json:"chance"`
}

// verdict is what the oracle says of a pair of kinds.
type verdict struct {
	expected oracle.Expectation
	// won is the probability that techniques for hard NATs make it direct, and how.
	won      float64
	searched bool
	// path is what the population's techniques come to.
	path oracle.Path
}

// verdicts are the oracle's, of pairs that have been asked about.
type verdicts map[[3]int]verdict

// of asks the oracle about a pair of kinds.
func (v verdicts) of(p *Population, a, b int, home bool) (verdict, error) {
	key := [3]int{a, b, 0}
	if home {
		key[2] = 1
	}
	if known, ok := v[key]; ok {
		return known, nil
	}
	left, right := chain(p.kinds[a], home), chain(p.kinds[b], home)
	plain, err := oracle.Expect(left, right, oracle.Options{SplitPaths: p.plays(scenarios.SplitPaths)})
	if err != nil {
		return verdict{}, fmt.Errorf("%s and %s: %w", p.kinds[a].Name, p.kinds[b].Name, err)
	}
	out := verdict{expected: plain}
	if plain.Path == oracle.PathRelay {
		switch foretold, err := oracle.Expect(left, right, oracle.Options{SplitPaths: p.plays(scenarios.SplitPaths), Techniques: []oracle.Technique{oracle.Prediction}}); {
		case err != nil:
			return verdict{}, err
		case foretold.Path == oracle.PathDirect:
			out.won = 1
		default:
			found, err := oracle.Expect(left, right, oracle.Options{Techniques: []oracle.Technique{oracle.Birthday}})
			if err != nil {
				return verdict{}, err
			}
			if found.Path == oracle.PathDirect {
				out.won, out.searched = Birthday(SearchSockets, SearchProbes, SearchPorts), true
			}
		}
	}
	out.path = plain.Path
	if !out.searched && out.won > 0 && p.plays(scenarios.Prediction) || out.searched && p.plays(scenarios.Birthday) {
		out.path = oracle.PathDirect
	}
	v[key] = out
	return out, nil
}

// chain is a kind's for the oracle; routers of one home have names, by which they
// are the same.
func chain(k Kind, home bool) oracle.Chain {
	var out oracle.Chain
	for i, n := range k.Chain {
		e := oracle.Element{NAT: n.NAT, Firewall: n.Firewall, Addresses: n.Addresses}
		if home {
			e.Name = fmt.Sprintf("home-%d", i)
		}
		out = append(out, e)
	}
	return out
}

// theory weighs the oracle's verdicts of all pairs.
func (p *Population) theory(v verdicts) (Theory, error) {
	t := Theory{Chance: Birthday(SearchSockets, SearchProbes, SearchPorts)}
	w := p.weights()
	for a := range p.kinds {
		for b := a; b < len(p.kinds); b++ {
			for _, home := range []bool{false, true} {
				share := w.cell(p.kinds, a, b, home)
				if share == 0 {
					continue
				}
				verdict, err := v.of(p, a, b, home)
				if err != nil {
					return t, err
				}
				switch verdict.expected.Path {
				case oracle.PathDirect:
					t.Direct += share
				case oracle.PathNone:
					t.Failed += share
				default:
					t.Relayed += share
					t.Hard += share * (1 - verdict.won)
					if verdict.searched {
						t.Searchable += share * verdict.won
					} else {
						t.Predictable += share * verdict.won
					}
				}
			}
		}
	}
	return t, nil
}

// punchable reports whether a kind gets a direct path to the strictest NAT of those
// that map independently of destinations: what studies call a NAT that can be punched.
func (p *Population) punchable(kind int) (bool, error) {
	e, err := oracle.Expect(chain(p.kinds[kind], false), oracle.Chain{{NAT: &strictCone}}, oracle.Options{})
	return e.Path == oracle.PathDirect, err
}

// strictCone is the strictest NAT of those that map independently of destinations.
var strictCone = nat.Behavior{Filtering: nat.AddressAndPortDependent}

// foretold are the shares of the outcomes of a report, by what the population plays.
func (t Theory) foretold(p *Population) []float64 {
	var predicted, searched float64
	if p.plays(scenarios.Prediction) {
		predicted = t.Predictable
	}
	if p.plays(scenarios.Birthday) {
		searched = t.Searchable
	}
	return []float64{t.Direct, predicted, searched, t.Relayed - predicted - searched, t.Failed}
}
