//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// pair is the lab that speed is measured by: two peers behind two NATs, and two
// servers on the Internet.
const pair = `
lab:
  routers:
    nat-a: {nat: full-cone}
    nat-b: {nat: port-restricted-cone}
  hosts:
    a: {behind: nat-a}
    b: {behind: nat-b}
    rendezvous: {addresses: 2}
    relay: {}
`

// echo answers each datagram at a host's address with the sender's address as
// the server sees it, followed by what came.
func echo(tb testing.TB, h *kernel.Host, addr netip.Addr) netip.AddrPort {
	tb.Helper()
	conn, err := h.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(addr, 7).String())
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(fmt.Appendf(nil, "%s %s", from, b[:n]), from)
		}
	}()
	tb.Cleanup(func() { conn.Close(); <-done })
	return netip.AddrPortFrom(addr, 7)
}

// ask sends one datagram and gives the answer, "" if none comes.
func ask(tb testing.TB, conn net.PacketConn, to netip.AddrPort, patience time.Duration) string {
	tb.Helper()
	if _, err := conn.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(to)); err != nil {
		tb.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	b := make([]byte, 2048)
	n, _, err := conn.ReadFrom(b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

// bind opens a UDP socket on all addresses of a host.
func bind(tb testing.TB, h *kernel.Host) net.PacketConn {
	tb.Helper()
	conn, err := h.ListenPacket(context.Background(), "udp4", ":0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return conn
}

func addressOf(n *kernel.Network, host string) netip.Addr {
	return n.Plan().Addresses(host, sim.DefaultUplink)[0]
}

// patient is long enough for any answer that will come, brief long enough to
// be sure that none does on links without delay.
const (
	patient = 5 * time.Second
	brief   = 150 * time.Millisecond
)

func TestHostsReachTheInternetThroughTheirNATs(t *testing.T) {
	n := stand(t, pair)
	server := echo(t, host(t, n, "rendezvous"), addressOf(n, "rendezvous"))
	for _, peer := range []string{"a", "b"} {
		answer := ask(t, bind(t, host(t, n, peer)), server, patient)
		seen, _, _ := strings.Cut(answer, " ")
		from, err := netip.ParseAddrPort(seen)
		if err != nil {
			t.Fatalf("host %s: the server answered %q", peer, answer)
		}
		if want := router(t, n, "nat-"+peer).External()[0]; from.Addr() != want {
			t.Errorf("the server saw host %s at %s, and its router is %s", peer, from, want)
		}
	}
}

func TestTheFirstPacketOfALabArrives(t *testing.T) {
	for range 20 {
		n := stand(t, pair)
		server := echo(t, host(t, n, "relay"), addressOf(n, "relay"))
		if ask(t, bind(t, host(t, n, "a")), server, patient) == "" {
			t.Fatal("no answer to the first packet: the interfaces were not ready when Build returned")
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyLabsStandAtOnceWithEqualAddresses(t *testing.T) {
	needRoot(t)
	var labs []*kernel.Network
	for range 8 {
		labs = append(labs, stand(t, pair))
	}
	for i, n := range labs {
		server := echo(t, host(t, n, "rendezvous"), addressOf(n, "rendezvous"))
		if ask(t, bind(t, host(t, n, "a")), server, patient) == "" {
			t.Errorf("lab %d: no answer", i)
		}
	}
}

func TestTCPWorksThroughTheLab(t *testing.T) {
	n := stand(t, pair)
	l, err := host(t, n, "relay").Listen(t.Context(), "tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			accepted <- err.Error()
			return
		}
		b := make([]byte, 5)
		_, _ = conn.Read(b)
		accepted <- conn.RemoteAddr().(*net.TCPAddr).IP.String() + " " + string(b)
		// Left open: the lab closes it.
	}()
	conn, err := host(t, n, "a").Dial(t.Context(), "tcp", net.JoinHostPort(addressOf(n, "relay").String(), "443"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got, want := <-accepted, router(t, n, "nat-a").External()[0].String()+" hello"; got != want {
		t.Errorf("the server got %q, want %q", got, want)
	}
}

func TestNamesAreNotResolved(t *testing.T) {
	n := stand(t, pair)
	h := host(t, n, "a")
	for _, try := range []func() error{
		func() error { _, err := h.Dial(t.Context(), "tcp", "example.org:80"); return err },
		func() error { _, err := h.ListenPacket(t.Context(), "udp", "localhost:0"); return err },
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), "a lab has no DNS") || !strings.HasPrefix(err.Error(), "host a: ") {
			t.Errorf("error %v, want one that names the host and says that a lab has no DNS", err)
		}
	}
	if _, err := h.Dial(t.Context(), "unix", "/tmp/x"); err == nil {
		t.Error("a host dialled a unix socket of the machine")
	}
}

func TestTheCoreDropsPrivateAddresses(t *testing.T) {
	n := stand(t, `
lab:
  hosts:
    liar: {}
`)
	conn := bind(t, host(t, n, "liar"))
	for _, to := range []string{"10.1.2.3:9", "192.168.1.2:9", "100.64.0.1:9", "172.20.0.1:9"} {
		if _, err := conn.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, "4 packets to private addresses counted", func() bool {
		count, err := n.Bogons()
		if err != nil {
			t.Fatal(err)
		}
		return count == 4
	})
}

func TestUnknownNamesAreExplained(t *testing.T) {
	n := stand(t, pair)
	if _, err := n.Host("c"); err == nil || !strings.Contains(err.Error(), "a, b, relay, rendezvous") {
		t.Errorf("error %v, want one that lists the hosts", err)
	}
	if _, err := n.Router("c"); err == nil || !strings.Contains(err.Error(), "nat-a, nat-b") {
		t.Errorf("error %v, want one that lists the routers", err)
	}
	if _, err := n.Link(sim.LinkID{Node: "a", Uplink: "wifi"}); err == nil || !strings.Contains(err.Error(), "it has uplink") {
		t.Errorf("error %v, want one that lists the uplinks", err)
	}
}

func TestACancelledBuildLeavesNothing(t *testing.T) {
	needRoot(t)
	lab := parse(t, many(20))
	before := leftovers(t)
	for after := time.Duration(0); after < 100*time.Millisecond; after += 4 * time.Millisecond {
		ctx, cancel := context.WithTimeout(context.Background(), after)
		n, err := kernel.Fabric{}.Build(ctx, lab, sim.Options{})
		cancel()
		if err == nil {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
		if ctx.Err() == nil || !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
			t.Fatalf("cancelled after %v: %v", after, err)
		}
		sameAs(t, before)
	}
}

func TestAClosedLabSaysSo(t *testing.T) {
	n := stand(t, pair)
	h := host(t, n, "a")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if _, err := h.ListenPacket(context.Background(), "udp4", ":0"); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("ListenPacket: %v, want that the lab is closed", err)
	}
	if err := router(t, n, "nat-a").Reboot(false); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Reboot: %v, want that the lab is closed", err)
	}
}

// A behaviour that no rules can do is refused before anything is built, with the
// reason.
func TestBuildRefusesEviction(t *testing.T) {
	n, err := kernel.Fabric{}.Build(t.Context(), parse(t, "lab:\n  routers: {home: {nat: 'symmetric,full=evict'}}\n"), sim.Options{})
	if n != nil || !errors.Is(err, ruleset.ErrEviction) || !strings.Contains(err.Error(), "router home: ") {
		t.Errorf("built %v, error %v; want none, and %v", n, err, ruleset.ErrEviction)
	}
}
