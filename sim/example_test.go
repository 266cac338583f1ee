package sim_test

import (
	"fmt"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

// A lab in Go is a literal; a file says the same with fewer words.
func ExampleLab() {
	behind := func(router string) []sim.Uplink {
		return []sim.Uplink{{Name: sim.DefaultUplink, Behind: router}}
	}
	mobile := link.Impairment{Delay: 30 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.01, Rate: 50_000_000}
	lab := &sim.Lab{
		Routers: []sim.Router{
			{Name: "carrier", NAT: &nat.Behavior{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Random}, Addresses: 2},
			{Name: "home", NAT: &nat.Behavior{Filtering: nat.AddressAndPortDependent}, Preset: "port-restricted-cone"},
		},
		Hosts: []sim.Host{
			{Name: "phone", Uplinks: []sim.Uplink{{Name: "4g", Behind: "carrier"}, {Name: "wifi", Behind: "home"}}},
			{Name: "desktop", Uplinks: behind("home")},
			{Name: "rendezvous", Uplinks: behind(sim.Internet), Addresses: 2},
		},
		Links: []sim.Link{{Node: "phone", Uplink: "4g", Up: mobile, Down: mobile}},
	}
	plan, err := lab.Plan()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(plan.External("carrier"), plan.Addresses("desktop", sim.DefaultUplink))
	fmt.Printf("%s", lab.YAML())
	// Output:
	// [198.18.0.2 198.18.0.3] [192.168.1.4]
	// lab:
	//   routers:
	//     carrier: {nat: "mapping=APDM,filtering=APDF,ports=random", addresses: 2}
	//     home: {nat: port-restricted-cone}
	//   hosts:
	//     phone: {uplinks: {4g: {behind: carrier}, wifi: {behind: home}}}
	//     desktop: {behind: home}
	//     rendezvous: {addresses: 2}
	//   links:
	//     phone/4g: {delay: 30ms, jitter: 10ms, loss: 1%, rate: 50Mbit}
}

// Mistakes in files come all at once, each with its place.
func ExampleParseLab() {
	_, err := sim.ParseLab("lab.yaml", []byte(`lab:
  routers:
    home: {nat: ful-cone}
  hosts:
    a: {behind: hoem}
    b: {behnid: home}
`))
	fmt.Println(err)
	// Output:
	// lab.yaml:3:17: nat: unknown NAT preset "ful-cone"; did you mean "full-cone"? `natlab presets` lists them
	// lab.yaml:5:17: host "a": there is no router "hoem"; did you mean "home"?
	// lab.yaml:6:9: unknown key "behnid"; did you mean "behind"?
}
