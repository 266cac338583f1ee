//go:build linux

package ruleset_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// A swap changes the behaviour, loses the mappings, and restarts the counters.
func TestSwap(t *testing.T) {
	sequential := nat.Behavior{Ports: nat.Sequential, Range: nat.PortRange{Low: 40000, High: 49999}}
	n := behind(t, sequential, 1)
	inside, server, other := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478"), n.outside.udp(outsideB+":3478")
	ext := mapped(inside, server)
	for range 5 {
		mapped(n.hosts[0].udp(hostAddr(0)+":0"), server)
	}

	symmetric := sequential
	symmetric.Mapping, symmetric.Filtering = nat.AddressAndPortDependent, nat.AddressAndPortDependent
	n.install(symmetric)
	if reaches(server, ext, inside) {
		t.Errorf("the mapping to %v outlived the swap", ext)
	}
	first, second := mapped(inside, server), mapped(inside, other)
	if first.Port() != 40000 || second.Port() != 40001 {
		t.Errorf("after the swap: %v and %v, want ports 40000 and 40001", first, second)
	}
}

// No packet passes a swap untranslated.
func TestSwapUnderTraffic(t *testing.T) {
	n := behind(t, nat.Behavior{}, 1)
	n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
	inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				inside.WriteToUDPAddrPort([]byte("traffic"), server.local())
			}
		}
	}()
	for i := range 10 {
		n.install([]nat.Behavior{portRestricted, {}}[i%2])
		for from, _, ok := server.poll(); ok; from, _, ok = server.poll() {
			if from.Addr() != externalAddrs[0] {
				t.Fatalf("swap %d: a packet came from %v", i, from)
			}
		}
	}
	close(stop)
	<-stopped
}

// A reboot loses all state and may bring another address.
func TestFlush(t *testing.T) {
	n := newNetwork(t, 1)
	cfg := n.config(nat.Behavior{Ports: nat.Sequential, Range: nat.PortRange{Low: 40000, High: 49999}}, 1)
	must(t, ruleset.Install(n.conn, cfg))
	inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
	ext := mapped(inside, server)
	mapped(n.hosts[0].udp(hostAddr(0)+":0"), server)

	must(t, ruleset.Flush(n.conn, cfg))
	ms, err := ruleset.Mappings(n.conn)
	must(t, err)
	if len(ms) > 0 || reaches(server, ext, inside) {
		t.Errorf("mappings outlived the reboot: %v", ms)
	}
	if got := mapped(inside, server); got != ext {
		t.Errorf("the counter did not start anew: %v, want %v", got, ext)
	}

	cfg.External = externalAddrs[1:2]
	must(t, ruleset.Flush(n.conn, cfg))
	if reaches(server, ext, inside) {
		t.Errorf("the old address %v still leads inside", ext)
	}
	if got, want := mapped(inside, server), netip.AddrPortFrom(externalAddrs[1], 40000); got != want {
		t.Errorf("mapped to %v, want %v", got, want)
	}
}

func TestRemove(t *testing.T) {
	n := behind(t, nat.Behavior{}, 0)
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Router: "r", Outside: "wan", Policy: nat.Firewall{Inbound: nat.InboundReplies}}))
	for range 2 { // the second time there is nothing to remove
		must(t, ruleset.Remove(n.conn))
		must(t, ruleset.RemoveFirewall(n.conn))
	}
	if got := n.dump(); got != "no rules\n" {
		t.Errorf("left behind:\n%s", got)
	}
}

func TestConfigErrors(t *testing.T) {
	n := newNetwork(t, 0)
	good := n.config(nat.Behavior{}, 1)
	tests := []struct {
		name   string
		change func(*ruleset.Config)
		want   string
	}{
		{"IPv6", func(c *ruleset.Config) { c.External = []netip.Addr{netip.MustParseAddr("2001:db8::1")} },
			"router r: NAT mapping=EIM,filtering=EIF,ports=preserve: external address 2001:db8::1: translation of IPv6 (NAT66, NAT64) is missing"},
		{"no address", func(c *ruleset.Config) { c.External = nil }, "no external address"},
		{"zero address", func(c *ruleset.Config) { c.External = make([]netip.Addr, 1) }, "external address 1 of 1 is the zero netip.Addr"},
		{"twice", func(c *ruleset.Config) { c.External = append(c.External, c.External[0]) }, "198.18.0.1 is given twice"},
		{"no interface", func(c *ruleset.Config) { c.Outside = "" }, "no outside interface"},
		{"long interface", func(c *ruleset.Config) { c.Outside = "sixteen-bytes-lo" }, "names have at most 15 bytes"},
		{"eviction", func(c *ruleset.Config) { c.Behavior.Full = nat.FullEvict }, "router r: NAT mapping=EIM,filtering=EIF,ports=preserve,full=evict: full=evict: nftables can"},
		{"invalid behaviour", func(c *ruleset.Config) { c.Behavior.Timeout = time.Microsecond }, "timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good
			tt.change(&cfg)
			err := ruleset.Install(n.conn, cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
		})
	}
	if got := n.dump(); got != "no rules\n" {
		t.Errorf("a refused configuration left rules:\n%s", got)
	}
}
