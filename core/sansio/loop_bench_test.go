package sansio

import (
	"net"
	"testing"
	"time"
)

// BenchmarkEcho measures datagrams through a machine and back over loopback, a
// window of them under way.
func BenchmarkEcho(b *testing.B) { benchmarkEcho(b, 64) }

// BenchmarkPingPong has one under way: what it measures is how soon the loop wakes.
func BenchmarkPingPong(b *testing.B) { benchmarkEcho(b, 1) }

func benchmarkEcho(b *testing.B, window int) {
	m := new(echo)
	events := make(chan Event, 10)
	l := NewLoop(m, System(), func(_ time.Time, e Event) { events <- e })
	ctx := b.Context()
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	b.Cleanup(func() { <-done })
	l.Do(func(time.Time) { m.Bind(1, loopback) })
	to := (<-events).(boundEvent).local
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	payload, buf := make([]byte, 120), make([]byte, 2000)
	b.ResetTimer()
	for i := 0; i < b.N+window; i++ {
		if i < b.N {
			if _, err := c.Write(payload); err != nil {
				b.Fatal(err)
			}
		}
		if i >= window {
			if _, err := c.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "datagrams/s")
}
