//go:build linux

package wire_test

import (
	"fmt"
	"testing"
	"time"

	"p2pmodel/sim/kernel/wire"
	"p2pmodel/sim/link"
)

// newProcessCable joins two nodes by a link of a process of wires, as labs do.
func newProcessCable(tb testing.TB, up, down link.Impairment) *cable {
	tb.Helper()
	p, err := wire.StartProcess(processName)
	must(tb, err)
	tb.Cleanup(func() { must(tb, p.Close()) })
	c, ends := newEnds(tb)
	c.link, err = p.Add(ends[0], ends[1], up, down, 42)
	must(tb, err)
	return c
}

// BenchmarkDelay reports how late datagrams of one flow are, a datagram each
// millisecond. An idle machine of two cores shows some 45 µs and 120 µs.
func BenchmarkDelay(b *testing.B) {
	for _, delay := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond} {
		b.Run(fmt.Sprint(delay), func(b *testing.B) {
			c := newProcessCable(b, link.Impairment{Delay: delay}, link.Impairment{})
			to := c.udp(b, 1)
			from := c.dial(b, 0, to)
			for b.Loop() {
				took := delays(sendPaced(b, c, from, to, 2000, 64, time.Millisecond))
				b.ReportMetric(float64(percentile(took, .5)-delay)/1e3, "µs-p50")
				b.ReportMetric(float64(percentile(took, .99)-delay)/1e3, "µs-p99")
				b.ReportMetric(float64(2000-len(took)), "lost")
				late, _ := c.link.Late()
				b.ReportMetric(float64(late.P99)/1e3, "µs-p99-wire")
			}
		})
	}
}

// BenchmarkTCP reports the speed of one TCP connection, with segments of offload
// (delay only) and without (with a loss that never comes true).
func BenchmarkTCP(b *testing.B) {
	for _, bench := range []struct {
		name string
		imp  link.Impairment
	}{
		{"0ms", link.Impairment{}},
		{"5ms", link.Impairment{Delay: 5 * time.Millisecond}},
		{"packet by packet", link.Impairment{Loss: 1e-12}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			const size = 256 << 20
			c := newProcessCable(b, bench.imp, link.Impairment{})
			b.SetBytes(size)
			for b.Loop() {
				took := transfer(b, c, size)
				b.ReportMetric(size*8/took.Seconds()/1e9, "Gbit/s")
				up, _ := c.link.Counters()
				b.ReportMetric(float64(up.Bytes)/float64(up.Delivered), "B/frame")
			}
		})
	}
}

// BenchmarkUDP reports how many small datagrams a second pass, sent as fast as
// one thread can.
func BenchmarkUDP(b *testing.B) {
	c := newProcessCable(b, link.Impairment{}, link.Impairment{})
	to := c.udp(b, 1)
	from := c.dial(b, 0, to)
	payload := make([]byte, 100)
	start := time.Now()
	n := 0
	for b.Loop() {
		if _, err := from.Write(payload); err != nil {
			b.Fatal(err)
		}
		n++
	}
	up, _ := c.link.Counters()
	b.ReportMetric(float64(up.Delivered)/time.Since(start).Seconds(), "delivered/s")
	b.ReportMetric(float64(up.Overrun+up.Failed), "dropped")
}
