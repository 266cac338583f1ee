package nat_test

import (
	"fmt"

	"p2pmodel/nat"
)

// A behaviour is a value with one field an axis. Text names a preset, and axes that
// differ from it.
func ExampleParseBehavior() {
	b, err := nat.ParseBehavior("symmetric,ports=random,timeout=30s")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(b)
	fmt.Println(b.Mapping == nat.AddressAndPortDependent, b.Timeout)
	fmt.Println(b.Scaled(15).Timeout) // for tests that do not wait so long
	_, err = nat.ParseBehavior("symetric")
	fmt.Println(err != nil)
	// Output:
	// mapping=APDM,filtering=APDF,ports=random,timeout=30s
	// true 30s
	// 2s
	// true
}

// Values compare with ==: the preset is only another way to write them.
func ExampleBehavior() {
	full, err := nat.ParseBehavior("full-cone")
	fmt.Println(full == nat.Behavior{}, err)
	fmt.Println(nat.Behavior{Filtering: nat.AddressDependent})
	// Output:
	// true <nil>
	// mapping=EIM,filtering=ADF,ports=preserve
}
