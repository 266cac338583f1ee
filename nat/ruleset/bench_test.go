//go:build linux

package ruleset_test

import (
	"io"
	"net"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

var benchmarked = []nat.Behavior{
	{},
	{Filtering: nat.AddressAndPortDependent, Refresh: nat.RefreshBoth},
	{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Random, Hairpin: nat.HairpinExternal},
}

// The first NAT of a router.
func BenchmarkInstall(b *testing.B) {
	for _, behavior := range benchmarked {
		b.Run(behavior.String(), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				n := newNetwork(b, 0)
				b.StartTimer()
				n.install(behavior)
			}
		})
	}
}

// A NAT that replaces another, or a reboot: the kernel waits for all processors
// before it lets the old table go.
func BenchmarkSwap(b *testing.B) {
	n := behind(b, nat.Behavior{}, 0)
	for b.Loop() {
		must(b, ruleset.Flush(n.conn, n.config(nat.Behavior{}, 1)))
	}
}

// through runs a benchmark without NAT and behind each behaviour.
func through(b *testing.B, bench func(*testing.B, *network)) {
	b.Run("plain", func(b *testing.B) {
		n := newNetwork(b, 1)
		n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
		bench(b, n)
	})
	for _, behavior := range benchmarked {
		b.Run(behavior.String(), func(b *testing.B) { bench(b, behind(b, behavior, 1)) })
	}
}

// One datagram of 100 bytes out and its answer back.
func BenchmarkDatagram(b *testing.B) {
	through(b, func(b *testing.B, n *network) {
		inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
		payload := string(make([]byte, 100))
		for b.Loop() {
			inside.send(server.local(), payload)
			from, _ := server.receive()
			server.send(from, payload)
			inside.receive()
		}
	})
}

// A TCP stream out.
func BenchmarkStream(b *testing.B) {
	through(b, func(b *testing.B, n *network) {
		var l net.Listener
		n.outside.do(func() (err error) { l, err = net.Listen("tcp4", outsideA+":443"); return err })
		defer l.Close()
		go func() {
			if s, err := l.Accept(); err == nil {
				io.Copy(io.Discard, s)
				s.Close()
			}
		}()
		var c net.Conn
		n.hosts[0].do(func() (err error) { c, err = net.DialTimeout("tcp4", outsideA+":443", time.Second); return err })
		defer c.Close()
		block := make([]byte, 1<<17)
		b.SetBytes(int64(len(block)))
		for b.Loop() {
			_, err := c.Write(block)
			must(b, err)
		}
	})
}
