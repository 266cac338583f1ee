package table_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// Addresses of the conversations below: A and B are hosts inside, S and T
// servers outside, X and Y the NAT's external addresses.
var hosts = map[string]netip.Addr{
	"A": netip.MustParseAddr("10.0.0.2"), "B": netip.MustParseAddr("10.0.0.3"), "C": netip.MustParseAddr("10.0.0.4"),
	"S": netip.MustParseAddr("198.18.0.1"), "T": netip.MustParseAddr("198.18.0.2"),
	"X": netip.MustParseAddr("198.18.1.1"), "Y": netip.MustParseAddr("198.18.1.2"),
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func endpoint(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	name, port, _ := strings.Cut(text, ":")
	var n uint16
	if _, err := fmt.Sscan(port, &n); err != nil || !hosts[name].IsValid() {
		t.Fatalf("bad endpoint %q in the test", text)
	}
	return netip.AddrPortFrom(hosts[name], n)
}

func spell(a netip.AddrPort) string {
	for name, addr := range hosts {
		if addr == a.Addr() {
			return fmt.Sprintf("%s:%d", name, a.Port())
		}
	}
	return a.String()
}

// A conversation is lines of
//
//	TIME out|in [tcp|icmp] FROM > TO = FROM > TO | REASON
//	TIME reboot
//
// where the right side is the packet as translated, or why it was dropped.
func converse(t *testing.T, behavior string, external []string, lines string) {
	t.Helper()
	b, err := nat.ParseBehavior(behavior)
	if err != nil {
		t.Fatal(err)
	}
	var addrs []netip.Addr
	for _, name := range external {
		addrs = append(addrs, hosts[name])
	}
	nt, err := table.New(b, addrs, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		said, want, _ := strings.Cut(strings.TrimSpace(line), " = ")
		words := strings.Fields(said)
		offset, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		now := epoch.Add(offset)
		if words[1] == "reboot" {
			nt.Reboot()
			continue
		}
		var p table.Packet
		switch words[2] {
		case "tcp":
			p.Protocol = table.TCP
		case "icmp":
			p.Protocol = table.ICMPEcho
		}
		n := len(words)
		p.Src, p.Dst = endpoint(t, words[n-3]), endpoint(t, words[n-1])
		var v table.Verdict
		if words[1] == "out" {
			v = nt.Outbound(now, p)
		} else {
			v = nt.Inbound(now, p)
		}
		got := v.Drop.String()
		if v.Drop == table.Passed {
			got = spell(v.Packet.Src) + " > " + spell(v.Packet.Dst)
		}
		if got != strings.TrimSpace(want) {
			var live []string
			for _, m := range nt.Mappings(now) {
				live = append(live, m.String())
			}
			t.Errorf("%s\n%q\ngave %q; live mappings:\n%s", behavior, line, got, strings.Join(live, "\n"))
		}
	}
}

func TestConversations(t *testing.T) {
	for _, c := range []struct {
		name, behavior, lines string
		external              []string
	}{
		{name: "endpoint-independent mapping: one port for all destinations", behavior: "mapping=EIM", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out A:5000 > S:2 = X:5000 > S:2
			0s out A:5000 > T:1 = X:5000 > T:1`},
		{name: "address-dependent mapping: a port for each address", behavior: "mapping=ADM", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out A:5000 > S:2 = X:5000 > S:2
			0s out A:5000 > T:1 = X:1024 > T:1`},
		{name: "address and port dependent mapping: a port for each endpoint", behavior: "mapping=APDM,ports=sequential", lines: `
			0s out A:5000 > S:1 = X:1024 > S:1
			0s out A:5000 > S:2 = X:1025 > S:2
			0s out A:5000 > T:1 = X:1026 > T:1
			0s out A:5000 > S:1 = X:1024 > S:1`},
		{name: "endpoint-independent filtering lets everybody in", behavior: "filtering=EIF", lines: `
			0s in  S:1 > X:5000 = no mapping
			0s out A:5000 > S:1 = X:5000 > S:1
			0s in  S:1 > X:5000 = S:1 > A:5000
			0s in  T:9 > X:5000 = T:9 > A:5000`},
		{name: "address-dependent filtering lets known addresses in", behavior: "filtering=ADF", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s in  S:9 > X:5000 = S:9 > A:5000
			0s in  T:1 > X:5000 = filtered
			0s out A:5000 > T:2 = X:5000 > T:2
			0s in  T:1 > X:5000 = T:1 > A:5000`},
		{name: "address and port dependent filtering lets known endpoints in", behavior: "filtering=APDF", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s in  S:1 > X:5000 = S:1 > A:5000
			0s in  S:9 > X:5000 = filtered`},
		{name: "a filter belongs to its mapping", behavior: "mapping=APDM,filtering=ADF,ports=sequential", lines: `
			0s out A:5000 > S:1 = X:1024 > S:1
			0s out A:5000 > T:1 = X:1025 > T:1
			0s in  T:9 > X:1025 = T:9 > A:5000
			0s in  T:9 > X:1024 = filtered`},
		{name: "with scope=endpoint the filter belongs to the inside endpoint", behavior: "mapping=APDM,filtering=ADF,ports=sequential,scope=endpoint", lines: `
			0s out A:5000 > S:1 = X:1024 > S:1
			0s out A:5000 > T:1 = X:1025 > T:1
			0s in  T:9 > X:1024 = T:9 > A:5000
			0s out B:5000 > S:1 = X:1026 > S:1
			0s in  T:9 > X:1026 = filtered`},
		{name: "three hosts on one port: preserved, then sequential, each endpoint-independent", behavior: "range=5000-5010", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out B:5000 > S:1 = X:5001 > S:1
			0s out C:5000 > S:1 = X:5002 > S:1
			0s out A:5000 > T:1 = X:5000 > T:1
			0s out B:5000 > T:1 = X:5001 > T:1
			0s out C:5000 > T:1 = X:5002 > T:1`},
		{name: "a port outside the range is not preserved", behavior: "range=40000-40010", lines: `
			0s out A:5000 > S:1 = X:40000 > S:1
			0s out A:40005 > S:1 = X:40005 > S:1`},
		{name: "sequential starts low, skips what is taken, wraps and ends exhausted", behavior: "ports=sequential,range=9-11,timeout=1s", lines: `
			0s    out A:1 > S:1 = X:9 > S:1
			0s    out A:2 > S:1 = X:10 > S:1
			0s    out A:3 > S:1 = X:11 > S:1
			0s    out A:4 > S:1 = no free port
			500ms out A:2 > S:1 = X:10 > S:1
			1s    out A:4 > S:1 = X:9 > S:1
			1s    out A:5 > S:1 = X:11 > S:1
			1s    out A:6 > S:1 = no free port`},
		{name: "random draws every port of the range before it is exhausted", behavior: "ports=random,range=9-9", lines: `
			0s out A:1 > S:1 = X:9 > S:1
			0s out A:2 > S:1 = no free port`},
		{name: "a full table drops new mappings and keeps old ones", behavior: "size=1", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out B:5001 > S:1 = table full
			0s out A:5000 > T:1 = X:5000 > T:1
			0s out tcp B:5001 > S:1 = X:5001 > S:1`},
		{name: "idle timeout is exact, and outbound traffic restarts it", behavior: "timeout=2s", lines: `
			0s     out A:5000 > S:1 = X:5000 > S:1
			1.999s in  S:1 > X:5000 = S:1 > A:5000
			2s     in  S:1 > X:5000 = mapping expired
			3s     out A:5000 > S:1 = X:5000 > S:1
			4s     out A:5000 > S:1 = X:5000 > S:1
			5.999s in  S:1 > X:5000 = S:1 > A:5000
			6s     in  S:1 > X:5000 = mapping expired`},
		{name: "inbound traffic restarts it where both directions do, and the filter's too", behavior: "filtering=APDF,timeout=2s,refresh=both", lines: `
			0s   out A:5000 > S:1 = X:5000 > S:1
			1.5s in  S:1 > X:5000 = S:1 > A:5000
			3s   in  S:1 > X:5000 = S:1 > A:5000
			4.5s in  S:1 > X:5000 = S:1 > A:5000
			6.5s in  S:1 > X:5000 = mapping expired`},
		{name: "a filter's entry expires under a mapping that others keep alive", behavior: "filtering=APDF,timeout=2s", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			1s out A:5000 > T:1 = X:5000 > T:1
			2s in  S:1 > X:5000 = filtered
			2s in  T:1 > X:5000 = T:1 > A:5000`},
		{name: "hairpin none", behavior: "hairpin=none", lines: `
			0s out B:6000 > S:1 = X:6000 > S:1
			0s out A:5000 > X:6000 = hairpin refused`},
		{name: "hairpin with the inside address is not filtered and makes no mapping", behavior: "filtering=APDF,hairpin=internal", lines: `
			0s out A:5000 > X:6000 = no mapping
			0s out B:6000 > S:1 = X:6000 > S:1
			0s out A:5000 > X:6000 = A:5000 > B:6000
			0s in  S:1 > X:5000 = no mapping`},
		{name: "hairpin with the external address makes a mapping, and is filtered", behavior: "filtering=ADF,hairpin=external", lines: `
			0s out B:6000 > S:1 = X:6000 > S:1
			0s out A:5000 > X:6000 = filtered
			0s out B:6000 > X:5000 = X:6000 > A:5000
			0s out A:5000 > X:6000 = X:5000 > B:6000
			0s out A:5000 > X:5000 = X:5000 > A:5000`},
		{name: "paired pooling gives a host one address", behavior: "pooling=paired", external: []string{"X", "Y"}, lines: `
			0s out A:5000 > S:1 = Y:5000 > S:1
			0s out A:5001 > S:1 = Y:5001 > S:1
			0s out B:5000 > S:1 = X:5000 > S:1
			0s out B:5001 > S:1 = X:5001 > S:1`},
		{name: "arbitrary pooling takes them in turn", behavior: "pooling=arbitrary", external: []string{"X", "Y"}, lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out A:5001 > S:1 = Y:5001 > S:1
			0s out B:5000 > S:1 = X:1024 > S:1
			0s out A:5000 > T:1 = X:5000 > T:1`},
		{name: "protocols have their own ports, echo identifiers are ports", behavior: "filtering=APDF", lines: `
			0s out      A:7 > S:1 = X:1024 > S:1
			0s out tcp  A:7 > S:1 = X:1024 > S:1
			0s out icmp A:7000 > S:0 = X:7000 > S:0
			0s in  icmp S:0 > X:7000 = S:0 > A:7000
			0s in  icmp T:0 > X:7000 = filtered
			0s in  tcp  S:1 > X:7000 = no mapping`},
		{name: "preserve falls back to a random port", behavior: "fallback=random,range=5000-5001", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out B:5000 > S:1 = X:5001 > S:1
			0s out C:5000 > S:1 = no free port`},
		{name: "ports that are preserved do not move the sequential counter", behavior: "range=5000-5010", lines: `
			0s out A:5001 > S:1 = X:5001 > S:1
			0s out B:5001 > S:1 = X:5000 > S:1
			0s out C:5001 > S:1 = X:5002 > S:1`},
		{name: "delta: each third port from the low end, then from there again", behavior: "ports=sequential,delta=3,range=1-8,timeout=1s", lines: `
			0s    out A:9 > S:1 = X:1 > S:1
			500ms out B:9 > S:1 = X:4 > S:1
			500ms out C:9 > S:1 = X:7 > S:1
			500ms out A:8 > S:1 = no free port
			1s    out A:8 > S:1 = X:1 > S:1`},
		{name: "delta: a port that was preserved is skipped by another step", behavior: "delta=2,range=10-19", lines: `
			0s out A:12 > S:1 = X:12 > S:1
			0s out B:12 > S:1 = X:10 > S:1
			0s out C:12 > S:1 = X:14 > S:1`},
		{name: "parity: a counter for each, and none of the other one's ports", behavior: "ports=sequential,parity=keep,range=11-15", lines: `
			0s out A:1 > S:1 = X:11 > S:1
			0s out A:2 > S:1 = X:12 > S:1
			0s out A:3 > S:1 = X:13 > S:1
			0s out A:4 > S:1 = X:14 > S:1
			0s out A:6 > S:1 = no free port
			0s out A:5 > S:1 = X:15 > S:1
			0s out A:7 > S:1 = no free port`},
		{name: "parity with an odd delta takes even steps", behavior: "ports=sequential,parity=keep,delta=3,range=10-19", lines: `
			0s out A:2 > S:1 = X:10 > S:1
			0s out A:4 > S:1 = X:14 > S:1
			0s out A:1 > S:1 = X:11 > S:1
			0s out A:6 > S:1 = X:18 > S:1
			0s out A:8 > S:1 = no free port`},
		{name: "parity of random ports, and a range without the wanted one", behavior: "ports=random,parity=keep,range=9-9", lines: `
			0s out A:2 > S:1 = no free port
			0s out A:1 > S:1 = X:9 > S:1`},
		{name: "parity where preserve falls back", behavior: "parity=keep,range=5000-5003", lines: `
			0s out A:5001 > S:1 = X:5001 > S:1
			0s out B:5001 > S:1 = X:5003 > S:1
			0s out C:5001 > S:1 = no free port
			0s out C:5000 > S:1 = X:5000 > S:1`},
		{name: "address-dependent mapping with a timeout of UDP's streams", behavior: "mapping=ADM,timeout=1s,stream=3s,ports=sequential", lines: `
			0s   out A:1 > S:1 = X:1024 > S:1
			0s   out A:1 > T:1 = X:1025 > T:1
			0s   in  S:1 > X:1024 = S:1 > A:1
			500ms out A:1 > S:1 = X:1024 > S:1
			1s   in  T:1 > X:1025 = mapping expired
			3s   in  S:1 > X:1024 = S:1 > A:1
			3.5s in  S:1 > X:1024 = mapping expired`},
		{name: "a reply alone does not restart the timer of a stream where only outbound packets do", behavior: "timeout=1s,stream=3s", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s in  S:1 > X:5000 = S:1 > A:5000
			1s in  S:1 > X:5000 = mapping expired`},
		{name: "it does where both directions do", behavior: "timeout=1s,stream=3s,refresh=both", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			500ms in S:1 > X:5000 = S:1 > A:5000
			3.4s  in S:1 > X:5000 = S:1 > A:5000
			6.4s  in S:1 > X:5000 = mapping expired`},
		{name: "streams are of UDP", behavior: "timeout=1s,stream=3s,timeout-tcp=1s,timeout-icmp=2s,refresh=both", lines: `
			0s out tcp  A:5000 > S:1 = X:5000 > S:1
			0s in  tcp  S:1 > X:5000 = S:1 > A:5000
			0s out icmp A:5000 > S:0 = X:5000 > S:0
			1s in  tcp  S:1 > X:5000 = mapping expired
			1.9s in icmp S:0 > X:5000 = S:0 > A:5000
			3.9s in icmp S:0 > X:5000 = mapping expired`},
		{name: "a shorter timeout of streams: the port is held until its filter is empty", behavior: "filtering=APDF,timeout=3s,stream=1s,range=5000-5001", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s out A:5000 > T:1 = X:5000 > T:1
			0s in  S:1 > X:5000 = S:1 > A:5000
			0s out A:5000 > S:1 = X:5000 > S:1
			1s in  T:1 > X:5000 = mapping expired
			1s out B:5000 > S:1 = X:5001 > S:1
			3s out C:5000 > S:1 = X:5000 > S:1
			3s in  T:1 > X:5000 = filtered`},
		{name: "inbound traffic alone restarts the timer, and the port is held while the other goes on", behavior: "refresh=inbound,timeout=2s", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			1s out A:5000 > S:1 = X:5000 > S:1
			1s in  S:1 > X:5000 = S:1 > A:5000
			2s out A:5000 > S:1 = X:5000 > S:1
			3s in  S:1 > X:5000 = mapping expired
			3s out A:5000 > S:1 = X:1024 > S:1
			4s out B:5000 > S:1 = X:5000 > S:1`},
		{name: "rotation: at that age the port is closed, and the next packet gets another", behavior: "rotate=3s,timeout=2s", lines: `
			0s   out A:5000 > S:1 = X:5000 > S:1
			1.5s out A:5000 > S:1 = X:5000 > S:1
			2.9s out A:5000 > S:1 = X:5000 > S:1
			2.9s in  S:1 > X:5000 = S:1 > A:5000
			3s   in  S:1 > X:5000 = mapping expired
			3s   out A:5000 > S:1 = X:1024 > S:1
			3s   in  S:1 > X:1024 = S:1 > A:5000
			4s   out B:5000 > S:1 = X:1025 > S:1
			4.9s out C:5000 > S:1 = X:5000 > S:1`},
		{name: "a closed port counts towards the table", behavior: "rotate=1s,timeout=2s,size=1", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			1s out A:5000 > S:1 = table full
			2s out A:5000 > S:1 = X:5000 > S:1`},
		{name: "a full table evicts the mapping that was idle for longest", behavior: "size=2,full=evict", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			1s out B:5001 > S:1 = X:5001 > S:1
			2s out A:5000 > T:1 = X:5000 > T:1
			3s out C:5002 > S:1 = X:5002 > S:1
			3s in  S:1 > X:5001 = mapping expired
			3s in  S:1 > X:5000 = S:1 > A:5000
			3s out B:5001 > S:1 = X:5001 > S:1
			3s in  S:1 > X:5000 = mapping expired`},
		{name: "evict by use and not by expiry: streams live longer", behavior: "size=2,full=evict,timeout=2s,stream=9s", lines: `
			0s out A:5000 > S:1 = X:5000 > S:1
			0s in  S:1 > X:5000 = S:1 > A:5000
			0s out A:5000 > S:1 = X:5000 > S:1
			1s out B:5001 > S:1 = X:5001 > S:1
			1s out C:5002 > S:1 = X:5002 > S:1
			1s in  S:1 > X:5000 = mapping expired
			1s in  S:1 > X:5001 = S:1 > B:5001`},
		{name: "what never was has no mapping", behavior: "full-cone", lines: `
			0s in S:1 > X:5000 = no mapping`},
		{name: "a reboot loses mappings and counters", behavior: "ports=sequential", lines: `
			0s out A:5000 > S:1 = X:1024 > S:1
			0s out A:5001 > S:1 = X:1025 > S:1
			0s reboot
			0s in  S:1 > X:1025 = no mapping
			0s out A:5001 > S:1 = X:1024 > S:1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.external == nil {
				c.external = []string{"X"}
			}
			converse(t, c.behavior, c.external, c.lines)
		})
	}
}

func TestRebootCanBringNewAddresses(t *testing.T) {
	nt, err := table.New(nat.Behavior{}, []netip.Addr{hosts["X"]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	nt.Reboot(hosts["Y"])
	v := nt.Outbound(epoch, table.Packet{Src: endpoint(t, "A:5000"), Dst: endpoint(t, "S:1")})
	if got := spell(v.Packet.Src); got != "Y:5000" {
		t.Errorf("after the reboot the source is %s, want Y:5000", got)
	}
}

func TestDump(t *testing.T) {
	b := nat.Behavior{Mapping: nat.AddressDependent, Filtering: nat.AddressAndPortDependent, Timeout: time.Minute}
	nt, err := table.New(b, []netip.Addr{hosts["X"]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	nt.Outbound(epoch, table.Packet{Src: endpoint(t, "A:5000"), Dst: endpoint(t, "S:2")})
	nt.Outbound(epoch, table.Packet{Src: endpoint(t, "A:5000"), Dst: endpoint(t, "S:1")})
	live := nt.Mappings(epoch)
	const want = "udp 10.0.0.2:5000 > 198.18.1.1:5000 for 198.18.0.1:* from 198.18.0.1:1, 198.18.0.1:2"
	if len(live) != 1 || live[0].String() != want {
		t.Errorf("the dump is %v, want one mapping:\n%s", live, want)
	}
	if got := nt.NextExpiry(); !got.Equal(epoch.Add(time.Minute)) {
		t.Errorf("the next expiry is at %v, want a minute after the start", got)
	}
	if live := nt.Mappings(epoch.Add(time.Minute)); len(live) != 0 || !nt.NextExpiry().IsZero() {
		t.Errorf("expired mappings are dumped: %v", live)
	}
}

func TestNewRefusesWhatItCannotRun(t *testing.T) {
	for _, c := range []struct {
		behavior nat.Behavior
		external []netip.Addr
		want     string
	}{
		{nat.Behavior{Mapping: 9}, []netip.Addr{hosts["X"]}, "mapping:"},
		{nat.Behavior{}, nil, "no external address"},
		{nat.Behavior{Ports: nat.Random}, []netip.Addr{hosts["X"]}, "source of randomness"},
		{nat.Behavior{Ports: nat.Block}, []netip.Addr{hosts["X"]}, "source of randomness"},
		{nat.Behavior{Fallback: nat.FallbackRandom}, []netip.Addr{hosts["X"]}, "source of randomness"},
	} {
		if _, err := table.New(c.behavior, c.external, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New(%s, %v) says %v, want %q in it", c.behavior, c.external, err, c.want)
		}
	}
}

func TestFirewall(t *testing.T) {
	out := func(from, to string) table.Packet {
		return table.Packet{Src: endpoint(t, from), Dst: endpoint(t, to)}
	}
	fw, err := table.NewFirewall(nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{3478}}, nat.Access[[]netip.Addr]{})
	if err != nil {
		t.Fatal(err)
	}
	tcp := out("A:5", "S:80")
	tcp.Protocol = table.TCP
	for _, step := range []struct {
		name string
		got  table.Verdict
		want table.Drop
	}{
		{"a stranger", fw.Inbound(epoch, out("S:3478", "A:5")), table.Unsolicited},
		{"UDP to the open port", fw.Outbound(epoch, out("A:5", "S:3478")), table.Passed},
		{"its reply", fw.Inbound(epoch, out("S:3478", "A:5")), table.Passed},
		{"another port of the same server", fw.Inbound(epoch, out("S:3479", "A:5")), table.Unsolicited},
		{"UDP to another port", fw.Outbound(epoch, out("A:5", "S:3479")), table.PortBlocked},
		{"TCP to another port", fw.Outbound(epoch, tcp), table.Passed},
		{"a reply just in time", fw.Inbound(epoch.Add(table.FirewallIdle-1), out("S:3478", "A:5")), table.Passed},
		{"a reply too late", fw.Inbound(epoch.Add(3*table.FirewallIdle), out("S:3478", "A:5")), table.Unsolicited},
	} {
		if step.got.Drop != step.want {
			t.Errorf("%s: %s, want %s", step.name, step.got.Drop, step.want)
		}
	}
	open, err := table.NewFirewall(nat.Firewall{}, nat.Access[[]netip.Addr]{})
	if err != nil {
		t.Fatal(err)
	}
	if v := open.Inbound(epoch, out("S:1", "A:5")); v.Drop != table.Passed {
		t.Errorf("an open firewall drops: %s", v)
	}
}

// TestTCPIsIdleForLonger: no connection dies of the timeout of UDP (RFC 5382
// REQ-5).
func TestTCPIsIdleForLonger(t *testing.T) {
	nt, err := table.New(nat.Behavior{Timeout: time.Second}, []netip.Addr{netip.MustParseAddr("198.18.0.2")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	fw, err := table.NewFirewall(nat.Firewall{Inbound: nat.InboundReplies}, nat.Access[[]netip.Addr]{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		protocol table.Protocol
		idle     time.Duration
		passes   bool
	}{
		{table.UDP, time.Second - 1, true},
		{table.UDP, time.Second, false},
		{table.TCP, nat.TCPTimeout - 1, true},
		{table.TCP, nat.TCPTimeout, false},
	} {
		p := table.Packet{Protocol: c.protocol, Src: endpoint(t, "A:5"), Dst: endpoint(t, "S:80")}
		sent := nt.Outbound(epoch, p)
		back := table.Packet{Protocol: c.protocol, Src: p.Dst, Dst: sent.Packet.Src}
		if v := nt.Inbound(epoch.Add(c.idle), back); (v.Drop == table.Passed) != c.passes {
			t.Errorf("%s through the NAT after %v: %s", c.protocol, c.idle, v)
		}
		if c.protocol == table.UDP {
			continue // a firewall's has no axis
		}
		fw.Outbound(epoch, p)
		if v := fw.Inbound(epoch.Add(c.idle), table.Packet{Protocol: c.protocol, Src: p.Dst, Dst: p.Src}); (v.Drop == table.Passed) != c.passes {
			t.Errorf("%s through the firewall after %v: %s", c.protocol, c.idle, v)
		}
	}
}
