//go:build linux

package specs_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"p2pmodel/scenarios"
	. "p2pmodel/scenarios/matchers"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim/kernel"
)

// farAway has players who need longer to log in, four round trips each, than a shard
// to notice that its relay is cut.
const farAway = `
id: FAR-AWAY
title: Two players who are far away
lab:
  routers:
    nat-a: {nat: symmetric}
    nat-b: {nat: symmetric}
  hosts:
    engine: {}
    agent: {}
    shard: {}
    rendezvous: {}
    relay: {}
    a: {behind: nat-a}
    b: {behind: nat-b}
  links:
    nat-a: {delay: 250ms}
    nat-b: {delay: 250ms}
system:
  engines: [engine]
  directories: [engine]
  agents: [agent]
  shards:
    s1: {host: shard, rendezvous: rendezvous, relay: relay}
peers:
  a: {host: a}
  b: {host: b}
rooms: {red: [a, b]}
expect: {path: relay}
controls:
  - name: relay cut
    why: the path leads over the relay
    before: [{cut: relay}]
    expect: {path: none}
`

var _ = Describe("Before the peers start", func() {
	It("rooms have been entered, however long that takes", func(ctx SpecContext) {
		sc, err := scenarios.Parse("far-away.yaml", []byte(farAway))
		Expect(err).NotTo(HaveOccurred())
		r := &runner.Runner{Fabric: kernel.Fabric{}, P2PModel: *program, Seed: *labSeed, Slots: runner.NewSlots(labsAtOnce)}
		res, err := r.Run(ctx, sc)
		Expect(err).NotTo(HaveOccurred())
		Expect(res).To(PassControl("relay cut"))
		Expect(res).To(BeAsExpected())
	})
})
