package oracle_test

import (
	"fmt"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
)

// What two homes allow, and what happens when one of them is also behind a carrier's
// NAT.
func ExampleExpect() {
	element := func(name, behaviour string) oracle.Element {
		b, err := nat.ParseBehavior(behaviour)
		if err != nil {
			panic(err)
		}
		return oracle.Element{Name: name, NAT: &b}
	}
	home, office := element("home", "port-restricted-cone"), element("office", "restricted-cone")
	carrier := element("carrier", "symmetric")
	for _, chain := range []oracle.Chain{{home}, {home, carrier}} {
		e, err := oracle.Expect(chain, oracle.Chain{element("other", "port-restricted-cone")}, oracle.Options{})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.Path)
	}
	// A restricted cone looks at addresses only, and the carrier's does not change.
	e, err := oracle.Expect(oracle.Chain{home, carrier}, oracle.Chain{office}, oracle.Options{})
	fmt.Println(e.Path, err)
	// Output:
	// direct
	// relay
	// direct <nil>
}
