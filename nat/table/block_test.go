package table_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// blockOf makes all mappings that an inside address can get, and gives the ports
// that they have, each once, the lowest and the highest.
func blockOf(t *testing.T, nt *table.Table, now time.Time, inside string) (n int, low, high uint16) {
	t.Helper()
	seen := map[uint16]bool{}
	for port := uint16(1000); ; port++ {
		v := nt.Outbound(now, table.Packet{Src: netip.AddrPortFrom(hosts[inside], port), Dst: endpoint(t, "S:1")})
		if v.Drop == table.Exhausted {
			return len(seen), low, high
		}
		got := v.Packet.Src.Port()
		if v.Drop != table.Passed || seen[got] {
			t.Fatalf("mapping %d of %s: %s, after ports %v", len(seen)+1, inside, v, seen)
		}
		if seen[got] = true; len(seen) == 1 {
			low, high = got, got
		}
		low, high = min(low, got), max(high, got)
	}
}

// Each inside address has a block, which is all that it gets, at a multiple of
// the size from the low end; a block is another's when nobody has used it for the
// timeout.
func TestBlocks(t *testing.T) {
	b := nat.Behavior{Ports: nat.Block, Block: 16, Range: nat.PortRange{Low: 1001, High: 1040}, Timeout: time.Second}
	nt, err := table.New(b, []netip.Addr{hosts["X"]}, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	check := func(offset time.Duration, inside string, wantN int, wantLow, wantHigh uint16) {
		t.Helper()
		if n, low, high := blockOf(t, nt, epoch.Add(offset), inside); n != wantN || low != wantLow || high != wantHigh {
			t.Errorf("at %v %s gets %d ports from %d to %d, want %d from %d to %d", offset, inside, n, low, high, wantN, wantLow, wantHigh)
		}
	}
	check(0, "A", 16, 1001, 1016)
	check(0, "B", 16, 1017, 1032)
	check(0, "C", 0, 0, 0)
	// One packet of B keeps its block, though all others of its mappings expire.
	if v := nt.Outbound(epoch.Add(999*time.Millisecond), table.Packet{Src: endpoint(t, "B:1000"), Dst: endpoint(t, "S:1")}); v.Drop != table.Passed {
		t.Fatal(v)
	}
	check(time.Second, "C", 16, 1001, 1016)
	check(time.Second, "A", 0, 0, 0)
	check(time.Second, "B", 16, 1017, 1032) // still its own, with room for what expired
	nt.Reboot()
	check(time.Second, "A", 16, 1001, 1016)
}

// With parity, an address gets the half of its block that its ports have.
func TestBlocksKeepParity(t *testing.T) {
	b := nat.Behavior{Ports: nat.Block, Block: 17, Parity: nat.ParityKeep, Range: nat.PortRange{Low: 1001, High: 1040}}
	nt, err := table.New(b, []netip.Addr{hosts["X"]}, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	count := map[uint16]int{}
	for port := uint16(2000); port < 2100; port++ {
		if v := nt.Outbound(epoch, table.Packet{Src: netip.AddrPortFrom(hosts["A"], port), Dst: endpoint(t, "S:1")}); v.Drop == table.Passed {
			got := v.Packet.Src.Port()
			if count[port%2]++; got%2 != port%2 || got < 1001 || got > 1017 {
				t.Errorf("%d became %d", port, got)
			}
		}
	}
	if count[0] != 8 || count[1] != 9 {
		t.Errorf("%d even and %d odd ports of 1001-1017, want 8 and 9", count[0], count[1])
	}
}

// With several external addresses each inside address has a block of one, or of
// each in turn.
func TestBlocksOfAPool(t *testing.T) {
	for _, c := range []struct {
		pooling nat.Pooling
		want    []string // the external address of a host's first two mappings
	}{
		{nat.PoolPaired, []string{"Y", "Y"}},
		{nat.PoolArbitrary, []string{"X", "Y"}},
	} {
		b := nat.Behavior{Ports: nat.Block, Block: 16, Pooling: c.pooling, Range: nat.PortRange{Low: 1000, High: 1015}}
		nt, err := table.New(b, []netip.Addr{hosts["X"], hosts["Y"]}, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range c.want {
			v := nt.Outbound(epoch, table.Packet{Src: netip.AddrPortFrom(hosts["A"], uint16(i)), Dst: endpoint(t, "S:1")})
			if v.Drop != table.Passed || v.Packet.Src.Addr() != hosts[want] {
				t.Errorf("%v pooling, mapping %d: %s, want %s", c.pooling, i, v, want)
			}
		}
	}
}
