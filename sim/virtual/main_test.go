package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/sansio"
	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
	"p2pmodel/sim/witness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

// build builds a lab of a file's text.
func build(tb testing.TB, text string) *virtual.Network { return buildSeeded(tb, text, 1) }

func buildSeeded(tb testing.TB, text string, seed uint64) *virtual.Network {
	tb.Helper()
	lab, err := sim.ParseLab("lab.yaml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	n, err := virtual.Fabric{}.Build(context.Background(), lab, sim.Options{Seed: seed})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Error(err)
		}
	})
	return n.(*virtual.Network)
}

// talker is a machine that a test moves by hand; it answers "ping" by "pong".
type talker struct {
	sansio.Outbox
	tb    testing.TB
	net   *virtual.Network
	run   sim.RunningMachine
	addrs []netip.Addr
	local netip.AddrPort
	err   error
	wake  time.Time
	heard []string
	kinds []string // the calls, in order
}

func (m *talker) HandleBound(_ time.Time, _ sansio.Socket, local netip.AddrPort, err error) {
	m.local, m.err = local, err
	m.kinds = append(m.kinds, "bound")
}

func (m *talker) HandleInterfaces(_ time.Time, a []netip.Addr) {
	m.addrs = a
	m.kinds = append(m.kinds, "interfaces")
}

func (m *talker) HandleTimeout(now time.Time) {
	m.wake = time.Time{}
	m.kinds = append(m.kinds, "timeout")
	m.Emit(now)
}
func (m *talker) PollTimeout() time.Time { return m.wake }

func (m *talker) HandleDatagram(now time.Time, d sansio.Datagram) {
	m.heard = append(m.heard, fmt.Sprintf("%v %v %s", now.Sub(virtual.Epoch), d.Remote, d.Payload))
	if string(d.Payload) == "ping" {
		m.Send(d.Socket, d.Remote, []byte("pong"))
	}
}

// talk runs a talker on a host, with a socket at port.
func talk(tb testing.TB, n *virtual.Network, name string, port uint16) *talker {
	tb.Helper()
	h, err := n.Host(name)
	if err != nil {
		tb.Fatal(err)
	}
	m := &talker{tb: tb, net: n}
	if m.run, err = h.Run(context.Background(), m, nil); err != nil {
		tb.Fatal(err)
	}
	m.run.Do(func(time.Time) { m.Bind(1, netip.AddrPortFrom(netip.IPv4Unspecified(), port)) })
	if m.err != nil {
		tb.Fatal(m.err)
	}
	return m
}

// say sends a text.
func (m *talker) say(to, text string) {
	m.run.Do(func(time.Time) { m.Send(1, netip.MustParseAddrPort(to), []byte(text)) })
}

// words are what it has heard since the last call, without times.
func (m *talker) words() string {
	var all []string
	for _, line := range m.heard {
		_, rest, _ := strings.Cut(line, " ")
		all = append(all, rest)
	}
	m.heard = nil
	return strings.Join(all, ", ")
}

// elapse lets time pass.
func elapse(tb testing.TB, n *virtual.Network, d time.Duration) {
	tb.Helper()
	if err := sim.Sleep(context.Background(), n, d); err != nil && !errors.Is(err, sim.ErrTimeout) {
		tb.Fatal(err)
	}
}

// drops are the causes and places of all drops.
func drops(tb testing.TB, n *virtual.Network) string {
	tb.Helper()
	all, err := n.Drops()
	if err != nil {
		tb.Fatal(err)
	}
	var lines []string
	for _, d := range all {
		lines = append(lines, d.String())
	}
	return strings.Join(lines, "\n")
}

// sights are what captures saw: "node:interface out src → dst", a line each.
func sights(n *virtual.Network) string {
	var lines []string
	for _, p := range n.Packets() {
		lines = append(lines, fmt.Sprintf("%v %v %v → %v", p.Point, p.Direction, p.Src, p.Dst))
	}
	return strings.Join(lines, "\n")
}

func linkOf(tb testing.TB, n *virtual.Network, node string) sim.RunningLink {
	tb.Helper()
	l, err := n.Link(sim.LinkID{Node: node})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func equal(tb testing.TB, what, got, want string) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// intact makes sure that every captured packet is one that a witness can read,
// with right checksums.
func intact(tb testing.TB, packets []witness.Packet) {
	tb.Helper()
	for _, p := range packets {
		q, err := witness.Parse(p.At, p.Point, p.Direction, p.Data)
		switch {
		case err != nil:
			tb.Errorf("%v %v: %v", p.Point, p.Direction, err)
		case q.Src != p.Src || q.Dst != p.Dst || q.Protocol != p.Protocol || string(q.Payload) != string(p.Payload):
			tb.Errorf("%v %v → %v is read as %v → %v", p.Point, p.Src, p.Dst, q.Src, q.Dst)
		case !witness.ChecksumValid(p.Data):
			tb.Errorf("%v %v → %v: wrong checksum", p.Point, p.Src, p.Dst)
		}
	}
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
