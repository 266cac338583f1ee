package table_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// A NAT in memory. It has no clock: every call says what time it is.
func ExampleTable() {
	b, err := nat.ParseBehavior("port-restricted-cone,timeout=30s")
	if err != nil {
		fmt.Println(err)
		return
	}
	external := netip.MustParseAddr("198.18.0.2")
	t, err := table.New(b, []netip.Addr{external}, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	inside, server := netip.MustParseAddrPort("192.168.1.2:40000"), netip.MustParseAddrPort("198.18.0.3:3478")
	out := t.Outbound(now, table.Packet{Protocol: table.UDP, Src: inside, Dst: server})
	fmt.Println("leaves as", out.Packet.Src)

	stranger := netip.MustParseAddrPort("198.18.0.4:5000")
	in := func(from netip.AddrPort) table.Verdict {
		return t.Inbound(now, table.Packet{Protocol: table.UDP, Src: from, Dst: out.Packet.Src})
	}
	fmt.Println("the server's answer reaches", in(server).Packet.Dst)
	fmt.Println("a stranger's packet passes:", in(stranger).Drop == table.Passed)
	now = now.Add(31 * time.Second)
	fmt.Println("an answer that is late passes:", in(server).Drop == table.Passed)
	// Output:
	// leaves as 198.18.0.2:40000
	// the server's answer reaches 192.168.1.2:40000
	// a stranger's packet passes: false
	// an answer that is late passes: false
}
