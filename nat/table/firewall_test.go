package table_test

import (
	"net/netip"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// TestFirewallKinds: a conversation with each kind of firewall. A host inside is
// 10.0.0.1, its neighbour 10.0.0.2, and 198.18.0.x are outside.
func TestFirewallKinds(t *testing.T) {
	type step struct {
		way      string // out, in, between, login, reboot
		protocol table.Protocol
		from, to string
		at       time.Duration
		drop     table.Drop
		answer   table.Answer
	}
	const (
		a, b, s = "10.0.0.1:5000", "10.0.0.2:5000", "198.18.0.1:"
		udp     = table.UDP
		tcp     = table.TCP
		echo    = table.ICMPEcho
	)
	for _, tt := range []struct {
		firewall string
		steps    []step
	}{
		{"udp-blocked", []step{
			{"out", udp, a, s + "3478", 0, table.PortBlocked, table.Silence},
			{"in", udp, s + "3478", a, 0, table.Unsolicited, table.Silence},
			{"out", tcp, a, s + "80", 0, table.Passed, 0},
			{"in", tcp, s + "80", a, 0, table.Passed, 0},
			{"out", echo, "10.0.0.1:7", s + "0", 0, table.Passed, 0},
		}},
		{"tcp-443-only,reject=out", []step{
			{"out", tcp, a, s + "443", 0, table.Passed, 0},
			{"in", tcp, s + "443", a, 0, table.Passed, 0},
			{"out", tcp, a, s + "80", 0, table.PortBlocked, table.Prohibited},
			{"out", udp, a, s + "53", 0, table.PortBlocked, table.Prohibited},
			{"out", echo, "10.0.0.1:7", s + "0", 0, table.ProtocolBlocked, table.Prohibited},
			{"in", tcp, s + "80", a, 0, table.Unsolicited, table.Silence},
		}},
		{"tcp-443-only,reject=both,tcp-reject=reset", []step{
			{"out", tcp, a, s + "80", 0, table.PortBlocked, table.Reset},
			{"out", udp, a, s + "53", 0, table.PortBlocked, table.Prohibited},
			{"in", tcp, s + "80", a, 0, table.Unsolicited, table.Prohibited},
		}},
		{"open,tcp=443", []step{ // who may begin from outside is answered
			{"out", tcp, a, s + "80", 0, table.PortBlocked, table.Silence},
			{"in", tcp, s + "80", a, 0, table.Passed, 0},
			{"out", tcp, a, s + "80", 0, table.Passed, 0},
		}},
		{"captive-portal,portal=10m,reject=out", []step{
			{"out", udp, a, s + "3478", 0, table.NotLoggedIn, table.Prohibited},
			{"out", tcp, a, s + "443", 0, table.NotLoggedIn, table.Prohibited},
			{"out", tcp, a, s + "80", 0, table.Redirected, table.Silence},
			{"in", udp, s + "3478", a, 0, table.NotLoggedIn, table.Silence},
			{"between", tcp, a, "10.0.0.2:80", 0, table.Redirected, table.Silence},
			{way: "login", from: a, at: time.Minute},
			{"out", tcp, a, s + "80", time.Minute, table.Passed, 0},
			{"out", udp, a, s + "3478", time.Minute, table.Passed, 0},
			{"in", udp, s + "3478", a, time.Minute, table.Passed, 0},
			{"in", udp, s + "3479", a, time.Minute, table.Unsolicited, table.Silence},
			{"out", udp, b, s + "3478", time.Minute, table.NotLoggedIn, table.Prohibited},
			{"between", udp, a, b, time.Minute, table.NotLoggedIn, table.Prohibited},
			{"between", udp, b, a, time.Minute, table.NotLoggedIn, table.Prohibited},
			{"out", tcp, a, s + "80", 11*time.Minute - 1, table.Passed, 0},
			{"out", tcp, a, s + "80", 11 * time.Minute, table.Redirected, table.Silence},
			{"in", tcp, s + "80", a, 11 * time.Minute, table.NotLoggedIn, table.Silence},
			{way: "login", from: a, at: 12 * time.Minute},
			{"out", tcp, a, s + "80", 12 * time.Minute, table.Passed, 0},
			{way: "reboot"},
			{"out", tcp, a, s + "80", 12 * time.Minute, table.Redirected, table.Silence},
		}},
		{"open,portal=on", []step{
			{way: "login", from: b},
			{"between", udp, b, "10.0.0.3:1", 365 * 24 * time.Hour, table.NotLoggedIn, table.Silence},
			{way: "login", from: "10.0.0.3:1", at: 0},
			{"between", udp, b, "10.0.0.3:1", 365 * 24 * time.Hour, table.Passed, 0},
			{"in", udp, s + "1", b, 365 * 24 * time.Hour, table.Passed, 0},
		}},
		{"open", []step{
			{way: "login", from: a}, // nobody asks for it
			{"out", udp, a, s + "1", 0, table.Passed, 0},
		}},
	} {
		policy, err := nat.ParseFirewall(tt.firewall)
		if err != nil {
			t.Fatal(err)
		}
		f, err := table.NewFirewall(policy, nat.Access[[]netip.Addr]{})
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range tt.steps {
			at := time.Time{}.Add(step.at)
			p := table.Packet{Protocol: step.protocol}
			if step.to != "" {
				p.Src, p.Dst = netip.MustParseAddrPort(step.from), netip.MustParseAddrPort(step.to)
			}
			var v table.Verdict
			switch step.way {
			case "login":
				f.Login(at, netip.MustParseAddrPort(step.from).Addr())
				continue
			case "reboot":
				f.Reboot()
				continue
			case "out":
				v = f.Outbound(at, p)
			case "in":
				v = f.Inbound(at, p)
			case "between":
				v = f.Between(at, p)
			}
			if v.Drop != step.drop || v.Answer != step.answer || v.Packet != p {
				t.Errorf("%s, step %d, %s %v: %v, answer %d; want %v, answer %d", tt.firewall, i+1, step.way, p, v, v.Answer, step.drop, step.answer)
			}
		}
	}
}
