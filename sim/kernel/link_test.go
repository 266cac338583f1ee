//go:build linux

package kernel_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/link"
	"p2pmodel/sim/witness"
)

// narrow has a home whose uplink is narrower than the rest, and a host behind it.
const narrow = `lab:
  routers:
    home: {nat: port-restricted-cone}
  hosts:
    inside: {behind: home}
    server: {}
  links:
    home: {up: {mtu: 1280}, down: {mtu: 1400}}
`

// setDF sets what a socket does about the Don't Fragment bit.
func setDF(tb testing.TB, c net.PacketConn, mode int) {
	tb.Helper()
	raw, err := c.(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn()
	if err == nil {
		if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, mode) }); cerr != nil {
			err = cerr
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// TestMTUIsAnsweredByTheHeadOfTheLink: with DF, what is too large for the home's
// uplink comes back as ICMP Fragmentation Needed with the next hop's MTU, and the
// sender's system learns it; without, it arrives in fragments.
func TestMTUIsAnsweredByTheHeadOfTheLink(t *testing.T) {
	n := stand(t, narrow)
	serverHost := host(t, n, "server")
	server := bind(t, serverHost)
	at := netip.AddrPortFrom(addressOf(n, "server"), server.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	conn := bind(t, host(t, n, "inside"))
	setDF(t, conn, unix.IP_PMTUDISC_DO)
	write := func(size int) error {
		_, err := conn.WriteTo(make([]byte, size-28), net.UDPAddrFromAddrPort(at))
		return err
	}
	if err := write(1280); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, server); got != 1280-28 {
		t.Fatalf("%d bytes arrived, want %d", got, 1280-28)
	}
	if err := write(1281); err != nil {
		t.Fatal(err)
	}
	soon(t, "the sender's system learns the MTU", func() bool { return errors.Is(write(1281), unix.EMSGSIZE) })
	needed := false
	for _, p := range n.Packets() {
		if p.Protocol != unix.IPPROTO_ICMP || len(p.Data) < 28 {
			continue
		}
		icmp := p.Data[int(p.Data[0]&15)*4:]
		if icmp[0] == 3 && icmp[1] == 4 && binary.BigEndian.Uint16(icmp[6:]) == 1280 && p.Point.Node == "inside" {
			needed = true
		}
	}
	if !needed {
		t.Error("no Fragmentation Needed with an MTU of 1280 came to the host inside")
	}
	free := bind(t, host(t, n, "inside"))
	setDF(t, free, unix.IP_PMTUDISC_DONT)
	if _, err := free.WriteTo(make([]byte, 1472), net.UDPAddrFromAddrPort(at)); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, server); got != 1472 {
		t.Errorf("%d bytes arrived in fragments, want 1472", got)
	}

	// A change while the lab stands, to a black hole.
	l := linkOf(t, n, "home", "")
	if err := l.Impair(link.Impairment{MTU: 1280, Blackhole: true}, link.Impairment{}); err != nil {
		t.Fatal(err)
	}
	silent := bind(t, host(t, n, "inside"))
	setDF(t, silent, unix.IP_PMTUDISC_PROBE) // DF, and the learnt MTU ignored
	if _, err := silent.WriteTo(make([]byte, 1472), net.UDPAddrFromAddrPort(at)); err != nil {
		t.Fatal(err)
	}
	soon(t, "the black hole takes it", func() bool {
		up, _ := l.Counts()
		return up.By[link.TooLarge] == 1
	})
	drops, err := n.Drops()
	if err != nil {
		t.Fatal(err)
	}
	var last witness.Drop
	for _, d := range drops {
		if d.Link == "home" {
			last = d
		}
	}
	if last.Cause != "mtu" || last.Node != "home" || last.Dst != at {
		t.Errorf("the drop is told as %v", last)
	}
	// And wide again.
	if err := l.Impair(link.Impairment{}, link.Impairment{}); err != nil {
		t.Fatal(err)
	}
	if _, err := silent.WriteTo(make([]byte, 1472), net.UDPAddrFromAddrPort(at)); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, server); got != 1472 {
		t.Errorf("%d bytes arrived over the link as it was, want 1472", got)
	}
}

// receive waits for one datagram and gives its size.
func receive(tb testing.TB, c net.PacketConn) int {
	tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patient))
	size, _, err := c.ReadFrom(make([]byte, 2048))
	if err != nil {
		tb.Fatal(err)
	}
	return size
}

const measured = `lab:
  hosts:
    phone: {uplinks: {4g: {}, wifi: {}}, active: 4g}
    desk: {}
    car: {}
    server: {}
  links:
    phone/4g: 4g
    phone/wifi: wifi
    desk: {delay: 20ms, up: {burst: {loss: 20%, length: 4}}}
    car: {down: {rate: 200kbit, delay: 50ms, jitter: 10ms}}
`

// TestLinksAreMeasuredBeforeARun: each impaired direction is measured, but those of
// uplinks that are not plugged in; nobody sees the probes, and they change nothing.
func TestLinksAreMeasuredBeforeARun(t *testing.T) {
	n := stand(t, measured)
	began := time.Now()
	all, err := n.Measure(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	var names []string
	for _, m := range all {
		t.Log(m)
		names = append(names, m.Link.String()+" "+string(m.Direction))
		if err := m.Err(); err != nil {
			t.Error(err)
		}
		if m.Sent < 20 || m.Achieved < m.Promised.Delay-m.Promised.Jitter {
			t.Errorf("%v: so few probes, or too early", m)
		}
	}
	if got, want := strings.Join(names, ", "), "car down, desk up, desk down, phone/4g up, phone/4g down"; !sameWords(got, want) {
		t.Errorf("measured: %s; want %s", got, want)
	}
	if took > time.Second {
		t.Errorf("it took %v", took)
	}
	if packets := n.Packets(); len(packets) != 0 {
		t.Errorf("captures have %d packets of it", len(packets))
	}
	for _, id := range []string{"desk", "car"} {
		up, down := linkOf(t, n, id, "").Counts()
		if up.Offered+down.Offered != 0 {
			t.Errorf("link of %s: counts %+v, %+v have probes", id, up, down)
		}
		if up, down := linkOf(t, n, id, "").Late(); up.Packets+down.Packets != 0 {
			t.Errorf("link of %s: lateness has probes", id)
		}
	}
	if err := n.Err(); err != nil {
		t.Error(err)
	}
}

func sameWords(a, b string) bool {
	x, y := strings.Split(a, ", "), strings.Split(b, ", ")
	have := map[string]int{}
	for _, w := range x {
		have[w]++
	}
	for _, w := range y {
		have[w]--
	}
	for _, c := range have {
		if c != 0 {
			return false
		}
	}
	return true
}

// TestDropsOfWires: a wire tells what it took, as rules do.
func TestDropsOfWires(t *testing.T) {
	n := stand(t, `lab:
  hosts: {a: , b: }
  links: {a: {loss: 100%}, b: {down: {loss: 100%}}}
`)
	a, b := bind(t, host(t, n, "a")), bind(t, host(t, n, "b"))
	to := func(c net.PacketConn, name string) *net.UDPAddr {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(addressOf(n, name), c.LocalAddr().(*net.UDPAddr).AddrPort().Port()))
	}
	if _, err := a.WriteTo([]byte("up"), to(b, "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteTo([]byte("up, then down"), to(a, "a")); err != nil {
		t.Fatal(err)
	}
	soon(t, "both are lost", func() bool {
		up, down := linkOf(t, n, "a", "").Counts()
		return up.By[link.Loss] == 1 && down.By[link.Loss] == 1
	})
	drops, err := n.Drops()
	if err != nil || len(drops) != 2 {
		t.Fatalf("%d drops: %v", len(drops), err)
	}
	for i, want := range []string{"loss at the link of a, after a", "loss at the link of a, after internet"} {
		if got := drops[i].String(); !strings.HasPrefix(got, want) {
			t.Errorf("drop %d: %s, want %s", i, got, want)
		}
	}
}

func TestTracesFromFiles(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "slow.trace"), []byte("100\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lab, err := sim.ParseLab(filepath.Join(dir, "lab.yaml"), []byte("lab: {hosts: {a: , b: }, links: {a: {up: {trace: slow.trace}}}}"))
	if err != nil {
		t.Fatal(err)
	}
	network, err := kernel.Fabric{}.Build(context.Background(), lab, sim.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	n := network.(*kernel.Network)
	server := echo(t, host(t, n, "b"), addressOf(n, "b"))
	conn := bind(t, host(t, n, "a"))
	began := time.Now()
	for range 3 { // the trace begins with the first packet
		ask(t, conn, server, patient)
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > 400*time.Millisecond {
		t.Errorf("three round trips, each waiting for an opportunity in 100 ms, took %v", took)
	}
	conn.Close()
}
