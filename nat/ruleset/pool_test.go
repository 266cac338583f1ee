//go:build linux

package ruleset_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// All mappings of a host have one external address, and hosts share out the
// addresses.
func TestPoolPaired(t *testing.T) {
	n := newNetwork(t, 6)
	must(t, ruleset.Install(n.conn, n.config(nat.Behavior{Pooling: nat.PoolPaired}, 3)))
	server := n.outside.udp(outsideA + ":3478")
	used := map[netip.Addr]bool{}
	for h, host := range n.hosts {
		first := mapped(host.udp(hostAddr(h)+":5000"), server).Addr()
		used[first] = true
		for i := range 10 {
			if got := mapped(host.udp(hostAddr(h)+":0"), server).Addr(); got != first {
				t.Fatalf("host %d: mapping %d has %v, the first has %v", h, i+2, got, first)
			}
		}
	}
	if len(used) < 2 {
		t.Errorf("six hosts use %v only", used)
	}
}

// Mappings take the external addresses in turn, whatever host they are of, and
// each address has all its ports.
func TestPoolArbitrary(t *testing.T) {
	n := newNetwork(t, 2)
	b := nat.Behavior{Pooling: nat.PoolArbitrary, Ports: nat.Sequential, Range: nat.PortRange{Low: 40000, High: 40001}}
	must(t, ruleset.Install(n.conn, n.config(b, 3)))
	server := n.outside.udp(outsideA + ":3478")
	seen := map[netip.AddrPort]bool{}
	for i := range 6 {
		ext := mapped(n.hosts[i%2].udp(hostAddr(i%2)+":0"), server)
		if want := externalAddrs[i%3]; ext.Addr() != want {
			t.Errorf("mapping %d has %v, want %v", i, ext.Addr(), want)
		}
		if seen[ext] {
			t.Errorf("%v is given twice", ext)
		}
		seen[ext] = true
	}
	if late := n.hosts[0].udp(hostAddr(0) + ":0"); reaches(late, server.local(), server) {
		t.Errorf("a seventh mapping of six")
	}
}

// The sequential counter starts at the low end and wraps at the high end.
func TestSequence(t *testing.T) {
	n := behind(t, nat.Behavior{Ports: nat.Sequential, Range: nat.PortRange{Low: 1024, High: 1123}, Timeout: 200 * time.Millisecond}, 1)
	server := n.outside.udp(outsideA + ":3478")
	for i := range 100 {
		if got, want := mapped(n.hosts[0].udp(hostAddr(0)+":0"), server).Port(), uint16(1024+i); got != want {
			t.Fatalf("mapping %d has port %d, want %d", i, got, want)
		}
	}
	until(t, func() bool { ms, err := ruleset.Mappings(n.conn); must(t, err); return len(ms) == 0 })
	if got := mapped(n.hosts[0].udp(hostAddr(0)+":0"), server).Port(); got != 1024 {
		t.Errorf("after the last port comes %d, want 1024", got)
	}
}

// Where no port is free, or the table is full, new mappings are dropped and the
// present ones live. What expired makes room.
func TestExhaustion(t *testing.T) {
	tests := []struct {
		name string
		b    nat.Behavior
		room int
	}{
		{"sequential ports", nat.Behavior{Ports: nat.Sequential, Range: nat.PortRange{Low: 40000, High: 40004}}, 5},
		{"random ports", nat.Behavior{Ports: nat.Random, Range: nat.PortRange{Low: 40000, High: 40004}}, 5},
		{"preserved ports", nat.Behavior{Ports: nat.Preserve, Range: nat.PortRange{Low: 40000, High: 40004}}, 5},
		{"one port", nat.Behavior{Ports: nat.Sequential, Range: nat.PortRange{Low: 65535, High: 65535}}, 1},
		{"a step of two", nat.Behavior{Ports: nat.Sequential, Delta: 2, Range: nat.PortRange{Low: 40000, High: 40004}}, 3},
		{"random fallback", nat.Behavior{Fallback: nat.FallbackRandom, Range: nat.PortRange{Low: 40000, High: 40004}}, 5},
		{"only ports of the wrong parity are free", nat.Behavior{Parity: nat.ParityKeep, Ports: nat.Random, Range: nat.PortRange{Low: 40000, High: 40001}}, 1},
		{"a block", nat.Behavior{Ports: nat.Block, Block: 16, Range: nat.PortRange{Low: 40000, High: 40063}}, 16},
		{"table", nat.Behavior{Ports: nat.Sequential, TableSize: 3}, 3},
		{"table, a mapping each destination", nat.Behavior{Mapping: nat.AddressAndPortDependent, Ports: nat.Random, TableSize: 4}, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.b.Timeout = 500 * time.Millisecond
			n := behind(t, tt.b, 1)
			server := n.outside.udp(outsideA + ":3478")
			var inside []*socket
			var external []netip.AddrPort
			for i := range tt.room {
				s := n.hosts[0].udp(fmt.Sprintf("%s:%d", hostAddr(0), 39998+i))
				inside, external = append(inside, s), append(external, mapped(s, server))
			}
			late := n.hosts[0].udp(hostAddr(0) + ":50000")
			start := time.Now()
			if reaches(late, server.local(), server) && time.Since(start) < tt.b.Timeout/2 {
				t.Fatalf("one mapping more than %d\n%s", tt.room, n.dump())
			}
			for i, s := range inside {
				if got := mapped(s, server); got != external[i] {
					t.Errorf("mapping %d moved from %v to %v", i, external[i], got)
				}
			}
			until(t, func() bool { return reaches(late, server.local(), server) })
		})
	}
}

// until waits for a condition.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * patience); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after %v", 2*patience)
		}
	}
}
