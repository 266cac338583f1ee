//go:build linux

package ruleset_test

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

var portRestricted = nat.Behavior{Filtering: nat.AddressAndPortDependent}

// Three hosts use one source port: one keeps it, and all three keep one mapping
// each for all destinations. Linux's own NAT fails this.
func TestContention(t *testing.T) {
	n := behind(t, portRestricted, 3)
	one, other := n.outside.udp(outsideA+":3478"), n.outside.udp(outsideB+":3479")
	for i := range 200 {
		owner := map[netip.AddrPort]int{}
		port := 20000 + i
		for h, host := range n.hosts {
			s := host.udp(fmt.Sprintf("%s:%d", hostAddr(h), port))
			ext := mapped(s, one)
			if before, taken := owner[ext]; taken {
				t.Fatalf("source port %d: hosts %d and %d share %v", port, before, h, ext)
			}
			owner[ext] = h
			if h == 0 && int(ext.Port()) != port {
				t.Fatalf("source port %d was free, but host 0 got %v", port, ext)
			}
			if again := mapped(s, other); again != ext {
				t.Fatalf("source port %d, host %d: %v for one destination, %v for another", port, h, ext, again)
			}
			if !reaches(other, ext, s) {
				t.Fatalf("source port %d, host %d: the answer to %v does not arrive", port, h, ext)
			}
			s.Close()
		}
	}
}

// The peer's probe reaches the router before our own packet left. The port must
// stay what it would have been, and the next probe must pass. Linux's own NAT
// remaps here where the router's input accepts.
func TestPeerFirst(t *testing.T) {
	n := behind(t, portRestricted, 1)
	peer := n.outside.udp(outsideA + ":3478")
	for i := range 300 {
		port := uint16(20000 + i)
		inside := n.hosts[0].udp(fmt.Sprintf("%s:%d", hostAddr(0), port))
		expected := netip.AddrPortFrom(externalAddrs[0], port)
		if reaches(peer, expected, inside) {
			t.Fatalf("port %d: the unsolicited probe entered", port)
		}
		if ext := mapped(inside, peer); ext != expected {
			t.Fatalf("port %d: mapped to %v after the probe", port, ext)
		}
		if !reaches(peer, expected, inside) {
			t.Fatalf("port %d: the second probe does not pass", port)
		}
		inside.Close()
	}
}

// Two hosts send from one source port at one instant on two processors. They
// must never share an external port. Without the atomic claim they did in 1 to 2
// trials of 100 (measured on Linux 6.18).
func TestTwoProcessors(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Fatal("this test needs two processors: run it on a machine, or in a container, that has them")
	}
	four := nat.PortRange{Low: 40000, High: 40003} // a draw of four clashes often
	for _, c := range []struct {
		b    nat.Behavior
		life time.Duration
	}{
		{nat.Behavior{Ports: nat.Preserve}, 0},
		{nat.Behavior{Ports: nat.Sequential}, 0},
		{nat.Behavior{Ports: nat.Sequential, Delta: 3, Parity: nat.ParityKeep}, 0},
		{nat.Behavior{Ports: nat.Random, Range: four, Timeout: nat.MinTimeout}, nat.MinTimeout},
		{nat.Behavior{Fallback: nat.FallbackRandom, Range: four, Timeout: nat.MinTimeout}, nat.MinTimeout},
	} {
		t.Run(c.b.String(), func(t *testing.T) {
			n := behind(t, c.b, 2)
			defer func() {
				if t.Failed() {
					t.Log(n.dump())
				}
			}()
			race(t, n, 1000, c.life, func() {})
		})
	}
}

// The same for blocks: two hosts that need their first ones at one instant get
// one each, and so never the same port of the two ports that there are.
func TestTwoProcessorsNeedBlocks(t *testing.T) {
	b := nat.Behavior{Ports: nat.Block, Block: nat.MinBlock, Range: nat.PortRange{Low: 40000, High: 40000 + 2*nat.MinBlock - 1}}
	n := behind(t, b, 2)
	seen := map[int]int{}
	race(t, n, 300, 0, func() {
		ms, err := ruleset.Mappings(n.conn)
		must(t, err)
		blocks := map[uint16]netip.Addr{}
		for _, m := range ms {
			block := (m.External.Port() - 40000) / nat.MinBlock
			if owner, ok := blocks[block]; ok && owner != m.Inside.Addr() {
				t.Fatalf("%v and %v have ports of one block\n%s", owner, m.Inside.Addr(), n.dump())
			}
			blocks[block] = m.Inside.Addr()
		}
		seen[len(blocks)]++
		must(t, ruleset.Empty(n.conn))
	})
	if seen[2] != 300 {
		t.Errorf("blocks in use after a race, and how often: %v; want two each time", seen)
	}
}

// race has two hosts send at once from one source port, trials times. With a life,
// the range is tiny and mappings live for so long: packets that find no port are
// lost, and what arrives must be distinct. On a machine that lets one of the
// two wait until the other one's mapping has ended, the port is free again: such a
// trial is none, and most have to be some. After each trial it calls then.
func race(t *testing.T, n *network, trials int, life time.Duration, then func()) {
	server := n.outside.udp(outsideA + ":3478")
	var ready atomic.Int64
	var turns [2]chan *socket
	sent := make(chan error, 2)
	for i := range turns {
		turns[i] = make(chan *socket)
		defer close(turns[i])
		go func() {
			runtime.LockOSThread() // and never unlock: the affinity dies with the thread
			var cpu unix.CPUSet
			cpu.Set(i)
			err := unix.SchedSetaffinity(0, &cpu)
			both := int64(0)
			for s := range turns[i] {
				both += 2
				for ready.Add(1); ready.Load() < both; {
				}
				_, werr := s.WriteToUDPAddrPort([]byte("race"), server.local())
				sent <- errors.Join(err, werr)
			}
		}()
	}
	outlived := 0
	for trial := range trials {
		var pair [2]*socket
		for i, host := range n.hosts {
			pair[i] = host.udp(fmt.Sprintf("%s:%d", hostAddr(i), 2000+trial))
		}
		began := time.Now()
		turns[0] <- pair[0]
		turns[1] <- pair[1]
		must(t, <-sent)
		must(t, <-sent)
		if life > 0 {
			first, _, ok1 := server.poll()
			second, _, ok2 := server.poll()
			if time.Since(began) >= life {
				outlived++
			} else if ok1 && ok2 && first == second {
				t.Fatalf("trial %d: both hosts got %v", trial, first)
			}
		} else if first, second := server.expect("race"), server.expect("race"); first == second {
			t.Fatalf("trial %d: both hosts got %v", trial, first)
		}
		then()
		pair[0].Close()
		pair[1].Close()
	}
	if outlived > trials/2 {
		t.Errorf("%d of %d trials took longer than the %v that a mapping lives: the machine is too busy to tell", outlived, trials, life)
	}
}
