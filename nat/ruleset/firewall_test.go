//go:build linux

package ruleset_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// walled makes a network whose router has a firewall and no NAT.
func walled(t *testing.T, fw nat.Firewall) *network {
	n := newNetwork(t, 1)
	n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Router: "r", Outside: "wan", Policy: fw}))
	return n
}

// One UDP flow to port 3478, one to port 5000, and a stranger.
func TestFirewall(t *testing.T) {
	tests := []struct {
		fw              nat.Firewall
		to3478, to5000  bool // may leave
		answer, strange bool // may enter: an answer from port 3478, a stranger's datagram
	}{
		{nat.Firewall{}, true, true, true, true},
		{nat.Firewall{Inbound: nat.InboundReplies}, true, true, true, false},
		{nat.Firewall{OutboundUDP: []uint16{3478}}, true, false, true, true},
		{nat.Firewall{OutboundUDP: []uint16{53, 3478}, Inbound: nat.InboundReplies}, true, false, true, false},
		{nat.Firewall{OutboundUDP: []uint16{}}, false, false, true, true},
		{nat.Firewall{OutboundUDP: []uint16{}, Inbound: nat.InboundReplies}, false, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.fw.String(), func(t *testing.T) {
			n := walled(t, tt.fw)
			inside := n.hosts[0].udp(hostAddr(0) + ":7000")
			turn, game := n.outside.udp(outsideA+":3478"), n.outside.udp(outsideA+":5000")
			stranger := n.outside.udp(outsideA + ":3479")
			for _, c := range []struct {
				what string
				got  bool
				want bool
			}{
				{"to port 3478", reaches(inside, turn.local(), turn), tt.to3478},
				{"to port 5000", reaches(inside, game.local(), game), tt.to5000},
				{"an answer from port 3478", reaches(turn, inside.local(), inside), tt.answer},
				{"a stranger's datagram", reaches(stranger, inside.local(), inside), tt.strange},
			} {
				if c.got != c.want {
					t.Errorf("%s: passes %v, want %v\n%s", c.what, c.got, c.want, n.dump())
				}
			}
		})
	}
}

// Errors and pings pass as what they belong to; the firewall of a router with a
// NAT sees inside addresses.
func TestFirewallWithNAT(t *testing.T) {
	n := behind(t, nat.Behavior{Ports: nat.Sequential}, 1) // lets anyone in
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Router: "r", Outside: "wan", Policy: nat.Firewall{Inbound: nat.InboundReplies}}))
	inside := n.hosts[0].udp(hostAddr(0) + ":7000")
	peer, stranger := n.outside.udp(outsideA+":3478"), n.outside.udp(outsideB+":3478")
	ext := mapped(inside, peer)
	if reaches(stranger, ext, inside) {
		t.Error("a stranger's datagram passes the NAT's mapping and the firewall")
	}
	if !reaches(peer, ext, inside) {
		t.Error("an answer does not pass")
	}
	if ms, err := ruleset.Mappings(n.conn); err != nil || len(ms) != 1 {
		t.Errorf("mappings %v, error %v", ms, err)
	}
	fails(t, n.hosts[0].connected(hostAddr(0)+":5000", outsideA+":9"), unix.ECONNREFUSED)
	ping := n.hosts[0].raw(hostAddr(0), unix.IPPROTO_ICMP)
	ping.sendTo(outsideA, echo(8, 7777, 1))
	ping.expectEcho(0, 7777, 1)
}

// ratemask lets the namespace of the calling thread make as many ICMP errors as it
// likes.
func ratemask() error {
	return os.WriteFile("/proc/sys/net/ipv4/icmp_ratemask", []byte("0"), 0o644)
}
