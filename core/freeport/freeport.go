// Package freeport gives tests ports for servers that have to be told theirs: programs
// of others, members of a cluster, a restart at the same place. Who can be given port 0
// should be, and tell.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
)

// Ports are of none of the ranges from which systems and relays draw (32768 and up on
// Linux, 49152 and up elsewhere and in RFC 8656): what is free there may be anybody's a
// moment later.
const (
	low  = 20000
	high = 32000
)

// next is where the next search begins. No port is given twice by one process before
// all were, and processes that run at once begin at different places.
var next atomic.Uint32

func init() { next.Store(rand.Uint32N(high - low)) }

// Of gives a port of 127.0.0.1, for UDP and TCP.
func Of(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(Row(t, 1)))
}

// Row gives the first of n ports in a row, of 127.0.0.1, for UDP and TCP.
func Row(t testing.TB, n int) int {
	t.Helper()
	if n < 1 || n > 100 {
		t.Fatalf("%d ports in a row: want 1 to 100", n)
	}
	for range (high - low) / n {
		first := low + (next.Add(uint32(n))-uint32(n))%uint32(high-low-n+1)
		if free(int(first), n) {
			return int(first)
		}
	}
	t.Fatalf("no %d ports in a row are free from %d to %d", n, low, high)
	return 0
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		at := fmt.Sprintf("127.0.0.1:%d", port)
		stream, err := net.Listen("tcp4", at)
		if err != nil {
			return false
		}
		stream.Close()
		datagrams, err := net.ListenPacket("udp4", at)
		if err != nil {
			return false
		}
		datagrams.Close()
	}
	return true
}
