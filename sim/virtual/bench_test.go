package virtual_test

import (
	"net/netip"
	"testing"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
)

// returner sends back what it gets.
type returner struct {
	sansio.Outbox
	heard int
}

func (m *returner) HandleBound(time.Time, sansio.Socket, netip.AddrPort, error) {}
func (m *returner) HandleInterfaces(time.Time, []netip.Addr)                    {}
func (m *returner) HandleTimeout(time.Time)                                     {}
func (m *returner) PollTimeout() time.Time                                      { return time.Time{} }
func (m *returner) HandleDatagram(_ time.Time, d sansio.Datagram) {
	m.heard++
	m.Send(d.Socket, d.Remote, d.Payload)
}

// BenchmarkPackets is of datagrams that go to and fro between two hosts, each
// behind a NAT and a link of 20 ms: the time of one, over six links.
func BenchmarkPackets(b *testing.B) {
	for name, setting := range map[string]virtual.Setting{"plain": {}, "recorded": {Record: true, Drops: true}} {
		b.Run(name, func(b *testing.B) { benchmarkPackets(b, setting) })
	}
}

func benchmarkPackets(b *testing.B, setting virtual.Setting) {
	lab, err := sim.ParseLab("lab.yaml", []byte(`lab:
  routers: {home: {nat: port-restricted-cone}, away: {nat: port-restricted-cone}}
  hosts: {a: {behind: home}, b: {behind: away}}
  links: {home: {delay: 20ms}, away: {delay: 20ms}}
`))
	if err != nil {
		b.Fatal(err)
	}
	print, err := virtual.Prepare(lab)
	if err != nil {
		b.Fatal(err)
	}
	setting.Seed = 1
	n, err := print.Build(setting)
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	machines := [2]*returner{new(returner), new(returner)}
	running := [2]sim.RunningMachine{}
	for i, m := range machines {
		if running[i], err = n.HostAt(i).Run(b.Context(), m, nil); err != nil {
			b.Fatal(err)
		}
		running[i].Do(func(time.Time) { m.Bind(1, addrPort("0.0.0.0:5000")) })
	}
	// Both speak first, so that each NAT lets the other's packets in.
	for range 10 {
		for i, m := range machines {
			to := n.RouterAt(1 - i).External()[0]
			running[i].Do(func(time.Time) { m.Send(1, netip.AddrPortFrom(to, 5000), make([]byte, 100)) })
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for machines[0].heard+machines[1].heard < b.N {
		elapse(b, n, time.Second)
	}
}

// BenchmarkTimeouts is of machines that want to be called: events that are no
// packets.
func BenchmarkTimeouts(b *testing.B) {
	n := build(b, pair)
	m := &restless{each: ms}
	if _, err := hostOf(b, n, "a").Run(b.Context(), m, nil); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for m.calls < b.N {
		elapse(b, n, time.Second)
	}
}

// BenchmarkBuild builds a lab of two homes and two servers.
func BenchmarkBuild(b *testing.B) {
	lab, err := sim.ParseLab("lab.yaml", []byte(`lab:
  routers: {home: {nat: port-restricted-cone}, away: {nat: port-restricted-cone}}
  hosts: {a: {behind: home}, b: {behind: away}, relay: , rendezvous: {addresses: 2}}
  links: {home: {delay: 20ms}, away: {delay: 20ms}}
`))
	if err != nil {
		b.Fatal(err)
	}
	print, err := virtual.Prepare(lab)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n, err := print.Build(virtual.Setting{Seed: 1})
		if err != nil {
			b.Fatal(err)
		}
		_ = n.Close()
	}
}
