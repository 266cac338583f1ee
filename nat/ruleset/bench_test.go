package ruleset_test

import (
	"testing"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// Installing replaces what was there: a swap costs as much.
func BenchmarkInstall(b *testing.B) {
	n := newNetwork(b, 0)
	for _, behavior := range []nat.Behavior{
		{},
		{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Random, Hairpin: nat.HairpinExternal, Refresh: nat.RefreshBoth},
		{TableSize: 16},
	} {
		b.Run(behavior.String(), func(b *testing.B) {
			for b.Loop() {
				must(b, ruleset.Install(n.conn, n.config(behavior, 1)))
			}
		})
	}
}

// One packet out through the NAT and its answer back, 100 bytes each.
func BenchmarkForward(b *testing.B) {
	bench := func(name string, set func(*network)) {
		b.Run(name, func(b *testing.B) {
			n := newNetwork(b, 1)
			n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
			set(n)
			inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
			payload := string(make([]byte, 100))
			for b.Loop() {
				inside.send(server.local(), payload)
				from, _ := server.receive()
				server.send(from, payload)
				inside.receive()
			}
		})
	}
	bench("plain", func(*network) {})
	bench("EIM-EIF", func(n *network) { n.install(nat.Behavior{}) })
	bench("EIM-APDF-both", func(n *network) {
		n.install(nat.Behavior{Filtering: nat.AddressAndPortDependent, Refresh: nat.RefreshBoth})
	})
	bench("APDM-APDF", func(n *network) {
		n.install(nat.Behavior{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent})
	})
}
