//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

func ports(text string) (all []nat.PortRange) {
	for _, word := range strings.Split(text, ", ") {
		r, err := nat.ParsePort(word)
		if err != nil {
			panic(err)
		}
		all = append(all, r)
	}
	return all
}

func scanned(tb testing.TB, n *kernel.Network, from string, s sim.Scan) sim.ScanResult {
	tb.Helper()
	result, err := host(tb, n, from).Scan(tb.Context(), s)
	if err != nil {
		tb.Fatal(err)
	}
	return result
}

// Every port of every host of the zones, from outside and from inside; what is
// found is what the file lets, and no more.
func TestScansFindTheHolesAndNothingElse(t *testing.T) {
	n := stand(t, zones)
	tcpServer(t, host(t, n, "agent"), 443)
	tcpServer(t, host(t, n, "nats"), 4222)
	udpServer(t, host(t, n, "udp"), 3478)
	packets := len(n.Packets())
	all := []netip.Addr{addressOf(n, "agent"), addressOf(n, "udp"), addressOf(n, "nats"), addressOf(n, "shard")}
	for _, tt := range []struct {
		from string
		port uint16
		want string
	}{
		{"stranger", 0, "agent tcp 443; udp udp 3478, 49152-49200"},
		{"agent", 0, "nats tcp 4222"},
		{"agent", 4222, "nats tcp 4222"},
		{"udp", 443, "nothing"},
	} {
		s := sim.Scan{From: netip.AddrPortFrom(netip.Addr{}, tt.port), Rate: 1e6}
		for _, a := range all {
			if a != addressOf(n, tt.from) {
				s.Targets = append(s.Targets, a)
			}
		}
		got := scanned(t, n, tt.from, s)
		t.Logf("%s: %d probes in %v, %d answers", tt.from, got.Sent, got.Took, len(got.Answers))
		if got.String() != tt.want {
			t.Errorf("from %s port %d there is reached: %s\nwant: %s", tt.from, tt.port, got, tt.want)
		}
		if want := 2 * 65535 * len(s.Targets); got.Sent != want {
			t.Errorf("from %s: %d probes, want %d", tt.from, got.Sent, want)
		}
	}
	// Through a NAT, whose tables bound a scan.
	got := scanned(t, n, "client", sim.Scan{Targets: all, TCP: ports("1-4300"), UDP: ports("3400-3500, 49100-49300")})
	if want := "agent tcp 443; udp udp 3478, 49152-49200"; got.String() != want {
		t.Errorf("from behind a NAT there is reached: %s\nwant: %s", got, want)
	}
	if more := len(n.Packets()) - packets; more > 2000 {
		t.Errorf("the lab's captures took %d packets of the scans", more)
	}
	if err := n.Err(); err != nil {
		t.Error(err)
	}
}

// What answers is told apart: a server, a closed port, silence.
func TestScansTellAnswers(t *testing.T) {
	n := stand(t, `
lab:
  routers:
    quiet: {firewall: {inbound: replies, allow: [{tcp: 5000-5010, udp: 5000-5010}]}}
  hosts:
    scanner: {}
    open: {}
    walled: {behind: quiet}
`)
	for _, name := range []string{"open", "walled"} {
		tcpServer(t, host(t, n, name), 5001)
		udpServer(t, host(t, n, name), 5002)
	}
	packets := len(n.Packets())
	open, walled := addressOf(n, "open"), addressOf(n, "walled")
	got := scanned(t, n, "scanner", sim.Scan{Targets: []netip.Addr{open, walled}, TCP: ports("4990-5020"), UDP: ports("5000-5002")})
	for _, tt := range []struct {
		target netip.Addr
		t      sim.Transport
		kind   sim.AnswerKind
		want   string
	}{
		{open, sim.TCP, sim.SynAck, "5001"},
		{open, sim.TCP, sim.Reset, "4990-5000, 5002-5020"},
		{open, sim.UDP, sim.Datagram, "5002"},
		{open, sim.UDP, sim.Error, "5000-5001"},
		{walled, sim.TCP, sim.SynAck, "5001"},
		{walled, sim.TCP, sim.Reset, "5000, 5002-5010"},
		{walled, sim.UDP, sim.Datagram, "5002"},
		{walled, sim.UDP, sim.Error, "5000-5001"},
	} {
		if answered := got.Answered(tt.target, tt.t, tt.kind); nat.FormatPorts(answered) != tt.want {
			t.Errorf("%s of %s: %s from ports %s, want %s", tt.t, tt.target, tt.kind, nat.FormatPorts(answered), tt.want)
		}
	}
	if got, want := got.String(), "open tcp 4990-5020; open udp 5000-5002; walled tcp 5000-5010; walled udp 5000-5002"; got != want {
		t.Errorf("reached: %s\nwant: %s", got, want)
	}
	// Captures have what servers said, at three or more places each, and the
	// kernel's resets for it, but neither probes nor refusals.
	for _, p := range n.Packets()[packets:] {
		if p.Data[1] == 63<<2 {
			t.Errorf("a probe or its refusal was captured at %v: %x", p.Point, p.Data)
		}
	}
}

// A scan with somebody else's address reaches nobody.
func TestSpoofedScansReachNobody(t *testing.T) {
	n := stand(t, zones)
	for _, tt := range []struct{ from, as string }{
		{"udp", "agent"}, {"udp", "nats"}, {"stranger", "agent"}, {"shard", "nats"},
	} {
		s := sim.Scan{
			Targets: []netip.Addr{addressOf(n, "nats"), addressOf(n, "agent")},
			From:    netip.AddrPortFrom(addressOf(n, tt.as), 0), TCP: ports("1-5000"), UDP: ports("1-5000"),
		}
		if got := scanned(t, n, tt.from, s); got.String() != "nothing" {
			t.Errorf("%s as %s reached: %s", tt.from, tt.as, got)
		}
	}
}

// A hole that somebody makes shows.
func TestScansFindAHoleThatWasMade(t *testing.T) {
	n := stand(t, strings.Replace(zones, "[{from: agent, to: nats, tcp: [4222]}]", "[{from: agent, to: nats, tcp: [4222]}, {to: nats, udp: [31337]}]", 2))
	got := scanned(t, n, "agent", sim.Scan{Targets: []netip.Addr{addressOf(n, "nats")}})
	if got.String() != "nats tcp 4222; nats udp 31337" {
		t.Errorf("reached: %s", got)
	}
}

func TestScansOverImpairedLinks(t *testing.T) {
	n := stand(t, `
lab:
  hosts: {scanner: , target: }
  links: {scanner: {delay: 20ms}, target: {delay: 5ms}}
`)
	target := addressOf(n, "target")
	got := scanned(t, n, "scanner", sim.Scan{Targets: []netip.Addr{target}, TCP: ports("1-30000"), UDP: []nat.PortRange{}})
	if want := ports("1-30000"); !slices.Equal(got.Ports("target", sim.TCP), want) || !slices.Equal(got.Answered(target, sim.TCP, sim.Reset), want) {
		t.Errorf("reached: %s, refused %s", got, nat.FormatPorts(got.Answered(target, sim.TCP, sim.Reset)))
	}
}

func TestScansThatCannotBe(t *testing.T) {
	n := stand(t, pair)
	own, relay := addressOf(n, "a"), addressOf(n, "relay")
	for _, tt := range []struct {
		scan sim.Scan
		says string
	}{
		{sim.Scan{}, "0 targets are not between 1 and 1000"},
		{sim.Scan{Targets: []netip.Addr{own}}, "the host's own address"},
		{sim.Scan{Targets: []netip.Addr{netip.IPv6Loopback()}}, "not an IPv4 address"},
		{sim.Scan{Targets: []netip.Addr{relay}, TCP: []nat.PortRange{{Low: 2, High: 1}}}, "no range of ports"},
		{sim.Scan{Targets: []netip.Addr{relay}, TCP: ports("1"), UDP: ports("1"), Rate: -1}, "below zero"},
		{sim.Scan{Targets: []netip.Addr{relay}}, "the tables of the NAT nat-a have no room for 131070 probes"},
	} {
		if _, err := host(t, n, "a").Scan(t.Context(), tt.scan); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v, want %q", tt.scan, err, tt.says)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := host(t, n, "rendezvous").Scan(ctx, sim.Scan{Targets: []netip.Addr{relay}, Rate: 1000}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a scan whose time is over: %v", err)
	}
}

// BenchmarkScan scans all ports of a host behind two firewalls.
func BenchmarkScan(b *testing.B) {
	n := stand(b, zones)
	s := sim.Scan{Targets: []netip.Addr{addressOf(n, "nats")}, Rate: 1e6}
	for b.Loop() {
		got := scanned(b, n, "agent", s)
		if want := fmt.Sprintf("nats tcp %d", 4222); got.String() != want {
			b.Fatalf("reached: %s, want %s", got, want)
		}
		b.ReportMetric(float64(got.Sent)/got.Took.Seconds(), "probes/s")
	}
}
