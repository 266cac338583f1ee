//go:build linux

package runner_test

import (
	"slices"
	"strings"
	"testing"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
)

// TestHonestNATsAreNotAccused: what stands beside a NAT, or makes its packets go
// another way, is not held against it.
func TestHonestNATsAreNotAccused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, watched string }{
		"a firewall on the same router takes what leaves": {`
id: X-1
title: peers
lab:
  routers:
    nat-a: {nat: port-restricted-cone, firewall: {inbound: open, udp: [3478]}}
    nat-b: {nat: full-cone}
  hosts: {a: {behind: nat-a}, b: {behind: nat-b}, rendezvous: {}, relay: {}}
rendezvous: rendezvous
relay: relay
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
expect: {path: relay}
`, "nat-a"},
		"hosts behind it reach each other without it": {`
id: X-2
title: peers
lab:
  routers:
    carrier: {nat: "filtering=APDF,ports=block,block=64,hairpin=external,pooling=arbitrary", addresses: 3}
    home-a: {behind: carrier, nat: port-restricted-cone, firewall: {inbound: replies}}
    home-b: {behind: carrier, nat: linux}
  hosts: {a: {behind: home-a}, b: {behind: home-b}, c: {behind: carrier}, rendezvous: {}, relay: {}}
rendezvous: rendezvous
relay: relay
peers: {a: {host: a}, b: {host: b}, c: {host: c}}
room: r
settings: {interval: 5ms}
expect: {path: mixed}
`, "carrier"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc, err := scenarios.Parse("x.yaml", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			res := runScenario(t, sc, runner.Sabotage{}, true)
			want(t, res, scenarios.Expected)
			if !slices.ContainsFunc(res.Run.Evidence, func(e string) bool { return strings.HasPrefix(e, c.watched+" was watched: ") }) {
				t.Errorf("%s was not watched: %q", c.watched, res.Run.Evidence)
			}
		})
	}
}
