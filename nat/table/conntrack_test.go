package table_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// Ranges of two ports tell what is drawn at random.
func TestConntrackConversations(t *testing.T) {
	const early = "kind=masquerade,range=5000-5001,early-inbound=accept"
	for _, c := range []struct{ name, behavior, lines string }{
		{"endpoint-independent as long as nobody else wants the port", "kind=masquerade", `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out A:5000 > S:2 = X:5000 > S:2
			0s out A:5000 > T:1 = X:5000 > T:1
			0s in  T:1 > X:5000 = T:1 > A:5000
			0s in  T:2 > X:5000 = filtered
			0s in  T:2 > X:5001 = no mapping`},
		{"hosts share a port while their destinations differ", "kind=masquerade,range=5000-5001", `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out B:5000 > T:1 = X:5000 > T:1
			0s in  S:1 > X:5000 = S:1 > A:5000
			0s in  T:1 > X:5000 = T:1 > B:5000
			0s out B:5000 > S:1 = X:5001 > S:1
			0s out A:5000 > S:1 = X:5000 > S:1`},
		{"an endpoint keeps the port that it was given for further destinations, where that is free", "kind=masquerade,range=5000-5001", `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out B:5000 > S:1 = X:5001 > S:1
			0s out B:5000 > T:1 = X:5001 > T:1
			0s out A:5001 > S:2 = X:5001 > S:2
			0s out B:5000 > S:2 = X:5000 > S:2`},
		{"no port is free towards a remote that two have, and one is towards another", "kind=masquerade,range=5000-5001", `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out B:5000 > S:1 = X:5001 > S:1
			0s out C:5000 > S:1 = no free port
			0s out C:5000 > T:1 = X:5000 > T:1`},
		{"the peer comes first and is dropped: the port stays what it was", "kind=masquerade,range=5000-5001", `
			0s in  T:1 > X:5000 = no mapping
			0s out A:5000 > T:1 = X:5000 > T:1
			0s in  T:1 > X:5000 = T:1 > A:5000`},
		{"the peer comes first and is accepted: our packet clashes with its flow", early, `
			0s  in  T:1 > X:5000 = no mapping
			1s  out A:5000 > S:1 = X:5000 > S:1
			1s  out A:5000 > T:1 = X:5001 > T:1
			1s  in  T:1 > X:5000 = filtered
			1s  in  T:1 > X:5001 = T:1 > A:5000
			31s out A:5000 > T:1 = X:5000 > T:1`},
		{"the peer's further probes keep its flow", early + ",timeout=2s", `
			0s   in  T:1 > X:5000 = no mapping
			1s   in  T:1 > X:5000 = no mapping
			2.9s out A:5000 > T:1 = X:5001 > T:1`},
		{"a segment of TCP that is refused leaves nothing", early, `
			0s in  tcp T:1 > X:5000 = no mapping
			0s out tcp A:5000 > T:1 = X:5000 > T:1`},
		{"a flow without answers lives for the timeout, refreshed by our packets", "kind=masquerade,timeout=2s,stream=8s", `
			0s     out A:5000 > S:1 = X:5000 > S:1
			1.9s   out A:5000 > S:1 = X:5000 > S:1
			3.8s   out A:5000 > S:1 = X:5000 > S:1
			5.799s in  S:1 > X:5000 = S:1 > A:5000
			7.8s   in  S:1 > X:5000 = no mapping`},
		{"a question and its answer make no stream", "kind=masquerade,timeout=3s,stream=8s", `
			0s    out A:5000 > S:1 = X:5000 > S:1
			0.1s  in  S:1 > X:5000 = S:1 > A:5000
			2s    out A:5000 > S:1 = X:5000 > S:1
			5s    in  S:1 > X:5000 = no mapping`},
		{"a flow that was answered and is older than 2 s is a stream, refreshed from both sides", "kind=masquerade,timeout=3s,stream=8s", `
			0s    out A:5000 > S:1 = X:5000 > S:1
			0.1s  in  S:1 > X:5000 = S:1 > A:5000
			2.1s  out A:5000 > S:1 = X:5000 > S:1
			10s   in  S:1 > X:5000 = S:1 > A:5000
			17.9s in  S:1 > X:5000 = S:1 > A:5000
			25.9s in  S:1 > X:5000 = no mapping`},
		{"each flow has a time of its own", "kind=masquerade,timeout=2s", `
			0s  out A:5000 > S:1 = X:5000 > S:1
			1s  out A:5000 > T:1 = X:5000 > T:1
			2s  in  S:1 > X:5000 = filtered
			2s  in  T:1 > X:5000 = T:1 > A:5000`},
		{"protocols have ports and times of their own", "kind=masquerade,timeout-icmp=4s,timeout=2s", `
			0s out tcp  A:5000 > S:1 = X:5000 > S:1
			0s out icmp B:5000 > S:0 = X:5000 > S:0
			0s out      C:5000 > S:1 = X:5000 > S:1
			3s in  icmp S:0 > X:5000 = S:0 > B:5000
			3s in  tcp  S:1 > X:5000 = S:1 > A:5000
			3s in       S:1 > X:5000 = no mapping`},
		{"without a range low ports are kept", "kind=masquerade", `
			0s out A:53 > S:1 = X:53 > S:1`},
		{"out of the range one is drawn", "kind=masquerade,range=40000-40000", `
			0s out A:5000 > S:1 = X:40000 > S:1
			0s out A:5000 > T:1 = X:40000 > T:1`},
		{"a range of one port, at random", "kind=masquerade-fully-random,range=7-7", `
			0s out A:7 > S:1 = X:7 > S:1
			0s out B:7 > T:1 = X:7 > T:1
			0s out B:7 > S:1 = no free port`},
		{"the table's size bounds the flows of a protocol", "kind=masquerade,size=1", `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out A:5000 > S:2 = table full
			0s out tcp A:5000 > S:2 = X:5000 > S:2`},
		{"no hairpin", "kind=masquerade", `
			0s out B:6000 > S:1 = X:6000 > S:1
			0s out A:5000 > X:6000 = hairpin refused`},
		{"a reboot loses all flows", early, `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s in  T:1 > X:5000 = filtered
			0s reboot
			0s in  S:1 > X:5000 = no mapping
			0s out B:5000 > T:1 = X:5000 > T:1`},
	} {
		t.Run(c.name, func(t *testing.T) { converse(t, c.behavior, []string{"X"}, c.lines) })
	}
}

// With masquerade an endpoint has one port for all remotes; the random kinds draw
// one for each.
func TestConntrackDrawsForEachFlow(t *testing.T) {
	for kind, most := range map[nat.Kind]int{nat.KindMasquerade: 1, nat.KindMasqueradeRandom: 100, nat.KindMasqueradeFullyRandom: 100} {
		b, _ := kind.Implied()
		nt, err := table.New(b, []netip.Addr{hosts["X"]}, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		ports := make(map[uint16]bool)
		for port := range uint16(100) {
			v := nt.Outbound(epoch, table.Packet{Src: endpoint(t, "A:5000"), Dst: netip.AddrPortFrom(hosts["S"], 1+port)})
			ports[v.Packet.Src.Port()] = true
		}
		if len(ports) > most || len(ports) < most*9/10 {
			t.Errorf("%s: %d ports for a hundred remotes", kind, len(ports))
		}
	}
}

// Masquerade takes the interface's first address, whatever others it has.
func TestConntrackHasOneAddress(t *testing.T) {
	converse(t, "kind=masquerade", []string{"X", "Y"}, `
		0s out A:5000 > S:1 = X:5000 > S:1
		0s out B:5001 > S:1 = X:5001 > S:1
		0s out B:5001 > Y:5000 = hairpin refused`)
}

func TestConntrackNeedsRandomness(t *testing.T) {
	_, err := table.New(nat.Behavior{Kind: nat.KindMasquerade, Filtering: nat.AddressAndPortDependent, Refresh: nat.RefreshBoth}, []netip.Addr{hosts["X"]}, nil)
	if err == nil || !strings.Contains(err.Error(), "kind=masquerade needs a source of randomness") {
		t.Errorf("New says %v", err)
	}
}

// TestConntrackProperties drives conntrack with random traffic and holds it
// against an account of who sent what to whom.
func TestConntrackProperties(t *testing.T) {
	type contact struct{ inside, remote netip.AddrPort }
	rapid.Check(t, func(t *rapid.T) {
		kind := nat.Kind(rapid.IntRange(1, 3).Draw(t, "kind"))
		b, _ := kind.Implied()
		b.Early = nat.EarlyInbound(rapid.IntRange(0, 1).Draw(t, "early"))
		b.Range = nat.PortRange{Low: 5000, High: 5000 + uint16(rapid.IntRange(0, 4).Draw(t, "ports"))}
		b.TableSize = rapid.IntRange(1, 12).Draw(t, "size")
		b.Timeout = time.Duration(rapid.IntRange(1, 3).Draw(t, "timeout")) * time.Second
		b.Stream = time.Duration(rapid.IntRange(1, 6).Draw(t, "stream")) * time.Second
		nt, err := table.New(b, []netip.Addr{hosts["X"]}, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		if err != nil {
			t.Fatal(err)
		}
		now, longest := epoch, max(b.Timeout, b.Stream)
		last := make(map[contact]time.Time)
		ports := rapid.Uint16Range(5000, 5003)
		for range rapid.IntRange(1, 80).Draw(t, "packets") {
			now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "pause")) * time.Millisecond)
			remote := netip.AddrPortFrom(rapid.SampledFrom([]netip.Addr{hosts["S"], hosts["T"]}).Draw(t, "remote"), rapid.Uint16Range(1, 2).Draw(t, "remote port"))
			if rapid.Bool().Draw(t, "outbound") {
				inside := netip.AddrPortFrom(rapid.SampledFrom([]netip.Addr{hosts["A"], hosts["B"]}).Draw(t, "host"), ports.Draw(t, "port"))
				if v := nt.Outbound(now, table.Packet{Src: inside, Dst: remote}); v.Drop == table.Passed {
					last[contact{inside, remote}] = now
					if v.Packet.Dst != remote || !b.Range.Contains(v.Packet.Src.Port()) {
						t.Fatalf("%s > %s left as %s", inside, remote, v)
					}
				}
			} else {
				to := netip.AddrPortFrom(hosts["X"], ports.Draw(t, "external port"))
				v := nt.Inbound(now, table.Packet{Src: remote, Dst: to})
				at, contacted := last[contact{v.Packet.Dst, remote}]
				switch {
				case v.Drop == table.Passed && (!contacted || !now.Before(at.Add(longest))):
					t.Fatalf("%s let in %s, which nobody contacted", b, v)
				case v.Drop == table.Passed:
					last[contact{v.Packet.Dst, remote}] = now
				}
			}
			live := nt.Mappings(now)
			taken := make(map[contact]bool) // the remote, from an external endpoint
			for _, m := range live {
				if taken[contact{m.External, m.Remote}] {
					t.Fatalf("two flows have %s towards %s: %v", m.External, m.Remote, live)
				}
				taken[contact{m.External, m.Remote}] = true
				if !now.Before(m.Expires) || m.Expires.After(now.Add(longest)) {
					t.Fatalf("at %v a flow expires at %v, with timeouts of %v and %v", now, m.Expires, b.Timeout, b.Stream)
				}
			}
			if len(live) > b.TableSize {
				t.Fatalf("%d flows in a table of %d", len(live), b.TableSize)
			}
		}
	})
}
