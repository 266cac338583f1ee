package report

import "p2pmodel/scenarios"

// pairGrid is a square of many pairs: one row and one column a peer.
type pairGrid struct {
	Peers []string
	Rows  []pairRow
}

type pairRow struct {
	Peer  string
	Cells []*scenarios.PairResult // nil where there is no such pair
}

// gridFrom is the number of pairs from which a grid reads better than a list.
const gridFrom = 6

// newPairGrid gives nil for few pairs.
func newPairGrid(pairs []scenarios.PairResult) *pairGrid {
	if len(pairs) < gridFrom {
		return nil
	}
	g := &pairGrid{}
	index := map[string]int{}
	for _, p := range pairs {
		for _, name := range []string{p.A, p.B} {
			if _, known := index[name]; !known {
				index[name] = len(g.Peers)
				g.Peers = append(g.Peers, name)
			}
		}
	}
	for _, name := range g.Peers {
		g.Rows = append(g.Rows, pairRow{Peer: name, Cells: make([]*scenarios.PairResult, len(g.Peers))})
	}
	for i, p := range pairs {
		g.Rows[index[p.A]].Cells[index[p.B]] = &pairs[i]
		g.Rows[index[p.B]].Cells[index[p.A]] = &pairs[i]
	}
	return g
}
