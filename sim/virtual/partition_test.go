package virtual_test

import (
	"net/netip"
	"strings"
	"testing"

	"p2pmodel/sim"
)

// cluster has three nodes in one network, a client in front of it, one behind a
// NAT, and links with and without impairments.
const cluster = `
lab:
  routers:
    home: {nat: full-cone}
    other-home: {nat: full-cone}
    inside: {firewall: {inbound: replies, allow: [{tcp: 4222, udp: 4222}]}}
  hosts:
    n1: {behind: inside}
    n2: {behind: inside}
    n3: {behind: inside}
    public: {}
    player: {behind: home}
    other: {behind: other-home}
  links:
    n2: {delay: 1ms}
`

func TestPartitionsPartGroups(t *testing.T) {
	n := stand(t, cluster, sim.Options{Seed: 1})
	servers, clients := map[string]netip.AddrPort{}, map[string]*speaker{}
	for _, name := range []string{"n1", "n2", "n3", "public", "player"} {
		servers[name], clients[name] = server(t, n, name), client(t, n, name)
	}
	hold := func(groups [][]string, passes map[string]bool) {
		t.Helper()
		for pair, want := range passes {
			from, to, _ := strings.Cut(pair, "→")
			if got := clients[from].ask(servers[to]) != ""; got != want {
				t.Errorf("parted %v: %s: answered %v, want %v", groups, pair, got, want)
			}
		}
	}
	all := map[string]bool{"n1→n2": true, "n2→n1": true, "n1→n3": true, "n2→n3": true, "player→n1": true, "public→n3": true, "player→public": true}
	hold(nil, all)
	for _, p := range []struct {
		groups [][]string
		passes map[string]bool
	}{
		{[][]string{{"n1", "n2"}, {"n3"}}, map[string]bool{
			"n1→n2": true, "n2→n1": true, "n1→n3": false, "n3→n1": false, "n2→n3": false, "n3→n2": false,
			"player→n1": true, "player→n3": true, "public→n3": true}},
		{[][]string{{"n1"}, {"n2"}, {"n3", "public"}}, map[string]bool{
			"n1→n2": false, "n2→n3": false, "n3→public": true, "public→n3": true, "public→n1": false, "n2→public": false, "player→n2": true}},
		{[][]string{{"player", "n1"}, {"n2", "public"}}, map[string]bool{
			"player→n1": true, "player→n2": false, "player→public": false, "player→n3": true, "n1→n3": true, "n2→n3": true}},
	} {
		before, err := n.Partitioned()
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Partition(p.groups); err != nil {
			t.Fatal(err)
		}
		hold(p.groups, p.passes)
		if after, err := n.Partitioned(); err != nil || after <= before {
			t.Errorf("parted %v: it took %d packets, %d before (%v)", p.groups, after, before, err)
		}
	}
	for range 2 {
		if err := n.Heal(); err != nil {
			t.Fatal(err)
		}
	}
	hold(nil, all)
	took, err := n.Partitioned()
	if again, err2 := n.Partitioned(); took == 0 || again != took || err != nil || err2 != nil {
		t.Errorf("healed, the count is %d, then %d (%v, %v)", took, again, err, err2)
	}
}

func TestPartitionsThatCannotBe(t *testing.T) {
	n := stand(t, cluster, sim.Options{})
	for _, tt := range []struct {
		groups [][]string
		says   string
	}{
		{nil, "two groups of hosts at least"},
		{[][]string{{"n1", "n2"}}, "two groups of hosts at least"},
		{[][]string{{"n1"}, {}}, "group 2 is empty"},
		{[][]string{{"n1"}, {"n4"}}, `no host "n4"; it has n1, n2, n3`},
		{[][]string{{"n1"}, {"inside"}}, `no host "inside"`},
		{[][]string{{"n1", "n2"}, {"n1"}}, "host n1 is there twice"},
		{[][]string{{"player"}, {"other"}}, "hosts player and other stand behind different NATs"},
	} {
		if err := n.Partition(tt.groups); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v: %v, want %q", tt.groups, err, tt.says)
		}
	}
	to := server(t, n, "n2")
	if client(t, n, "n1").ask(to) == "" {
		t.Error("a partition that was refused parts")
	}
}
