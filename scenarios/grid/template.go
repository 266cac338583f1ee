package grid

import (
	_ "embed"
	"fmt"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
)

//go:embed template.yaml
var pair []byte

// Template is a scenario with two peers, whose NATs the grid chooses.
type Template struct {
	scenario *scenarios.Scenario
	routers  [2]string // in front of the first and the second peer
}

// DefaultTemplate is our own peer in two homes, with rendezvous and relay.
func DefaultTemplate() (*Template, error) {
	sc, err := scenarios.Parse("scenarios/grid/template.yaml", pair)
	if err != nil {
		return nil, err
	}
	return NewTemplate(sc)
}

// NewTemplate takes a scenario for every cell of a grid. It needs one pair of
// peers, each behind one router of its own with a NAT, and one phase. What the
// scenario expects, and its controls, do not count.
func NewTemplate(sc *scenarios.Scenario) (*Template, error) {
	t := &Template{scenario: sc}
	complain := func(format string, args ...any) (*Template, error) {
		return nil, fmt.Errorf("%s cannot stand for the cells of a grid: %s", sc.File, fmt.Sprintf(format, args...))
	}
	pairs := sc.Pairs()
	if len(pairs) != 1 || len(sc.Peers) != 2 {
		return complain("it takes exactly two peers that connect to each other")
	}
	if len(sc.Phases) != 1 || len(sc.Phases[0].Actions) > 0 {
		return complain("it takes a single phase, in which nothing is done")
	}
	for i, name := range pairs[0] {
		peer := sc.Peers[slices.IndexFunc(sc.Peers, func(p scenarios.Peer) bool { return p.Name == name })]
		host, _ := sc.Lab.Host(peer.Host)
		chain, err := sc.Lab.Chain(peer.Host, host.ActiveUplink())
		if err != nil {
			return complain("%v", err)
		}
		if len(chain) != 1 || chain[0].NAT == nil {
			return complain("peer %s stands behind %d routers; it takes one, with a NAT", name, len(chain))
		}
		t.routers[i] = chain[0].Name
	}
	if t.routers[0] == t.routers[1] {
		return complain("both peers stand behind router %s", t.routers[0])
	}
	return t, nil
}

// With is the template with other techniques for its peers.
func (t *Template) With(techniques []string) *Template {
	sc := *t.scenario
	sc.Techniques = techniques
	return &Template{scenario: &sc, routers: t.routers}
}

// Cell is the scenario for one pair of NATs, and the path that the oracle expects.
func (t *Template) Cell(a, b Side) (*scenarios.Scenario, oracle.Expectation, error) {
	sc := *t.scenario
	sc.ID = fmt.Sprintf("%s × %s", a.Name, b.Name)
	sc.Title = fmt.Sprintf("%s × %s", a.Text(), b.Text())
	lab := *sc.Lab
	lab.Routers = slices.Clone(lab.Routers)
	for i, side := range []Side{a, b} {
		j := slices.IndexFunc(lab.Routers, func(r sim.Router) bool { return r.Name == t.routers[i] })
		r := &lab.Routers[j]
		behavior := side.Behavior
		r.NAT, r.Preset = &behavior, ""
		if behavior.Pooling == nat.PoolArbitrary {
			r.Addresses = max(r.Addresses, 2)
		}
	}
	sc.Lab = &lab
	if err := lab.Validate(); err != nil {
		return nil, oracle.Expectation{}, fmt.Errorf("%s: %w", sc.ID, err)
	}
	pairs := sc.Pairs()
	var chains [2]oracle.Chain
	for i, name := range pairs[0] {
		peer := sc.Peers[slices.IndexFunc(sc.Peers, func(p scenarios.Peer) bool { return p.Name == name })]
		host, _ := lab.Host(peer.Host)
		routers, err := lab.Chain(peer.Host, host.ActiveUplink())
		if err != nil {
			return nil, oracle.Expectation{}, err
		}
		for _, r := range routers {
			chains[i] = append(chains[i], oracle.Element{Name: r.Name, NAT: r.NAT, Firewall: r.Firewall, Access: r.Access, Addresses: r.Addresses})
		}
	}
	split, guesses := runner.Foreseen(sc.Techniques)
	expected, err := oracle.Expect(chains[0], chains[1], oracle.Options{SplitPaths: split, Techniques: guesses})
	if err != nil {
		return nil, expected, fmt.Errorf("%s: %w", sc.ID, err)
	}
	if expected.Path == oracle.PathRelay && len(sc.RelayHosts()) == 0 {
		expected.Path = oracle.PathNone
	}
	sc.Phases = []scenarios.Phase{{Name: "connect", Expect: scenarios.Expect{Path: scenarios.Path(expected.Path)}}}
	sc.Controls = nil
	return &sc, expected, nil
}

// RTT is the round-trip time between the peers of a cell.
func (t *Template) RTT() time.Duration {
	var sum time.Duration
	for _, l := range t.scenario.Lab.Links {
		if l.Node == t.routers[0] || l.Node == t.routers[1] {
			sum += l.Up.Delay + l.Down.Delay
		}
	}
	return sum
}
