//go:build linux

package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/link"
	"p2pmodel/sim/witness"
)

// roaming is a lab with everything that can change: a phone with two uplinks,
// one of them behind two NATs and impaired, and a router that does not translate.
const roaming = `
lab:
  routers:
    carrier: {nat: symmetric}
    cell: {behind: carrier, nat: port-restricted-cone}
    home: {nat: full-cone}
    office: {}
  hosts:
    phone:
      uplinks:
        4g: {behind: cell}
        wifi: {behind: home}
    desk: {behind: office}
    server: {}
  links:
    phone/4g: {delay: 20ms}
`

// seenFrom gives the address that a server sees a socket at.
func seenFrom(tb testing.TB, conn net.PacketConn, server netip.AddrPort) netip.AddrPort {
	tb.Helper()
	seen, _, _ := strings.Cut(ask(tb, conn, server, patient), " ")
	from, err := netip.ParseAddrPort(seen)
	if err != nil {
		tb.Fatalf("no answer from %s", server)
	}
	return from
}

func linkOf(tb testing.TB, n *kernel.Network, node, uplink string) sim.RunningLink {
	tb.Helper()
	l, err := n.Link(sim.LinkID{Node: node, Uplink: uplink})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func TestAPhoneMovesBetweenItsUplinks(t *testing.T) {
	n := stand(t, roaming)
	phone := host(t, n, "phone")
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	ctx, cancel := context.WithCancel(t.Context())
	changes, err := phone.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn := bind(t, phone) // one socket for all its life
	for _, step := range []struct{ uplink, router string }{
		{"4g", "carrier"}, {"wifi", "home"}, {"wifi", "home"}, {"4g", "carrier"}, {"wifi", "home"},
	} {
		changing := phone.Active() != step.uplink
		if err := phone.Move(step.uplink); err != nil {
			t.Fatal(err)
		}
		if phone.Active() != step.uplink {
			t.Errorf("moved to %s, and %s is active", step.uplink, phone.Active())
		}
		addrs, err := phone.Addresses()
		if err != nil {
			t.Fatal(err)
		}
		if want := n.Plan().Addresses("phone", step.uplink); !slices.Equal(addrs, want) {
			t.Errorf("on %s the phone has %v, want %v", step.uplink, addrs, want)
		}
		if changing {
			select {
			case <-changes:
			case <-time.After(patient):
				t.Errorf("nobody was told of the move to %s", step.uplink)
			}
		}
		if from, want := seenFrom(t, conn, server), router(t, n, step.router).External()[0]; from.Addr() != want {
			t.Errorf("on %s the server sees %s, want %s of %s", step.uplink, from, want, step.router)
		}
	}
	cancel()
	for range changes { // it ends
	}
	if err := phone.Move("5g"); err == nil || !strings.Contains(err.Error(), "it has 4g, wifi") {
		t.Errorf("a move to nowhere: %v, want an error that lists the uplinks", err)
	}
}

func TestRoutersWithoutNATForwardAsTheyAre(t *testing.T) {
	n := stand(t, roaming)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	if from, want := seenFrom(t, bind(t, host(t, n, "desk")), server), addressOf(n, "desk"); from.Addr() != want {
		t.Errorf("the server sees %s, want the host's own address %s", from, want)
	}
	if err := router(t, n, "office").Swap(*n.Lab().Routers[0].NAT); !errors.Is(err, kernel.ErrNoNAT) {
		t.Errorf("swap of a router without NAT: %v", err)
	}
}

func TestCutAndRestore(t *testing.T) {
	n := stand(t, roaming)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	for _, tt := range []struct {
		name, node, uplink, host string
	}{
		{"a plain link", "desk", "", "desk"},
		{"a plain link of a router", "office", "", "desk"},
		{"a link with a wire", "phone", "4g", "phone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, l := bind(t, host(t, n, tt.host)), linkOf(t, n, tt.node, tt.uplink)
			for round := range uint64(2) {
				if ask(t, conn, server, patient) == "" {
					t.Fatal("no answer before the cut")
				}
				if err := l.Cut(); err != nil {
					t.Fatal(err)
				}
				if err := l.Cut(); err != nil {
					t.Errorf("a second cut: %v", err)
				}
				if answer := ask(t, conn, server, brief); answer != "" {
					t.Fatalf("over a cut link came %q", answer)
				}
				if up, down := l.Lost(); up != round+1 || down != 0 {
					t.Errorf("lost %d up and %d down, want %d and 0", up, down, round+1)
				}
				if err := l.Restore(); err != nil {
					t.Fatal(err)
				}
			}
			if ask(t, conn, server, patient) == "" {
				t.Error("no answer after Restore")
			}
			if up, _ := l.Lost(); up != 2 {
				t.Errorf("after Restore the count is %d, want 2", up)
			}
		})
	}
}

func TestACutCountsBothDirections(t *testing.T) {
	n := stand(t, roaming)
	desk, server := bind(t, host(t, n, "desk")), bind(t, host(t, n, "server"))
	l := linkOf(t, n, "office", "")
	if err := l.Cut(); err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(addressOf(n, "desk"), uint16(desk.LocalAddr().(*net.UDPAddr).Port))
	if answer := ask(t, server, to, brief); answer != "" {
		t.Errorf("over a cut link came %q", answer)
	}
	if up, down := l.Lost(); up != 0 || down != 1 {
		t.Errorf("lost %d up and %d down, want 0 and 1", up, down)
	}
}

// What a cut takes is seen where it leaves and nowhere else.
func TestTheWitnessSeesLostPacketsLeave(t *testing.T) {
	n := stand(t, roaming)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	if err := linkOf(t, n, "desk", "").Cut(); err != nil {
		t.Fatal(err)
	}
	ask(t, bind(t, host(t, n, "desk")), server, brief)
	var at []string
	for _, p := range n.Packets() {
		at = append(at, p.Point.String()+" "+p.Direction.String())
	}
	if want := []string{"desk:uplink out"}; !slices.Equal(at, want) {
		t.Errorf("captured at %v, want %v", at, want)
	}
}

func TestRestrictSilencesAHost(t *testing.T) {
	n := stand(t, roaming)
	desk := host(t, n, "desk")
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	other := echo(t, host(t, n, "phone"), n.Plan().Addresses("phone", "4g")[0])
	conn := bind(t, desk)
	for _, tt := range []struct {
		to       []netip.Addr
		answered bool
	}{
		{nil, false},
		{[]netip.Addr{other.Addr()}, false},
		{[]netip.Addr{other.Addr(), server.Addr()}, true},
	} {
		before, err := desk.Restricted()
		if err != nil {
			t.Fatal(err)
		}
		if err := desk.Restrict(tt.to); err != nil {
			t.Fatal(err)
		}
		patience := brief
		if tt.answered {
			patience = patient
		}
		if got := ask(t, conn, server, patience) != ""; got != tt.answered {
			t.Errorf("restricted to %v: answered %v", tt.to, got)
		}
		after, err := desk.Restricted()
		if err != nil {
			t.Fatal(err)
		}
		if lost := after - before; (lost == 0) != tt.answered {
			t.Errorf("restricted to %v: %d packets counted", tt.to, lost)
		}
	}
	if err := desk.Unrestrict(); err != nil {
		t.Fatal(err)
	}
	if ask(t, conn, server, patient) == "" {
		t.Error("no answer after Unrestrict")
	}
	if lost, err := desk.Restricted(); err != nil || lost != 2 {
		t.Errorf("%d packets were restricted (%v), want 2", lost, err)
	}
}

func TestImpairments(t *testing.T) {
	n := stand(t, roaming)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	conn, l := bind(t, host(t, n, "phone")), linkOf(t, n, "phone", "4g")
	// The shortest of several is what the link does; the others may show what
	// else the machine does.
	roundTrip := func() time.Duration {
		shortest := time.Hour
		for range 10 {
			began := time.Now()
			if ask(t, conn, server, patient) == "" {
				t.Fatal("no answer")
			}
			shortest = min(shortest, time.Since(began))
		}
		return shortest
	}
	if took := roundTrip(); took < 40*time.Millisecond || took > 60*time.Millisecond {
		t.Errorf("a round trip over 20 ms each way took %v", took)
	}
	if err := l.Impair(link.Impairment{Delay: 100 * time.Millisecond}, link.Impairment{}); err != nil {
		t.Fatal(err)
	}
	if took := roundTrip(); took < 100*time.Millisecond || took > 120*time.Millisecond {
		t.Errorf("a round trip over 100 ms up and 0 down took %v", took)
	}
	if err := l.Impair(link.Impairment{Loss: 1}, link.Impairment{}); err != nil {
		t.Fatal(err)
	}
	if answer := ask(t, conn, server, brief); answer != "" {
		t.Errorf("over a link that loses all came %q", answer)
	}
	if up, down := l.Lost(); up != 1 || down != 0 {
		t.Errorf("lost %d up and %d down, want 1 and 0", up, down)
	}
	if err := linkOf(t, n, "desk", "").Impair(link.Impairment{}, link.Impairment{}); !errors.Is(err, kernel.ErrPlainLink) || !strings.Contains(err.Error(), "link of desk") {
		t.Errorf("a plain link was impaired: %v", err)
	}
}

func TestRebootWithNewAddresses(t *testing.T) {
	n := stand(t, roaming)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	conn := bind(t, host(t, n, "phone"))
	seen := map[netip.Addr]bool{seenFrom(t, conn, server).Addr(): true}
	for range 3 {
		if err := router(t, n, "carrier").Reboot(true); err != nil {
			t.Fatal(err)
		}
		from := seenFrom(t, conn, server).Addr()
		if seen[from] {
			t.Errorf("the router has %s again", from)
		}
		seen[from] = true
		if now := router(t, n, "carrier").External(); !slices.Equal(now, []netip.Addr{from}) {
			t.Errorf("the server sees %s, and External says %v", from, now)
		}
	}
	// The nested router, too: its addresses are of the carrier's realm.
	before := router(t, n, "cell").External()[0]
	if err := router(t, n, "cell").Reboot(true); err != nil {
		t.Fatal(err)
	}
	if after := router(t, n, "cell").External()[0]; after == before {
		t.Errorf("the nested router still has %s", after)
	}
	seenFrom(t, conn, server)
}

func TestARebootLosesMappings(t *testing.T) {
	n := stand(t, pair)
	server := echo(t, host(t, n, "relay"), addressOf(n, "relay"))
	a := host(t, n, "a")
	conn := bind(t, a)
	public := seenFrom(t, conn, server)
	stranger := bind(t, host(t, n, "rendezvous"))
	reaches := func() bool {
		if _, err := stranger.WriteTo([]byte("knock"), net.UDPAddrFromAddrPort(public)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(brief))
		_, _, err := conn.ReadFrom(make([]byte, 100))
		return err == nil
	}
	if !reaches() {
		t.Fatal("nobody reaches a host behind a full cone")
	}
	if text, err := router(t, n, "nat-a").Mappings(); err != nil || !strings.Contains(text, public.Addr().String()) {
		t.Errorf("the mappings do not tell of %s: %v\n%s", public, err, text)
	}
	if text, err := router(t, n, "nat-a").Rules(); err != nil || text == "" {
		t.Errorf("no rules: %v", err)
	}
	if err := router(t, n, "nat-a").Reboot(false); err != nil {
		t.Fatal(err)
	}
	if reaches() {
		t.Error("a mapping outlived the reboot")
	}
}

func TestCapturesTellBothSidesOfANAT(t *testing.T) {
	var file bytes.Buffer
	n := standWith(t, pair, sim.Options{Capture: &file})
	server := echo(t, host(t, n, "relay"), addressOf(n, "relay"))
	conn := bind(t, host(t, n, "a"))
	public := seenFrom(t, conn, server)
	private := netip.AddrPortFrom(addressOf(n, "a"), uint16(conn.LocalAddr().(*net.UDPAddr).Port))

	var story []string
	for _, p := range n.Packets() {
		if p.Dst == server {
			story = append(story, p.Point.String()+" "+p.Direction.String()+" "+p.Src.String())
			if !witness.ChecksumValid(p.Data) {
				t.Errorf("at %s the checksum is wrong", p.Point)
			}
		}
	}
	want := []string{
		"a:uplink out " + private.String(),
		"nat-a:to a in " + private.String(),
		"nat-a:uplink out " + public.String(),
		"relay:uplink in " + public.String(),
	}
	if !slices.Equal(story, want) {
		t.Errorf("the captures tell\n\t%s\nwant\n\t%s", strings.Join(story, "\n\t"), strings.Join(want, "\n\t"))
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatalf("read the capture file: %v", err)
	}
	for range len(n.Packets()) {
		if _, _, err := r.ReadPacketData(); err != nil {
			t.Fatalf("read the capture file: %v", err)
		}
	}
}
