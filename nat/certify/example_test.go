package certify_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
	"p2pmodel/nat/table"
)

// A probe is a machine: whoever drives it opens its sockets, sends its datagrams and
// tells it what came. Here the NAT is a model in memory, that claims to be a cone and
// is symmetric.
func ExampleProbe() {
	actual, err := nat.ParseBehavior("symmetric")
	if err != nil {
		fmt.Println(err)
		return
	}
	external := netip.MustParseAddr("198.18.0.2")
	router, err := table.New(actual, []netip.Addr{external}, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		fmt.Println(err)
		return
	}
	probe, err := certify.New(certify.Config{
		Declared: nat.Behavior{Filtering: nat.AddressAndPortDependent},
		Outside:  [2]netip.Addr{netip.MustParseAddr("198.18.0.3"), netip.MustParseAddr("198.18.0.4")},
		Inside:   []netip.Addr{netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("192.168.1.3")},
		External: []netip.Addr{external},
		Rand:     rand.New(rand.NewPCG(3, 4)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	result := drive(probe, router)
	fmt.Println("declared", result.Declared)
	fmt.Println("measured", result.Measured)
	fmt.Println(result.OK())
	// Output:
	// declared mapping=EIM,filtering=APDF,ports=preserve,scope=mapping,hairpin=none
	// measured mapping=APDM,filtering=APDF,ports=sequential,scope=mapping,hairpin=none
	// false
}

// drive runs a probe around a NAT, in time that passes as fast as it is told to.
func drive(probe *certify.Probe, router *table.Table) certify.Result {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	sockets := map[int]certify.Open{}
	deliver := func(p table.Packet, inside bool, payload []byte) {
		for number, s := range sockets {
			if s.Inside == inside && s.Local == p.Dst {
				probe.HandleDatagram(now, number, p.Src, payload)
				return
			}
		}
	}
	probe.Start(now)
	for {
		if result, done := probe.Result(); done {
			return result
		}
		for busy := true; busy; {
			busy = false
			for o, ok := probe.PollOpen(); ok; o, ok = probe.PollOpen() {
				if busy = true; o.Close {
					delete(sockets, o.Socket)
					continue
				}
				sockets[o.Socket] = o
				probe.HandleOpened(now, o.Socket, o.Local, nil)
			}
			for s, ok := probe.PollSend(); ok; s, ok = probe.PollSend() {
				busy = true
				from := sockets[s.Socket]
				packet := table.Packet{Protocol: table.UDP, Src: from.Local, Dst: s.To}
				verdict := router.Inbound
				if from.Inside {
					verdict = router.Outbound
				}
				if v := verdict(now, packet); v.Drop == table.Passed {
					deliver(v.Packet, v.Hairpin || !from.Inside, s.Payload)
				}
			}
			probe.HandleSent(now)
		}
		if at := probe.PollTimeout(); at.After(now) {
			now = at
		}
		probe.HandleTimeout(now)
	}
}
