//go:build linux

package runner_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// tampered is a fabric whose lab somebody else has a hand in.
type tampered struct {
	kernel.Fabric
	mu  sync.Mutex
	net sim.Network
}

func (f *tampered) Build(ctx context.Context, lab *sim.Lab, opt sim.Options) (sim.Network, error) {
	net, err := f.Fabric.Build(ctx, lab, opt)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.net = net
	return net, err
}

func (f *tampered) swap(t *testing.T, router, behavior string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := nat.ParseBehavior(behavior)
	if err != nil {
		t.Error(err)
		return
	}
	r, err := f.net.Router(router)
	if err == nil {
		err = r.Swap(b)
	}
	if err != nil {
		t.Error(err)
	}
}

// insert puts a rule before the others of a chain of a router's NAT.
func (f *tampered) insert(t *testing.T, router, chain string, exprs []expr.Any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path, err := f.net.(*kernel.Network).NamespacePath(router)
	if err != nil {
		t.Error(err)
		return
	}
	ns, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer ns.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		t.Error(err)
		return
	}
	table := &nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4}
	conn.InsertRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Name: chain, Table: table}, Exprs: exprs})
	if err := conn.Flush(); err != nil {
		t.Errorf("insert a rule into %s: %v", chain, err)
	}
}

// A NAT that is swapped once it was certified is found out, be it for one that
// would not change the path.
func TestNATSwappedAfterCertificationIsBroken(t *testing.T) {
	t.Parallel()
	for stage, row := range map[string]struct {
		other   string
		reasons []string
	}{
		"run": {"symmetric", []string{"somebody changed the rules of router nat-a", "router nat-a did not behave as declared"}},
		// Whether a packet meets what is different is up to who sends first.
		"phase connect": {"restricted-cone", []string{"somebody changed the rules of router nat-a"}},
	} {
		other := row.other
		t.Run(stage+", "+other, func(t *testing.T) {
			t.Parallel()
			sc, err := scenarios.Find("TC-01")
			if err != nil {
				t.Fatal(err)
			}
			fabric := &tampered{}
			r := &runner.Runner{Fabric: fabric, Seed: 1, SkipControls: true, Progress: func(p runner.Progress) {
				if p.Stage == stage {
					fabric.swap(t, "nat-a", other)
				}
			}}
			res, err := r.Run(t.Context(), sc)
			if err != nil {
				t.Fatal(err)
			}
			want(t, res, scenarios.Broken)
			for _, want := range row.reasons {
				if !strings.Contains(res.Reason, want) {
					t.Errorf("the reason lacks %q: %s", want, res.Reason)
				}
			}
		})
	}
}

// A rule that somebody adds by hand is caught by the watch, which names a packet that
// the NAT must not have treated so, though the path stays what it was.
func TestARuleEditedByHandIsCaughtByTheWatch(t *testing.T) {
	t.Parallel()
	// The packets of the edits are UDP, every fifth of the chain that comes from where the
	// row says: of both ways, the report may name none of one among the first three.
	fifth := func(from byte) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{from}},
			&expr.Numgen{Register: 1, Modulus: 5, Type: unix.NFT_NG_INCREMENTAL}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 0, 0, 0}},
		}
	}
	const inside, outside = 192, 198 // the first byte of a sender's address
	drop := func(from byte) []expr.Any { return append(fifth(from), &expr.Verdict{Kind: expr.VerdictDrop}) }
	write := func(from byte, offset uint32, data ...byte) []expr.Any {
		return append(fifth(from), &expr.Immediate{Register: 1, Data: data}, &expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: uint32(len(data)),
			CsumType: expr.CsumTypeInet, CsumOffset: 6})
	}
	for name, c := range map[string]struct {
		chain, from string
		edit        []expr.Any
		want        string
	}{
		"packets from outside are dropped in silence":  {"arrive", "from outside", drop(outside), "did not leave"},
		"packets from inside are dropped in silence":   {"forward", "from inside", drop(inside), "did not leave"},
		"packets from outside get another destination": {"arrive", "from outside", write(outside, 2, 0x13, 0x88), "forbids that"},
		"packets from outside get another sender":      {"arrive", "from outside", write(outside, 0, 0x13, 0x88), "it has to become"},
		"packets from inside get another sender":       {"forward", "from inside", write(inside, 0, 0x13, 0x88), "it has to become"},
		"packets from inside leave as they came":       {"forward", "from inside", append(fifth(inside), &expr.Verdict{Kind: expr.VerdictAccept}), "it has to become"},
		"packets from inside are dropped, with a lie":  {"forward", "from inside", append(fifth(inside), ruleset.Drop(ruleset.CauseFiltered, "nat forward: no")...), "was dropped: filtered"},
		"packets from inside are said to find no port": {"forward", "from inside", append(fifth(inside), ruleset.Drop(ruleset.CauseExhausted, "nat forward: no")...), "it has to pass"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fabric := &tampered{}
			r := &runner.Runner{Fabric: fabric, Seed: 1, SkipControls: true, Progress: func(p runner.Progress) {
				if p.Stage == "phase connect" {
					fabric.insert(t, "nat-a", c.chain, c.edit)
				}
			}}
			sc, err := scenarios.Find("TC-01")
			if err != nil {
				t.Fatal(err)
			}
			res, err := r.Run(t.Context(), sc)
			if err != nil {
				t.Fatal(err)
			}
			want(t, res, scenarios.Broken)
			for _, text := range []string{"router nat-a did not behave as declared: ", c.from, c.want} {
				if !strings.Contains(res.Reason, text) {
					t.Errorf("the reason lacks %q: %s", text, res.Reason)
				}
			}
		})
	}
}

// Nor does a reboot of the scenario's own hide it, which gives the router the
// rules of whatever NAT it has by then.
func TestNATSwappedBeforeARebootIsBroken(t *testing.T) {
	t.Parallel()
	sc := parse(t, `
phases:
  - name: connect
    expect: {path: direct}
  - name: rebooted
    do: [{reboot: {router: nat-a, new-address: true}}]
    expect: {path: direct, mapping: {a: lost}}
`)
	fabric := &tampered{}
	r := &runner.Runner{Fabric: fabric, Seed: 1, SkipControls: true, Progress: func(p runner.Progress) {
		if p.Stage == "phase rebooted" {
			fabric.swap(t, "nat-a", "restricted-cone")
		}
	}}
	res, err := r.Run(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	want(t, res, scenarios.Broken)
}

// What a phase swaps in is certified like any other NAT.
func TestSwapInAPhaseIsCertified(t *testing.T) {
	t.Parallel()
	sc := parse(t, `
phases:
  - name: connect
    expect: {path: direct}
  - name: symmetric
    do: [{swap: {router: nat-a, nat: symmetric}}, {swap: {router: nat-b, nat: symmetric}}]
    expect: {path: relay}
  - name: back again
    do: [{swap: {router: nat-a, nat: full-cone}}, {swap: {router: nat-b, nat: full-cone}}]
    expect: {path: direct}
`)
	res := runScenario(t, sc, runner.Sabotage{}, true)
	want(t, res, scenarios.Expected)
	var declared []string
	for _, n := range res.NATs {
		declared = append(declared, n.Router+" "+strings.Split(n.Declared, ",")[0])
	}
	if got := strings.Join(declared, ", "); got != "nat-a mapping=EIM, nat-a mapping=APDM, nat-b mapping=EIM, nat-b mapping=APDM" {
		t.Errorf("certified: %s", got)
	}
}

// parse gives a scenario of two peers behind full cones.
func parse(t *testing.T, text string) *scenarios.Scenario {
	t.Helper()
	sc, err := scenarios.Parse("x.yaml", []byte(`
id: X-1
title: two peers behind full cones
lab:
  routers:
    nat-a: {nat: full-cone}
    nat-b: {nat: full-cone}
  hosts:
    a: {behind: nat-a}
    b: {behind: nat-b}
    rendezvous: {}
    relay: {}
    idle: {}
rendezvous: rendezvous
relay: relay
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
`+text))
	if err != nil {
		t.Fatal(err)
	}
	return sc
}
