//go:build linux

package ruleset_test

import (
	"regexp"
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

func TestRenderMappings(t *testing.T) {
	tests := []struct {
		b    nat.Behavior
		want string
	}{
		{nat.Behavior{Ports: nat.Sequential},
			"udp 192.168.1.10:5000 → 198.18.0.1:1024 (to any) expires 5m; from any\n"},
		{nat.Behavior{Ports: nat.Sequential, Filtering: nat.AddressDependent},
			"udp 192.168.1.10:5000 → 198.18.0.1:1024 (to any) expires 5m; from 198.18.0.10 for 5m, from 198.18.0.11 for 5m\n"},
		{nat.Behavior{Ports: nat.Sequential, Mapping: nat.AddressDependent, Filtering: nat.AddressAndPortDependent},
			"udp 192.168.1.10:5000 → 198.18.0.1:1024 (to 198.18.0.10) expires 5m; from 198.18.0.10:3478 for 5m\n" +
				"udp 192.168.1.10:5000 → 198.18.0.1:1025 (to 198.18.0.11) expires 5m; from 198.18.0.11:3478 for 5m\n"},
		{nat.Behavior{Ports: nat.Sequential, Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressDependent, Scope: nat.ScopeEndpoint},
			"udp 192.168.1.10:5000 → 198.18.0.1:1024 (to 198.18.0.10:3478) expires 5m; from 198.18.0.10 for 5m, from 198.18.0.11 for 5m\n" +
				"udp 192.168.1.10:5000 → 198.18.0.1:1025 (to 198.18.0.11:3478) expires 5m; from 198.18.0.10 for 5m, from 198.18.0.11 for 5m\n"},
	}
	for _, tt := range tests {
		t.Run(tt.b.String(), func(t *testing.T) {
			n := behind(t, tt.b, 1)
			if ms, err := ruleset.Mappings(n.conn); err != nil || ruleset.RenderMappings(ms) != "no mappings\n" {
				t.Errorf("before any packet: %v, error %v", ms, err)
			}
			inside := n.hosts[0].udp(hostAddr(0) + ":5000")
			mapped(inside, n.outside.udp(outsideA+":3478"))
			mapped(inside, n.outside.udp(outsideB+":3478"))
			ms, err := ruleset.Mappings(n.conn)
			must(t, err)
			// A moment has passed since.
			got := regexp.MustCompile(`4m59\.[0-9]s|5m0s`).ReplaceAllString(ruleset.RenderMappings(ms), "5m")
			if got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// The rules read as what they do. This is not all of the text, but each kind of
// statement.
func TestRender(t *testing.T) {
	n := newNetwork(t, 1)
	b := nat.Behavior{
		Filtering: nat.AddressAndPortDependent, Range: nat.PortRange{Low: 40000, High: 49999},
		Hairpin: nat.HairpinExternal, Pooling: nat.PoolPaired,
	}
	must(t, ruleset.Install(n.conn, n.config(b, 2)))
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Router: "r", Outside: "wan", Policy: nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{3478}}}))
	server := n.outside.udp(outsideA + ":3478")
	ext := mapped(n.hosts[0].udp(hostAddr(0)+":41000"), server)
	reaches(server, ext, server)
	n.outside.udp(outsideA+":9999").send(ext, "stranger")

	got, err := ruleset.Render(n.conn)
	must(t, err)
	for _, want := range []string{
		"table firewall\n",
		"  chain firewall (forward, priority -10)\n",
		"    # UDP leaves to some ports only\n    ip protocol == udp; dport not in @udp_ports; counter 0 packets 0 bytes; drop\n",
		"    # an answer, udp\n    ip protocol == udp; ip protocol . ip daddr . dport . ip saddr . sport in @flows; refresh @flows { ip protocol . ip daddr . dport . ip saddr . sport } for 5m0s; accept\n",
		"  set udp_ports: inet_service\n    3478\n",
		"table nat\n",
		"  chain untrack (prerouting, priority -310)\n    # defragment, but do not track\n    defragment (ct state); notrack\n",
		"    iifname == \"wan\"; ip daddr in @external; goto inbound\n",
		"  chain udp_attempt\n    # take the next port, if it is free\n    hash(ip saddr) mod 2 in @pool; add @udp_used { external address . next of 40000-49999 } once; " +
			"add @udp_in { external address . next of 40000-49999 : ip saddr . sport }; add @udp_out { ip saddr . sport : external address . next of 40000-49999 }; goto udp_translate\n",
		"    # translate and refresh, without checksum\n    udp checksum == 0; ip saddr . sport in @udp_out; refresh @udp_out { ip saddr . sport : external address . external port }; " +
			"refresh @udp_in { external address . external port : ip saddr . sport }; refresh @udp_filter { external address . external port . ip daddr . dport }; " +
			"ip saddr := external address; sport := external port (no checksum); refresh @udp_used { external address . external port } once\n",
		"    # the mapping's filter does not let the sender in\n    ip daddr . dport in @udp_in; counter 1 packets 36 bytes; drop\n",
		"    … 4 times\n",
		"  set udp_filter: ipv4_addr . inet_service . ipv4_addr . inet_service, timeout 5m0s, at most 131072\n    " + ext.Addr().String() + " . 41000 . 198.18.0.10 . 3478 expires ",
		"  map udp_out: ipv4_addr . inet_service : ipv4_addr . inet_service, timeout 5m0s, at most 131072\n    192.168.1.10 . 41000 : " + ext.Addr().String() + " . 41000 expires ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the text lacks\n%s", want)
		}
	}
	if strings.Contains(got, "byteorder") || strings.Contains(got, "@nh") || strings.Contains(got, "@th") || strings.Contains(got, ":=  ") {
		t.Errorf("the text has parts that nobody understands")
	}
	if t.Failed() {
		t.Logf("the text is\n%s", got)
	}
}

// Sums, blocks, rotation and streams read as what they do, and not as how.
func TestRenderAxes(t *testing.T) {
	for _, tt := range []struct {
		behavior string
		want     []string
	}{
		{"ports=sequential,delta=5,range=40000-49999", []string{
			"add @udp_used { 198.18.0.1 . 40000 + next of 0-1999 + 4 × next of 0-1999 } once;",
		}},
		{"ports=random,parity=keep,range=40000-49999", []string{
			"# even: take a random port, if it is free\n    sport mod 2 == 0; add @udp_used { 198.18.0.1 . 40000 + 2 × random of 0-4999 } once;",
			"# odd: take a random port, if it is free\n    sport mod 2 == 1; add @udp_used { 198.18.0.1 . 40001 + 2 × random of 0-4999 } once;",
		}},
		{"ports=block,block=64,range=40000-49999,rotate=1h,stream=10m", []string{
			"# take the next block, if it is free\n    add @udp_block_used { 198.18.0.1 . 40000 + 64 × next of 0-155 } once; add @udp_block { ip saddr . 198.18.0.1 : 40000 + 64 × next of 0-155 }\n",
			"ip saddr . 198.18.0.1 in @udp_block; add @udp_used { 198.18.0.1 . first port of the block + random of 0-63 } once; refresh @udp_born { 198.18.0.1 . first port of the block + random of 0-63 }; delete @udp_replied {",
			"# forget a mapping that is too old; its port stays used until it were idle\n    ip saddr . sport in @udp_out; external address . external port not in @udp_born; delete @udp_in { external address . external port }; delete @udp_out { ip saddr . sport }\n",
			"external address . external port in @udp_replied; refresh @udp_out { ip saddr . sport : external address . external port } for 10m0s;",
			"map udp_block: ipv4_addr . ipv4_addr : inet_service, timeout 10m0s, at most 65536\n    192.168.1.10 . 198.18.0.1 : 40000 expires 10m0s\n",
			"set udp_born: ipv4_addr . inet_service, timeout 1h0m0s",
		}},
	} {
		t.Run(tt.behavior, func(t *testing.T) {
			b, err := nat.ParseBehavior(tt.behavior)
			must(t, err)
			n := behind(t, b, 1)
			mapped(n.hosts[0].udp(hostAddr(0)+":41000"), n.outside.udp(outsideA+":3478"))
			// A moment has passed since.
			got := regexp.MustCompile(`9m59\.[0-9]s`).ReplaceAllString(n.dump(), "10m0s")
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("the text lacks\n%s", want)
				}
			}
			if strings.Contains(got, "checksum :=") || strings.Contains(got, "ip id") || strings.Contains(got, "bitwise") {
				t.Errorf("the text shows how sums are made")
			}
			if t.Failed() {
				t.Logf("the text is\n%s", got)
			}
		})
	}
}
