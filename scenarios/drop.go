package scenarios

import "p2pmodel/sim/witness"

// MaxDrops bounds the list of a result's drops.
const MaxDrops = 10_000

// DropResult is one packet that died in a lab, as results.json has it.
type DropResult struct {
	AtMS float64 `json:"at_ms"` // since the run began
	Node string  `json:"node"`  // where it died; of a link: who had sent it into it
	Link string  `json:"link,omitempty"`
	// Cause is why, as "filtered", "expired mapping", "loss", "queue".
	Cause    witness.Cause `json:"cause"`
	Rule     string        `json:"rule,omitempty"` // of the node, in words
	Protocol string        `json:"protocol"`
	Src      string        `json:"src"`
	Dst      string        `json:"dst"`
}

// DropsResult are the packets that died in the scenario's own run.
type DropsResult struct {
	Total int `json:"total"`
	// Unexplained are packets that captures saw end, and nothing tells why.
	Unexplained int `json:"unexplained"`
	// Missing says why the list is not whole; empty: it is.
	Missing string       `json:"missing,omitempty"`
	List    []DropResult `json:"list"` // at most MaxDrops, in order of time
}

// NewDropsResult makes the list of a run's drops. Unexplained is left to the
// caller.
func (r *Run) NewDropsResult() *DropsResult {
	res := &DropsResult{Total: len(r.Drops), Missing: r.DropsMissing, Unexplained: r.Unexplained, List: []DropResult{}}
	for _, d := range r.Drops[:min(len(r.Drops), MaxDrops)] {
		res.List = append(res.List, DropResult{
			AtMS: float64(d.At.Sub(r.Started).Microseconds()) / 1000,
			Node: d.Node, Link: d.Link, Cause: d.Cause, Rule: d.Rule,
			Protocol: witness.ProtocolName(d.Protocol), Src: witness.Endpoint(d.Src), Dst: witness.Endpoint(d.Dst),
		})
	}
	return res
}
