//go:build linux

package ruleset_test

import (
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// A fingerprint tells rules that somebody changed from rules that traffic used.
func TestFingerprint(t *testing.T) {
	n := behind(t, portRestricted, 1)
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Outside: "eth0", Policy: nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{3478, 3479}}}))
	fingerprint := func() string {
		t.Helper()
		f, err := ruleset.Fingerprint(n.conn)
		must(t, err)
		return f
	}
	first := fingerprint()
	mapped(n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478"))
	if fingerprint() != first {
		t.Error("traffic changed it")
	}
	n.install(portRestricted)
	if fingerprint() != first {
		t.Error("another installation of the same behaviour changed it")
	}
	for _, other := range []string{
		"mapping=EIM,filtering=ADF", "symmetric", "port-restricted-cone,timeout=5s", "port-restricted-cone,ports=random",
		"port-restricted-cone,range=2000-3000",
	} {
		b, err := nat.ParseBehavior(other)
		must(t, err)
		n.install(b)
		if fingerprint() == first {
			t.Errorf("%s has the fingerprint of a port-restricted cone", other)
		}
	}
	n.install(portRestricted)
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Outside: "eth0", Policy: nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{3478, 3480}}}))
	if fingerprint() == first {
		t.Error("a firewall that lets out to other ports has the same")
	}
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Outside: "eth0", Policy: nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{3478, 3479}}}))
	if fingerprint() != first {
		t.Error("the first rules again have another")
	}

	// Somebody else's table counts as well.
	foreign := n.conn.AddTable(&nftables.Table{Name: "somebody", Family: nftables.TableFamilyINet})
	chain := n.conn.AddChain(&nftables.Chain{
		Name: "forward", Table: foreign, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	n.conn.AddRule(&nftables.Rule{Table: foreign, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}})
	must(t, n.conn.Flush())
	if fingerprint() == first {
		t.Error("a foreign rule that drops all goes unnoticed")
	}
}
