package sim

import (
	"math"
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/sim/link"
)

// TestMistakesInGo lists what only labs made from Go can get wrong; those of
// files are in TestMistakesInLabs.
func TestMistakesInGo(t *testing.T) {
	on := []Uplink{{Name: DefaultUplink}}
	host := []Host{{Name: "a", Uplinks: on}}
	both := func(i link.Impairment) *Lab { return &Lab{Hosts: host, Links: []Link{{Node: "a", Up: i, Down: i}}} }
	for _, test := range []struct {
		name string
		lab  *Lab
		want string
	}{
		{"nothing", &Lab{}, `the lab is empty: it needs hosts or routers`},
		{"host twice", &Lab{Hosts: []Host{{Name: "a", Uplinks: on}, {Name: "a", Uplinks: on}}}, `host "a" is there twice`},
		{"router twice", &Lab{Routers: []Router{{Name: "r"}, {Name: "r"}}}, `router "r" is there twice`},
		{"uplink twice", &Lab{Hosts: []Host{{Name: "a", Uplinks: []Uplink{{Name: "x"}, {Name: "x"}}}}}, `host "a": uplink "x" is there twice`},
		{"uplink without a name", &Lab{Hosts: []Host{{Name: "a", Uplinks: []Uplink{{}}}}}, `uplink without a name`},
		{"host without uplinks", &Lab{Hosts: []Host{{Name: "a"}}}, `host "a": it needs at least one uplink`},
		{"no name", &Lab{Routers: []Router{{}}}, `router without a name`},
		{"negative addresses", &Lab{Hosts: []Host{{Name: "a", Uplinks: on, Addresses: -1}}}, `host "a": -1 addresses are not between 1 and 16`},
		{"preset without NAT", &Lab{Routers: []Router{{Name: "r", Preset: "symmetric"}}}, `router "r": preset "symmetric" is named, but no NAT is set`},
		{"preset of another NAT", &Lab{Routers: []Router{{Name: "r", Preset: "symmetric", NAT: &nat.Behavior{}}}},
			`router "r": preset "symmetric" is named, but the NAT differs from it`},
		{"unknown preset", &Lab{Routers: []Router{{Name: "r", Preset: "symetric", NAT: &nat.Behavior{}}}},
			`router "r": unknown NAT preset "symetric"; did you mean "symmetric"?`},
		{"no such mapping", &Lab{Routers: []Router{{Name: "r", NAT: &nat.Behavior{Mapping: 9}}}}, `router "r": nat: mapping: "invalid(9)" is not valid`},
		{"unsorted ports", &Lab{Routers: []Router{{Name: "r", Firewall: &nat.Firewall{OutboundUDP: []uint16{2, 1}}}}}, `router "r": firewall: udp: [2 1] is not valid`},
		{"negative delay", both(link.Impairment{Delay: -1}), `link "a": delay -1ns is not between 0s and 1m0s`},
		{"no number", both(link.Impairment{Loss: math.NaN()}), `link "a" up: loss NaN is not between 0 and 1`},
		{"negative queue", both(link.Impairment{Queue: -1, Rate: 1e6}), `link "a": queue -1 is not between 0 and 1073741824 bytes`},
		{"no such profile", &Lab{Hosts: host, Links: []Link{{Node: "a", Profile: "4gg"}}}, `link "a": there is no profile "4gg"; did you mean "4g"?`},
		{"profile of another link", &Lab{Hosts: host, Links: []Link{{Node: "a", Profile: "4g"}}}, `link "a": profile "4g" is named, but the link differs from it`},
		{"bursts without an end", both(link.Impairment{Burst: link.Burst{P: 0.1}}), `link "a": burst: r 0, the chance that a burst ends`},
		{"wander without time", both(link.Impairment{Wander: link.Wander{Delay: 1}}), `link "a": wander: every 0s is not at least 10ms`},
		{"black hole of nothing", both(link.Impairment{Blackhole: true}), `link "a": mtu: what is larger is lost in silence`},
		{"loop of one", &Lab{Routers: []Router{{Name: "r", Behind: "r"}}}, `router "r" stands behind itself: r behind r`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.lab.Validate()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got: %v\nwant: %s", err, test.want)
			}
			if _, planned := test.lab.Plan(); planned == nil {
				t.Error("a lab that is not valid was planned")
			}
		})
	}
}

func TestImpairmentsByLink(t *testing.T) {
	lab := exampleLab()
	for _, test := range []struct {
		id       LinkID
		up, down string
	}{
		{LinkID{"a", DefaultUplink}, "20ms ±5ms reordered, 1% loss, 50Mbit", "20ms ±5ms reordered, 1% loss, 50Mbit"},
		{LinkID{"m", "wifi"}, "5ms", "20Mbit, queue 64000 B"},
		{LinkID{"m", "4g"}, "30ms", "30ms, 0.5% loss"},
		{LinkID{"home", DefaultUplink}, "1ms", "1ms"},
		{LinkID{"relay", DefaultUplink}, "", ""},
	} {
		up, down := lab.Impairments(test.id)
		if DescribeImpairment(up) != test.up || DescribeImpairment(down) != test.down {
			t.Errorf("%v: up %q, down %q, want %q, %q", test.id, DescribeImpairment(up), DescribeImpairment(down), test.up, test.down)
		}
	}
}
