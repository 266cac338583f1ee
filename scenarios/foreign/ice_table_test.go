//go:build linux

package foreign_test

import (
	"flag"
	"fmt"
	"testing"

	"p2pmodel/scenarios/interop"
)

// wholeTable has TestICETable play all of its encounters, and TestICEConsent its minute.
var wholeTable = flag.Bool("interop", false, "try every row of the table of interoperability")

// TestICETable is our agent and each of the others', over all pairs of the classic
// NATs, in both roles, with our servers and with coturn's; the path has to be the
// oracle's. Make interop prints grids of what was observed.
func TestICETable(t *testing.T) {
	if !*wholeTable {
		t.Skip("LEFT OUT: 128 encounters; make interop plays them")
	}
	for _, other := range []iceAgent{pionICE, aioICE} {
		for _, controls := range []bool{true, false} {
			for _, ours := range classicNATs {
				for _, theirs := range classicNATs {
					for _, coturn := range []bool{false, true} {
						e := encounter{a: ourICE, b: other, natA: ours, natB: theirs, flagsA: controlling, flagsB: controlled, coturn: coturn}
						if !controls {
							e.flagsA, e.flagsB = controlled, controlling
						}
						t.Run(fmt.Sprintf("%s, %s, %s, we control %v, coturn %v", other, ours, theirs, controls, coturn), func(t *testing.T) {
							r := e.row(t, "a path")
							r.NATs = [2]string{ours, theirs}
							interop.Try(t, r)
							t.Parallel()
							m := e.meet(t)
							m.settle()
							e.judge(t, m.observed())
						})
					}
				}
			}
		}
	}
}

// row is an encounter as one of the table of interoperability.
func (e encounter) row(tb testing.TB, tried string) interop.Row {
	name := func(a iceAgent, flags []string, otherwise string) string {
		return fmt.Sprintf("%s, %s", a.named(), role(flags, otherwise))
	}
	over := "UDP, our STUN and TURN"
	if e.coturn {
		over = "UDP, coturn's STUN and TURN"
	}
	return interop.Row{
		Client: name(e.a, e.flagsA, "controlling"), Server: name(e.b, e.flagsB, "controlled"), Over: over,
		Tried: tried, Expected: iceReaches(tb, e.natA, e.natB).String(),
	}
}
