package sim_test

import (
	"fmt"
	"slices"
	"testing"

	"p2pmodel/sim"
)

// What programs on hosts have in their environment.
func ExampleEnviron() {
	lab, err := sim.ParseLab("lab.yaml", []byte(`lab:
  routers: {home: {nat: symmetric}, carrier: {nat: symmetric, addresses: 2}}
  hosts:
    phone: {uplinks: {wifi: {behind: home}, 4g: {behind: carrier}}}
    turn-server: {addresses: 2}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := lab.Plan()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, variable := range sim.Environ(lab, plan) {
		fmt.Println(variable)
	}
	// Output:
	// LAB_ADDR_CARRIER=198.18.0.3
	// LAB_ADDR_CARRIER_2=198.18.0.4
	// LAB_ADDR_HOME=198.18.0.2
	// LAB_ADDR_PHONE=192.168.1.2
	// LAB_ADDR_PHONE_4G=192.168.1.3
	// LAB_ADDR_PHONE_WIFI=192.168.1.2
	// LAB_ADDR_TURN_SERVER=198.18.0.5
	// LAB_ADDR_TURN_SERVER_2=198.18.0.6
}

// A name that could mean either of two hosts means none.
func TestEnvironLeavesOutWhatIsAmbiguous(t *testing.T) {
	lab, err := sim.ParseLab("lab.yaml", []byte("lab:\n  hosts: {a-b: {}, a_b: {}, c: {addresses: 2}, c-2: {}, d: {}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := lab.Plan()
	if err != nil {
		t.Fatal(err)
	}
	c, d := plan.Addresses("c", sim.DefaultUplink)[0], plan.Addresses("d", sim.DefaultUplink)[0]
	want := []string{fmt.Sprint("LAB_ADDR_C=", c), fmt.Sprint("LAB_ADDR_D=", d)}
	if got := sim.Environ(lab, plan); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
