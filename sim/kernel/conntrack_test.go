//go:build linux

package kernel_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// linuxRouter has the kernel's own NAT, and a firewall inside of it.
const linuxRouter = `
lab:
  routers:
    home: {nat: kind=masquerade, firewall: {inbound: replies}}
    other: {nat: port-restricted-cone}
  hosts:
    player: {behind: home}
    friend: {behind: other}
    server: {}
`

func parsed(t *testing.T, text string) nat.Behavior {
	t.Helper()
	b, err := nat.ParseBehavior(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A lab's router does what the behaviour says, through reboots with new
// addresses and swaps between kinds, and its firewall goes with it.
func TestRoutersWithTheKernelsNAT(t *testing.T) {
	n := stand(t, linuxRouter)
	home := router(t, n, "home")
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	conn := bind(t, host(t, n, "player"))
	port := uint16(conn.LocalAddr().(*net.UDPAddr).Port)
	see := func(when string, preserved bool) {
		t.Helper()
		from := seenFrom(t, conn, server)
		if from.Addr() != home.External()[0] || (from.Port() == port) != preserved {
			t.Errorf("%s: the server sees %s, want %s, port %d preserved: %v", when, from, home.External()[0], port, preserved)
		}
		text, err := home.Mappings()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, from.String()) {
			t.Errorf("%s: the mappings do not show %s:\n%s", when, from, text)
		}
		stranger := bind(t, host(t, n, "friend"))
		if answer := ask(t, stranger, netip.AddrPortFrom(from.Addr(), from.Port()), brief); answer != "" {
			t.Errorf("%s: a stranger reached the player: %q", when, answer)
		}
	}
	see("at first", true)
	before, err := home.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	for _, newAddress := range []bool{false, true} {
		if err := home.Reboot(newAddress); err != nil {
			t.Fatal(err)
		}
		if text, err := home.Mappings(); err != nil || !strings.Contains(text, "no mappings") {
			t.Errorf("after a reboot: %s, %v", text, err)
		}
		see("after a reboot", true)
	}
	for _, to := range []string{"symmetric", "kind=masquerade-random,early-inbound=accept", "port-restricted-cone", "kind=masquerade,timeout=5s"} {
		if err := home.Swap(parsed(t, to)); err != nil {
			t.Fatal(err)
		}
		see("swapped to "+to, to == "port-restricted-cone" || strings.HasPrefix(to, "kind=masquerade,"))
	}
	if after, err := home.Fingerprint(); err != nil || after == before {
		t.Errorf("another address and timeout do not show in the fingerprint: %v", err)
	}
	if _, err := home.Rebind(); err != nil {
		t.Fatal(err)
	}
	see("rebound", false)
	if err := home.FlushTable(); err != nil {
		t.Fatal(err)
	}
	see("flushed", true)
	if _, err := home.Certify(t.Context()); err != nil {
		t.Errorf("certification of the kernel's NAT: %v", err)
	}
	see("certified", true)
}

// Two Linux routers one behind the other, and a lab that is taken down with them.
func TestTheKernelsNATBehindItself(t *testing.T) {
	n := stand(t, `
lab:
  routers:
    carrier: {nat: kind=masquerade}
    home: {behind: carrier, nat: kind=masquerade-random}
  hosts:
    player: {behind: home}
    server: {}
`)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	if from := seenFrom(t, bind(t, host(t, n, "player")), server); from.Addr() != router(t, n, "carrier").External()[0] {
		t.Errorf("the server sees %s", from)
	}
	var r sim.RunningRouter = router(t, n, "home")
	if text, err := r.Rules(); err != nil || !strings.Contains(text, "masquerade random") {
		t.Errorf("the rules do not tell the kind: %v\n%s", err, text)
	}
}
