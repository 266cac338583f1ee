package table_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// drawBehavior draws from the whole space, with ranges and timeouts so small
// that exhaustion, contention and expiry happen.
func drawBehavior(t *rapid.T) nat.Behavior {
	low := uint16(rapid.IntRange(5000, 5004).Draw(t, "low"))
	seconds := func(what string, from int) time.Duration {
		return time.Duration(rapid.IntRange(from, 5).Draw(t, what)) * time.Second
	}
	b := nat.Behavior{
		Mapping:   nat.Dependence(rapid.IntRange(0, 2).Draw(t, "mapping")),
		Filtering: nat.Dependence(rapid.IntRange(0, 2).Draw(t, "filtering")),
		Scope:     nat.Scope(rapid.IntRange(0, 1).Draw(t, "scope")),
		Ports:     nat.Allocation(rapid.IntRange(0, 3).Draw(t, "ports")),
		Parity:    nat.Parity(rapid.IntRange(0, 1).Draw(t, "parity")),
		Pooling:   nat.Pooling(rapid.IntRange(0, 1).Draw(t, "pooling")),
		Refresh:   nat.Refresh(rapid.IntRange(0, 2).Draw(t, "refresh")),
		Hairpin:   nat.Hairpin(rapid.IntRange(0, 2).Draw(t, "hairpin")),
		Range:     nat.PortRange{Low: low, High: low + uint16(rapid.IntRange(0, 6).Draw(t, "ports in range"))},
		TableSize: rapid.IntRange(1, 12).Draw(t, "size"),
		Timeout:   seconds("timeout", 1),
		Stream:    seconds("stream", 0),
		Rotate:    seconds("rotate", 0),
		Full:      nat.Full(rapid.IntRange(0, 1).Draw(t, "full")),
	}
	switch b.Ports {
	case nat.Preserve:
		b.Fallback = nat.Fallback(rapid.IntRange(0, 1).Draw(t, "fallback"))
	case nat.Block:
		b.Block, b.Range.High = 16, low+uint16(rapid.IntRange(15, 40).Draw(t, "ports in range"))
	}
	if size := b.Range.Size(); size > 1 && (b.Ports == nat.Sequential || b.Ports == nat.Preserve && b.Fallback == nat.FallbackSequential) {
		b.Delta = rapid.IntRange(1, size-1).Draw(t, "delta")
	}
	return b
}

// TestProperties drives a NAT with random traffic and holds what it does
// against an account of its own: who sent what to whom, and when.
func TestProperties(t *testing.T) {
	type contact struct{ inside, remote netip.AddrPort }
	rapid.Check(t, func(t *rapid.T) {
		b := drawBehavior(t)
		external := []netip.Addr{hosts["X"], hosts["Y"]}[:rapid.IntRange(1, 2).Draw(t, "addresses")]
		nt, err := table.New(b, external, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		if err != nil {
			t.Fatal(err)
		}
		now := epoch
		last := make(map[contact]time.Time) // of traffic that keeps the contact
		ports := rapid.Uint16Range(5000, 5003)
		outside := rapid.SampledFrom([]netip.Addr{hosts["S"], hosts["T"]})
		within := func(d nat.Dependence, a, b netip.AddrPort) bool {
			return d == nat.EndpointIndependent || a.Addr() == b.Addr() && (d == nat.AddressDependent || a.Port() == b.Port())
		}
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "pause")) * time.Millisecond)
			remote := netip.AddrPortFrom(outside.Draw(t, "remote"), ports.Draw(t, "remote port"))
			if rapid.Bool().Draw(t, "outbound") {
				inside := netip.AddrPortFrom(rapid.SampledFrom([]netip.Addr{hosts["A"], hosts["B"]}).Draw(t, "host"), ports.Draw(t, "port"))
				if v := nt.Outbound(now, table.Packet{Src: inside, Dst: remote}); v.Drop == table.Passed {
					last[contact{inside, remote}] = now
					if v.Packet.Dst != remote || !b.Range.Contains(v.Packet.Src.Port()) || b.Parity == nat.ParityKeep && (v.Packet.Src.Port()^inside.Port())%2 != 0 {
						t.Fatalf("%s > %s left as %s", inside, remote, v)
					}
				}
			} else {
				to := netip.AddrPortFrom(rapid.SampledFrom(external).Draw(t, "external"), rapid.Uint16Range(4999, 5044).Draw(t, "external port"))
				before := nt.Mappings(now)
				v := nt.Inbound(now, table.Packet{Src: remote, Dst: to})
				var owner *table.Mapping
				for _, m := range before {
					if m.External == to {
						owner = &m
					}
				}
				if (owner == nil) != (v.Drop == table.NoMapping || v.Drop == table.Expired) {
					t.Fatalf("to %s: %s, while the mapping is %v", to, v, owner)
				}
				if v.Drop == table.Passed {
					contacted := false
					for c, at := range last {
						if c.inside == owner.Inside && now.Before(at.Add(max(b.Timeout, b.Stream))) && within(b.Filtering, c.remote, remote) {
							contacted = true
							if b.Refresh != nat.RefreshOutbound && c.remote == remote {
								last[c] = now
							}
						}
					}
					if !contacted {
						t.Fatalf("%s let in %s, which nobody contacted", b, v)
					}
					if b.Refresh != nat.RefreshOutbound {
						last[contact{owner.Inside, remote}] = now
					}
				}
			}
			checkMappings(t, nt, b, now)
		}
	})
}

// checkMappings holds what is true of any set of live mappings.
func checkMappings(t *rapid.T, nt *table.Table, b nat.Behavior, now time.Time) {
	live := nt.Mappings(now)
	if len(live) > b.TableSize {
		t.Fatalf("%d mappings in a table of %d", len(live), b.TableSize)
	}
	external := make(map[netip.AddrPort]bool)
	inside := make(map[netip.AddrPort]int)
	address := make(map[netip.Addr]netip.Addr)
	block := make(map[netip.AddrPort]netip.Addr)
	for _, m := range live {
		if b.Ports == nat.Block {
			at := netip.AddrPortFrom(m.External.Addr(), (m.External.Port()-b.Range.Low)/uint16(b.Block))
			if owner, ok := block[at]; ok && owner != m.Inside.Addr() {
				t.Fatalf("a block of two inside addresses: %v", live)
			}
			block[at] = m.Inside.Addr()
		}
		if external[m.External] {
			t.Fatalf("two mappings share %s: %v", m.External, live)
		}
		external[m.External] = true
		if inside[m.Inside]++; b.Mapping == nat.EndpointIndependent && inside[m.Inside] > 1 {
			t.Fatalf("endpoint-independent, and two mappings for %s: %v", m.Inside, live)
		}
		if a, ok := address[m.Inside.Addr()]; b.Pooling == nat.PoolPaired && ok && a != m.External.Addr() {
			t.Fatalf("paired, and two external addresses for %s: %v", m.Inside.Addr(), live)
		}
		address[m.Inside.Addr()] = m.External.Addr()
		if !now.Before(m.Expires) || m.Expires.After(now.Add(max(b.Timeout, b.Stream))) {
			t.Fatalf("at %v a mapping expires at %v, with a timeout of %v", now, m.Expires, b.Timeout)
		}
	}
}

// TestExpiryIsExact: after the last refresh a mapping lives for the timeout,
// and not a nanosecond more.
func TestExpiryIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := nat.Behavior{
			Filtering: nat.Dependence(rapid.IntRange(0, 2).Draw(t, "filtering")),
			Refresh:   nat.Refresh(rapid.IntRange(0, 1).Draw(t, "refresh")),
			Timeout:   time.Duration(rapid.IntRange(100, 100_000).Draw(t, "ms")) * time.Millisecond,
		}
		nt, err := table.New(b, []netip.Addr{hosts["X"]}, nil)
		if err != nil {
			t.Fatal(err)
		}
		inside, server, ext := netip.AddrPortFrom(hosts["A"], 5000), netip.AddrPortFrom(hosts["S"], 1), netip.AddrPortFrom(hosts["X"], 5000)
		now, expires := epoch, epoch
		for i := range rapid.IntRange(1, 8).Draw(t, "packets") {
			if i == 0 || rapid.Bool().Draw(t, "outbound") {
				nt.Outbound(now, table.Packet{Src: inside, Dst: server})
				expires = now.Add(b.Timeout)
			} else {
				if v := nt.Inbound(now, table.Packet{Src: server, Dst: ext}); v.Drop != table.Passed {
					t.Fatalf("dropped before its time: %s", v)
				}
				if b.Refresh == nat.RefreshBoth {
					expires = now.Add(b.Timeout)
				}
			}
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(expires.Sub(now))-1).Draw(t, "pause")))
		}
		if got := nt.NextExpiry(); !got.Equal(expires) {
			t.Fatalf("the next expiry is %v, want %v", got, expires)
		}
		if n := len(nt.Mappings(expires.Add(-1))); n != 1 {
			t.Fatalf("%d mappings a nanosecond before the timeout, want 1", n)
		}
		if v := nt.Inbound(expires, table.Packet{Src: server, Dst: ext}); v.Drop != table.Expired {
			t.Fatalf("at the timeout: %s, want an expired mapping", v)
		}
	})
}
