//go:build linux

package kernel_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// zones is Internet | DMZ | internal network.
const zones = `
lab:
  routers:
    home: {nat: port-restricted-cone}
    dmz:
      firewall:
        inbound: replies
        allow: [{to: agent, tcp: [443]}, {to: udp, udp: [3478, 49152-49200]}]
        outbound: none
        between: [{from: agent, to: nats, tcp: [4222]}]
    inside:
      behind: dmz
      firewall:
        inbound: replies
        allow: [{from: agent, to: nats, tcp: [4222]}]
        outbound: none
        between: [{from: shard, to: nats, tcp: 4222}, {from: nats, to: shard, udp: 7000}]
  hosts:
    client: {behind: home}
    stranger: {}
    agent: {behind: dmz}
    udp: {behind: dmz}
    nats: {behind: inside}
    shard: {behind: inside}
`

// tcpServer answers each connection with what it is sent.
func tcpServer(tb testing.TB, h *kernel.Host, port int) {
	tb.Helper()
	l, err := h.Listen(context.Background(), "tcp4", fmt.Sprintf(":%d", port))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
}

// udpServer answers each datagram with what it is sent.
func udpServer(tb testing.TB, h *kernel.Host, port int) {
	tb.Helper()
	conn, err := h.ListenPacket(context.Background(), "udp4", fmt.Sprintf(":%d", port))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(b[:n], from)
		}
	}()
}

// converse sends a word over a connection and waits for it to come back.
func converse(conn net.Conn, patience time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 5))
	return err
}

// speaks says whether a host gets an answer from another's port.
func speaks(tb testing.TB, n *kernel.Network, network, from, to string, port uint16, patience time.Duration) bool {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	conn, err := host(tb, n, from).Dial(ctx, network, netip.AddrPortFrom(addressOf(n, to), port).String())
	if err != nil {
		return false
	}
	defer conn.Close()
	return converse(conn, patience) == nil
}

func TestOnlyHolesLeadIntoZones(t *testing.T) {
	n := stand(t, zones)
	for _, name := range []string{"client", "stranger", "agent", "udp", "nats", "shard"} {
		for _, port := range []int{443, 4222, 7000} {
			tcpServer(t, host(t, n, name), port)
		}
		for _, port := range []int{443, 3478, 7000, 49152, 49200, 49201} {
			udpServer(t, host(t, n, name), port)
		}
	}
	for _, tt := range []struct {
		network, from, to string
		port              uint16
		passes            bool
	}{
		{"tcp4", "stranger", "agent", 443, true},
		{"tcp4", "client", "agent", 443, true},
		{"tcp4", "stranger", "agent", 4222, false},
		{"udp4", "stranger", "agent", 443, false},
		{"udp4", "client", "udp", 3478, true},
		{"udp4", "client", "udp", 49152, true},
		{"udp4", "client", "udp", 49200, true},
		{"udp4", "client", "udp", 49201, false},
		{"tcp4", "client", "udp", 443, false},
		{"tcp4", "stranger", "nats", 4222, false},
		{"tcp4", "stranger", "nats", 443, false},
		{"udp4", "stranger", "shard", 7000, false},

		{"tcp4", "agent", "nats", 4222, true},
		{"udp4", "agent", "nats", 3478, false},
		{"tcp4", "agent", "shard", 4222, false},
		{"tcp4", "agent", "udp", 443, false},
		{"tcp4", "udp", "nats", 4222, false},
		{"tcp4", "agent", "stranger", 443, false},
		{"udp4", "udp", "stranger", 7000, false},

		{"tcp4", "shard", "nats", 4222, true},
		{"tcp4", "nats", "shard", 4222, false},
		{"udp4", "nats", "shard", 7000, true},
		{"udp4", "shard", "nats", 7000, false},
		{"tcp4", "nats", "agent", 443, false},
		{"tcp4", "shard", "stranger", 443, false},
	} {
		patience := patient
		if !tt.passes {
			patience = brief
		}
		if got := speaks(t, n, tt.network, tt.from, tt.to, tt.port, patience); got != tt.passes {
			rules, _ := router(t, n, "dmz").Rules()
			t.Errorf("%s from %s to port %d of %s: answered %v, want %v\n%s", tt.network, tt.from, tt.port, tt.to, got, tt.passes, rules)
		}
	}
	counts, err := router(t, n, "dmz").Firewall()
	if err != nil {
		t.Fatal(err)
	}
	var began []string
	for _, r := range counts.Rules {
		began = append(began, fmt.Sprintf("%s %s: %d", r.List, sim.DescribeRule(r.Rule), r.Began))
	}
	want := "allow any → agent TCP 443: 2; allow any → udp UDP 3478, 49152-49200: 3; between agent → nats TCP 4222: 1"
	if got := strings.Join(began, "; "); got != want {
		t.Errorf("the rules of the dmz let begin: %s\nwant: %s", got, want)
	}
	if counts.Entering == 0 || counts.Leaving == 0 || counts.Between == 0 || counts.Spoofed != 0 {
		t.Errorf("the dmz dropped %+v; want some of each direction and none spoofed", counts)
	}
}

// A hole is for the flow that began by it, not for its hosts.
func TestAnAnswerIsNoWayBack(t *testing.T) {
	n := stand(t, zones)
	tcpServer(t, host(t, n, "nats"), 4222)
	conn, err := host(t, n, "agent").Dial(t.Context(), "tcp4", netip.AddrPortFrom(addressOf(n, "nats"), 4222).String())
	if err != nil {
		t.Fatal(err)
	}
	if err := converse(conn, patient); err != nil {
		t.Fatal(err)
	}
	local := conn.LocalAddr().(*net.TCPAddr).Port
	tcpServer(t, host(t, n, "agent"), 9000)
	for _, port := range []uint16{9000, uint16(local) + 1} {
		if speaks(t, n, "tcp4", "nats", "agent", port, brief) {
			t.Errorf("nats began a connection to port %d of the agent, which had one to nats", port)
		}
	}
	if err := converse(conn, patient); err != nil {
		t.Errorf("the connection that was allowed: %v", err)
	}
}

// Errors about flows that pass come back, so that a closed port in a hole is
// refused and not silent, over both firewalls.
func TestErrorsComeBackThroughHoles(t *testing.T) {
	n := stand(t, zones)
	for _, tt := range []struct {
		network, from, to string
		port              uint16
	}{
		{"tcp4", "stranger", "agent", 443},
		{"tcp4", "agent", "nats", 4222},
		{"udp4", "client", "udp", 3478},
		{"udp4", "stranger", "udp", 49160},
		{"udp4", "nats", "shard", 7000},
	} {
		conn, err := host(t, n, tt.from).Dial(t.Context(), tt.network, netip.AddrPortFrom(addressOf(n, tt.to), tt.port).String())
		if err == nil {
			err = converse(conn, patient)
			conn.Close()
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s from %s to port %d of %s, where nobody listens: %v, want that it is refused", tt.network, tt.from, tt.port, tt.to, err)
		}
	}
}

// A flow that was let begin is not one any more when the firewall has lost it,
// unless who may begin it speaks first.
func TestZonesSurviveReboots(t *testing.T) {
	n := stand(t, zones)
	tcpServer(t, host(t, n, "nats"), 4222)
	inside := router(t, n, "inside")
	before, err := inside.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := host(t, n, "agent").Dial(t.Context(), "tcp4", netip.AddrPortFrom(addressOf(n, "nats"), 4222).String())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"inside", "dmz", "home"} {
		if err := router(t, n, name).Reboot(name == "home"); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := inside.Fingerprint(); err != nil || after != before {
		t.Errorf("the rules are others after a reboot: %q, before %q, error %v", after, before, err)
	}
	if err := converse(conn, patient); err != nil {
		t.Errorf("a connection over rebooted firewalls, whose beginner speaks first: %v", err)
	}
	if speaks(t, n, "tcp4", "shard", "agent", 443, brief) || speaks(t, n, "tcp4", "stranger", "nats", 4222, brief) {
		t.Error("a rebooted firewall lets pass what it did not before")
	}
}

// spoof sends a UDP datagram with any source.
func spoof(tb testing.TB, h *kernel.Host, from, to netip.AddrPort) {
	tb.Helper()
	payload := []byte("spoofed")
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload))) // no checksum
	b = append(b, payload...)
	path, err := h.Inside(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		return os.NewSyscallError("sendto", unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: dst}))
	})
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
}

func TestNobodySendsWithAnothersAddress(t *testing.T) {
	n := stand(t, zones)
	at := func(name string, port uint16) netip.AddrPort { return netip.AddrPortFrom(addressOf(n, name), port) }
	spoofed := func(name string) (count uint64) {
		t.Helper()
		var err error
		if name == sim.Internet {
			count, err = n.Spoofed()
		} else {
			var counts sim.FirewallCounts
			counts, err = router(t, n, name).Firewall()
			count = counts.Spoofed
		}
		if err != nil {
			t.Fatal(err)
		}
		return count
	}
	for _, tt := range []struct {
		who      string
		from, to netip.AddrPort
		caught   string // by whom
	}{
		{"udp", at("agent", 5000), at("nats", 4222), "dmz"},     // a neighbour's
		{"udp", at("stranger", 5000), at("agent", 443), "dmz"},  // somebody's on the Internet
		{"agent", at("nats", 4222), at("udp", 3478), "dmz"},     // one of the internal network
		{"shard", at("nats", 4222), at("agent", 443), "inside"}, // within the internal network
		{"stranger", at("agent", 5000), at("nats", 4222), sim.Internet},
		{"stranger", netip.MustParseAddrPort("198.18.99.99:1"), at("agent", 443), sim.Internet}, // nobody's
	} {
		before := spoofed(tt.caught)
		spoof(t, host(t, n, tt.who), tt.from, tt.to)
		soon(t, fmt.Sprintf("%s catches %s, who sends as %s to %s", tt.caught, tt.who, tt.from, tt.to), func() bool { return spoofed(tt.caught) == before+1 })
	}
}
