//go:build linux

package kernel_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"p2pmodel/sim/kernel"
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

// connection opens one from a host to another, which must answer.
func connection(tb testing.TB, n *kernel.Network, from, to string) net.Conn {
	tb.Helper()
	conn, err := host(tb, n, from).Dial(tb.Context(), "tcp4", netip.AddrPortFrom(addressOf(n, to), 4222).String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	if err := converse(conn, patient); err != nil {
		tb.Fatalf("%s to %s: %v", from, to, err)
	}
	return conn
}

func TestPartitionsPartGroups(t *testing.T) {
	n := stand(t, cluster)
	for _, name := range []string{"n1", "n2", "n3", "public"} {
		tcpServer(t, host(t, n, name), 4222)
		udpServer(t, host(t, n, name), 4222)
	}
	hold := func(groups [][]string, passes map[string]bool) {
		t.Helper()
		for pair, want := range passes {
			from, to, _ := strings.Cut(pair, "→")
			for _, network := range []string{"udp4", "tcp4"} {
				patience := patient
				if !want {
					patience = brief
				}
				if got := speaks(t, n, network, from, to, 4222, patience); got != want {
					t.Errorf("parted %v: %s %s: answered %v, want %v", groups, network, pair, got, want)
				}
			}
		}
	}
	all := map[string]bool{"n1→n2": true, "n2→n1": true, "n1→n3": true, "n2→n3": true, "player→n1": true, "public→n3": true, "player→public": true}
	hold(nil, all)
	old := connection(t, n, "n3", "n1")
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
	if err := n.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := n.Heal(); err != nil {
		t.Errorf("healed again: %v", err)
	}
	hold(nil, all)
	if err := converse(old, patient); err != nil {
		t.Errorf("a connection that stood before the partitions: %v", err)
	}
	took, err := n.Partitioned()
	if again, err2 := n.Partitioned(); took == 0 || again != took || err != nil || err2 != nil {
		t.Errorf("healed, the count is %d, then %d (%v, %v)", took, again, err, err2)
	}
}

// What a connection has sent into a partition arrives when it is healed.
func TestConnectionsOutliveAPartition(t *testing.T) {
	n := stand(t, cluster)
	tcpServer(t, host(t, n, "n2"), 4222)
	conn := connection(t, n, "n1", "n2")
	if err := n.Partition([][]string{{"n1"}, {"n2", "n3"}}); err != nil {
		t.Fatal(err)
	}
	if err := converse(conn, brief); err == nil {
		t.Fatal("an answer came over a partition")
	}
	if err := n.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := converse(conn, patient); err != nil {
		t.Errorf("after the partition: %v", err)
	}
}

func TestPartitionsThatCannotBe(t *testing.T) {
	n := stand(t, cluster)
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
	tcpServer(t, host(t, n, "n2"), 4222)
	if !speaks(t, n, "tcp4", "n1", "n2", 4222, patient) {
		t.Error("a partition that was refused parts")
	}
}
