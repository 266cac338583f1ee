//go:build linux

package foreign_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"p2pmodel/sim/witness"
)

// interop has TestICETable play the whole table, and TestICEConsent its minute.
var interop = flag.Bool("interop", false, "play the whole table of interoperability, and print it")

// TestICETable is our agent and each of the others', over all pairs of the classic
// NATs, in both roles, with our servers and with coturn's; the path has to be the
// oracle's. It prints a table of what was observed.
func TestICETable(t *testing.T) {
	if !*interop {
		t.Skip("LEFT OUT: 128 encounters; make interop plays them")
	}
	for _, other := range []iceAgent{pionICE, aioICE} {
		results := table{other: other, cells: map[[2]string][]string{}}
		t.Run(string(other), func(t *testing.T) {
			for _, ours := range classicNATs {
				for _, theirs := range classicNATs {
					for _, controls := range []bool{true, false} {
						for _, coturn := range []bool{false, true} {
							e := encounter{a: ourICE, b: other, natA: ours, natB: theirs, flagsA: controlling, flagsB: controlled, coturn: coturn}
							if !controls {
								e.flagsA, e.flagsB = controlled, controlling
							}
							t.Run(fmt.Sprintf("%s, %s, we control %v, coturn %v", ours, theirs, controls, coturn), func(t *testing.T) {
								t.Parallel()
								e.summon(t)
								results.add(ours, theirs, "failed")
								m := e.meet(t)
								m.settle()
								got := m.observed()
								results.replace(ours, theirs, got.String())
								e.judge(t, got)
							})
						}
					}
				}
			}
		})
		results.print()
	}
}

func (e encounter) summon(tb testing.TB) {
	e.a.summon(tb)
	e.b.summon(tb)
}

// table is what was observed, by the NATs of ours and theirs.
type table struct {
	other iceAgent
	mu    sync.Mutex
	cells map[[2]string][]string
}

func (r *table) add(ours, theirs, result string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := [2]string{ours, theirs}
	r.cells[at] = append(r.cells[at], result)
}

// replace puts a result in the place of a failure.
func (r *table) replace(ours, theirs, result string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cell := r.cells[[2]string{ours, theirs}]
	for i := range cell {
		if cell[i] == "failed" {
			cell[i] = result
			return
		}
	}
}

// print prints the table in Markdown: how often which path.
func (r *table) print() {
	var b strings.Builder
	fmt.Fprintf(&b, "\n| p2pmodel ↓ %s %s → | %s |\n|---%s|\n", r.other, strings.TrimSpace(r.other.version()), strings.Join(classicNATs, " | "), strings.Repeat("|---", len(classicNATs)))
	for _, ours := range classicNATs {
		fmt.Fprintf(&b, "| %s |", ours)
		for _, theirs := range classicNATs {
			count := map[string]int{}
			for _, result := range r.cells[[2]string{ours, theirs}] {
				count[result]++
			}
			var parts []string
			for _, result := range []string{witness.Direct.String(), witness.Relay.String(), "mixed", "none", "failed"} {
				if n := count[result]; n > 0 {
					parts = append(parts, fmt.Sprintf("%s ×%d", result, n))
				}
			}
			fmt.Fprintf(&b, " %s |", strings.Join(parts, ", "))
		}
		b.WriteString("\n")
	}
	fmt.Fprint(os.Stdout, b.String())
}
