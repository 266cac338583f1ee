//go:build linux

package ruleset_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// The peer's probe comes first. Where the router's input drops it, it leaves
// nothing; where it accepts it, our own packet gets another port.
func TestConntrackPeerFirst(t *testing.T) {
	for _, early := range []nat.EarlyInbound{nat.EarlyDrop, nat.EarlyAccept} {
		n := behind(t, linux(nat.KindMasquerade, early), 1)
		inside, peer := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
		expected := netip.AddrPortFrom(externalAddrs[0], 5000)
		if reaches(peer, expected, inside) {
			t.Errorf("early-inbound=%v: the unsolicited probe entered", early)
		}
		ms, err := ruleset.Mappings(n.conn)
		must(t, err)
		text := ruleset.RenderMappings(ms)
		if want := "198.18.0.1:5000 → 198.18.0.1:5000 (to 198.18.0.10:3478)"; strings.Contains(text, want) != (early == nat.EarlyAccept) {
			t.Errorf("early-inbound=%v: the flows are\n%s", early, text)
		}
		if ext := mapped(inside, peer); (ext == expected) != (early == nat.EarlyDrop) {
			t.Errorf("early-inbound=%v: our packet came from %v", early, ext)
		} else if !reaches(peer, ext, inside) {
			t.Errorf("early-inbound=%v: the answer to %v does not arrive", early, ext)
		}
	}
}

// Two hosts with one source port share the external one, as long as they talk to
// different remotes.
func TestConntrackSharesPorts(t *testing.T) {
	n := behind(t, linux(nat.KindMasquerade, nat.EarlyDrop), 2)
	a, b := n.hosts[0].udp(hostAddr(0)+":5000"), n.hosts[1].udp(hostAddr(1)+":5000")
	one, other := n.outside.udp(outsideA+":3478"), n.outside.udp(outsideB+":3478")
	shared := netip.AddrPortFrom(externalAddrs[0], 5000)
	if x, y := mapped(a, one), mapped(b, other); x != shared || y != shared {
		t.Errorf("mapped to %v and %v, want both at %v", x, y, shared)
	}
	if !reaches(one, shared, a) || !reaches(other, shared, b) {
		t.Error("answers do not find their hosts")
	}
	if x := mapped(b, one); x == shared {
		t.Errorf("both have %v towards %v", x, one.local())
	}
}

// Reboot, swap and removal lose the flows and leave nothing behind.
func TestConntrackLifecycle(t *testing.T) {
	n := newNetwork(t, 1)
	masq, rfc := linux(nat.KindMasquerade, nat.EarlyDrop), portRestricted
	inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
	gone := func(what string, ext netip.AddrPort) {
		t.Helper()
		ms, err := ruleset.Mappings(n.conn)
		must(t, err)
		if len(ms) > 0 || reaches(server, ext, inside) {
			t.Errorf("%s: flows are left: %v", what, ms)
		}
	}
	must(t, ruleset.Install(n.conn, n.config(masq, 1)))
	before, err := ruleset.Fingerprint(n.conn)
	must(t, err)
	ext := mapped(inside, server)
	must(t, ruleset.Flush(n.conn, n.config(masq, 1)))
	gone("reboot", ext)
	if after, err := ruleset.Fingerprint(n.conn); err != nil || after != before {
		t.Errorf("after a reboot the fingerprint is another: %v", err)
	}

	ext = mapped(inside, server)
	n.install(rfc)
	gone("swap to rules of our own", ext)
	ext = mapped(inside, server)
	n.install(masq)
	gone("swap to masquerade", ext)

	slow := masq
	slow.Timeout = 77 * time.Second
	n.install(slow)
	if after, err := ruleset.Fingerprint(n.conn); err != nil || after == before {
		t.Errorf("another timeout does not show in the fingerprint: %v", err)
	}
	mapped(inside, server)
	ms, err := ruleset.Mappings(n.conn)
	must(t, err)
	if len(ms) != 1 || ms[0].Expires < 75*time.Second || ms[0].Expires > 77*time.Second {
		t.Errorf("the flows are %v, want one that expires after 77 s", ms)
	}
	must(t, ruleset.Remove(n.conn))
	must(t, ruleset.Remove(n.conn))
	if got := n.dump(); got != "no rules\n" {
		t.Errorf("left behind:\n%s", got)
	}
}

// A rebound endpoint has another port, the same towards all, and the old one is
// closed. Emptied tables know nothing of either.
func TestConntrackRebind(t *testing.T) {
	n := behind(t, linux(nat.KindMasquerade, nat.EarlyDrop), 2)
	inside, other := n.hosts[0].udp(hostAddr(0)+":5000"), n.hosts[1].udp(hostAddr(1)+":6000")
	one, two := n.outside.udp(outsideA+":3478"), n.outside.udp(outsideB+":3478")
	before := mapped(inside, one)
	mapped(inside, two)
	kept := mapped(other, one)
	n.hosts[0].raw(hostAddr(0), unix.IPPROTO_ICMP).sendTo(outsideA, echo(8, 7777, 1))

	ended, err := ruleset.Rebind(n.conn, netip.MustParseAddr(hostAddr(0)))
	must(t, err)
	if len(ended) != 3 {
		t.Errorf("ended %v, want two flows and an echo", ended)
	}
	if reaches(one, before, inside) {
		t.Errorf("the old port %v is open", before)
	}
	after := mapped(inside, one)
	if after == before || mapped(inside, two) != after {
		t.Errorf("rebound from %v to %v and %v, want another port, one for both", before, after, mapped(inside, two))
	}
	if !reaches(one, after, inside) || mapped(other, one) != kept {
		t.Errorf("answers to %v do not arrive, or the other host lost %v", after, kept)
	}
	must(t, ruleset.Empty(n.conn))
	if reaches(one, after, inside) || mapped(inside, one) != before {
		t.Error("something outlived the emptying")
	}
}

// No packet passes a swap between kinds untranslated.
func TestConntrackSwapUnderTraffic(t *testing.T) {
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
	for i := range 12 {
		n.install([]nat.Behavior{linux(nat.KindMasquerade, nat.EarlyDrop), {}, linux(nat.KindMasqueradeRandom, nat.EarlyAccept)}[i%3])
		for from, _, ok := server.poll(); ok; from, _, ok = server.poll() {
			if from.Addr() != externalAddrs[0] {
				t.Fatalf("swap %d: a packet came from %v", i, from)
			}
		}
	}
	close(stop)
	<-stopped
}

// What is of no flow does not get in, whatever its destination, and each rule
// counts what it drops.
func TestConntrackRealms(t *testing.T) {
	for _, early := range []nat.EarlyInbound{nat.EarlyDrop, nat.EarlyAccept} {
		n := behind(t, linux(nat.KindMasquerade, early), 2)
		n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
		inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
		ext := mapped(inside, server)
		stranger, neighbour := n.outside.udp(outsideB+":3478"), n.hosts[1].udp(hostAddr(1)+":5000")
		for _, c := range []struct {
			what string
			from *socket
			to   netip.AddrPort
		}{
			{"a stranger's to the mapping", stranger, ext},
			{"the server's to the inside address", server, inside.local()},
			{"the stranger's to the inside address", stranger, inside.local()},
			{"a neighbour's to the mapping", neighbour, ext},
		} {
			if reaches(c.from, c.to, inside) {
				t.Errorf("early-inbound=%v: %s arrived", early, c.what)
			}
		}
		server.send(netip.MustParseAddrPort("192.168.1.1:9"), "the router's inner address")
		n.hosts[0].address("eth0", externalAddrs[0].String()+"/32")
		if reaches(n.hosts[0].udp(externalAddrs[0].String()+":6000"), server.local(), server) {
			t.Error("a datagram with a forged external source left")
		}
		dump := n.dump()
		for rule, packets := range map[string]int{
			"# from outside for another address": 1, "# from outside, and no flow expects it: inside addresses": 2,
			"# no hairpin": 1, "# an inside host has no external address": 1,
			"# from outside, and no flow expects it": 1,
		} {
			_, after, _ := strings.Cut(dump, rule)
			line := strings.SplitN(after, "\n", 3)
			if want := fmt.Sprintf("counter %d packets", packets); len(line) < 2 || !strings.Contains(line[1], want) {
				t.Errorf("early-inbound=%v: the rule %q does not say %q\n%s", early, rule, want, dump)
			}
		}
	}
}

// With early-inbound=accept the router answers like any host.
func TestConntrackEarlyAcceptAnswers(t *testing.T) {
	n := behind(t, linux(nat.KindMasquerade, nat.EarlyAccept), 0)
	fails(t, n.outside.connected(outsideA+":3478", externalAddrs[0].String()+":9"), unix.ECONNREFUSED)
}

// The table's size bounds the flows of each protocol; known ones live on.
func TestConntrackSize(t *testing.T) {
	b := linux(nat.KindMasquerade, nat.EarlyDrop)
	b.TableSize, b.Timeout = 3, time.Second
	n := behind(t, b, 1)
	server := n.outside.udp(outsideA + ":3478")
	var inside []*socket
	for i := range 5 {
		inside = append(inside, n.hosts[0].udp(fmt.Sprintf("%s:%d", hostAddr(0), 5000+i)))
	}
	for round := range 3 {
		for i, s := range inside {
			if got := reaches(s, server.local(), server); got != (i < 3) {
				t.Fatalf("round %d: flow %d passes: %v\n%s", round, i, got, n.dump())
			}
		}
	}
	<-time.After(1200 * time.Millisecond)
	if !reaches(inside[4], server.local(), server) {
		t.Errorf("there is no room after the others expired\n%s", n.dump())
	}
}

// A router may have a firewall inside of the kernel's NAT.
func TestConntrackWithFirewall(t *testing.T) {
	n := behind(t, linux(nat.KindMasquerade, nat.EarlyDrop), 1)
	fw := ruleset.FirewallConfig{Router: "r", Outside: "wan", Policy: nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{3478}}, Tracked: true}
	must(t, ruleset.InstallFirewall(n.conn, fw))
	inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
	other := n.outside.udp(outsideA + ":3479")
	long := strings.Repeat("fragment ", 3000/9)
	inside.send(server.local(), long)
	ext := server.expect(long)
	server.send(ext, long)
	inside.expect(long)
	if reaches(inside, other.local(), other) {
		t.Error("the firewall let out what it must not")
	}
	// One that does not leave packets to conntrack keeps all from passing, and
	// nothing leaks.
	fw.Tracked = false
	must(t, ruleset.InstallFirewall(n.conn, fw))
	must(t, ruleset.Flush(n.conn, n.config(linux(nat.KindMasquerade, nat.EarlyDrop), 1)))
	if reaches(inside, server.local(), server) {
		t.Error("an untracked packet left")
	}
}

// Datagrams without a checksum keep none.
func TestConntrackNoChecksum(t *testing.T) {
	n := behind(t, linux(nat.KindMasqueradeRandom, nat.EarlyDrop), 1)
	inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
	for _, s := range []*socket{inside, server} {
		raw, err := s.SyscallConn()
		must(t, err)
		must(t, raw.Control(func(fd uintptr) {
			must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1))
		}))
	}
	if ext := mapped(inside, server); !reaches(server, ext, inside) {
		t.Error("a datagram without checksum does not come in")
	}
}
