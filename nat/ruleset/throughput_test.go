//go:build linux

package ruleset_test

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"p2pmodel/nat"
)

// leastShare is the part of the rate without a NAT that TCP reaches behind one, at
// least.
const leastShare = 0.8

// throughputs are NATs with few and with many rules for each packet.
var throughputs = []nat.Behavior{
	{},
	{Filtering: nat.AddressAndPortDependent, Refresh: nat.RefreshBoth},
	{
		Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Refresh: nat.RefreshBoth,
		Ports: nat.Block, Parity: nat.ParityKeep, Rotate: time.Hour, Stream: time.Minute,
	},
}

// stream is a TCP connection from an inside host outwards, whose other end reads
// all.
func (n *network) stream() net.Conn {
	n.t.Helper()
	var l net.Listener
	n.outside.do(func() (err error) { l, err = net.Listen("tcp4", outsideA+":443"); return err })
	defer l.Close()
	var c net.Conn
	n.hosts[0].do(func() (err error) { c, err = net.DialTimeout("tcp4", outsideA+":443", patience); return err })
	s, err := l.Accept()
	must(n.t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(io.Discard, s)
	}()
	n.t.Cleanup(func() { c.Close(); <-done; s.Close() })
	return c
}

// rate is how many bytes a second a stream takes, over a moment.
func rate(t testing.TB, c net.Conn, block []byte) float64 {
	const moment = 20 * time.Millisecond
	began, sent := time.Now(), 0
	for time.Since(began) < moment {
		n, err := c.Write(block)
		must(t, err)
		sent += n
	}
	return float64(sent) / time.Since(began).Seconds()
}

// share is what part of the rate without a NAT a stream behind the behaviour
// has: the median of moments of the one and the other in turn, since what else
// the machine does is the same for both then.
func share(t testing.TB, b nat.Behavior, rounds int) float64 {
	direct := newNetwork(t, 1)
	direct.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
	plain, natted := direct.stream(), behind(t, b, 1).stream()
	block := make([]byte, 1<<17)
	var shares []float64
	for range rounds {
		without := rate(t, plain, block)
		shares = append(shares, rate(t, natted, block)/without)
	}
	slices.Sort(shares)
	return shares[rounds/2]
}

// TestThroughput: TCP behind a NAT has nearly the rate that it has without.
func TestThroughput(t *testing.T) {
	for _, b := range throughputs {
		t.Run(b.String(), func(t *testing.T) {
			best := 0.0
			for range 5 { // a machine that works for others too is not always fair
				if best = max(best, share(t, b, 41)); best >= leastShare {
					return
				}
			}
			t.Errorf("TCP has %.0f %% of the rate without a NAT, want %.0f %% at least", 100*best, 100*leastShare)
		})
	}
}

// BenchmarkThroughput reports that share.
func BenchmarkThroughput(b *testing.B) {
	for _, behavior := range throughputs {
		b.Run(behavior.String(), func(b *testing.B) {
			b.ReportMetric(100*share(b, behavior, max(b.N, 41)), "%-of-rate-without")
		})
	}
}
