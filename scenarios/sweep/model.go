package sweep

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// The addresses of the model: what matters is that they differ.
var (
	modelOutside = [2]netip.Addr{netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("198.18.0.3")}
	modelInside  = netip.MustParseAddrPort("192.168.1.2:40000")
	modelServer  = netip.MustParseAddrPort("198.18.0.9:3478")
)

// arrival is a packet on its way in the model.
type arrival struct {
	at     time.Time
	to     int // side
	packet table.Packet
	answer bool
	order  int
}

type arrivals []arrival

func (a arrivals) Len() int { return len(a) }
func (a arrivals) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].order < a[j].order
}
func (a arrivals) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(x any)   { *a = append(*a, x.(arrival)) }
func (a *arrivals) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

// predict plays one trial with the models of both NATs.
func predict(a, b nat.Behavior, rtt, offset, interval time.Duration, probes int, seed uint64) (bool, error) {
	now := time.Unix(1_000_000, 0)
	var nats [2]*table.Table
	var seen [2]netip.AddrPort
	for i, behavior := range []nat.Behavior{a, b} {
		t, err := table.New(behavior, []netip.Addr{modelOutside[i]}, rand.New(rand.NewPCG(seed, uint64(i))))
		if err != nil {
			return false, err
		}
		nats[i] = t
		seen[i] = t.Outbound(now, table.Packet{Src: modelInside, Dst: modelServer}).Packet.Src
		t.Inbound(now, table.Packet{Src: modelServer, Dst: seen[i]})
	}
	start := now.Add(lead)
	first := [2]time.Time{start, start}
	if offset > 0 {
		first[1] = start.Add(offset)
	} else {
		first[0] = start.Add(-offset)
	}
	var queue arrivals
	// send passes the sender's NAT when the queue is at that time.
	type leaving struct {
		at time.Time
		by int
		to netip.AddrPort
		is bool // an answer
	}
	var leave []leaving
	for i := range 2 {
		for n := range probes {
			leave = append(leave, leaving{first[i].Add(time.Duration(n) * interval), i, seen[1-i], false})
		}
	}
	var heard, answered [2]bool
	order := 0
	for len(leave) > 0 || len(queue) > 0 {
		next := -1
		for i, l := range leave {
			if next < 0 || l.at.Before(leave[next].at) {
				next = i
			}
		}
		if next >= 0 && (len(queue) == 0 || !queue[0].at.Before(leave[next].at)) {
			l := leave[next]
			leave = append(leave[:next], leave[next+1:]...)
			v := nats[l.by].Outbound(l.at, table.Packet{Src: modelInside, Dst: l.to})
			if v.Drop == table.Passed {
				order++
				heap.Push(&queue, arrival{l.at.Add(rtt / 2), 1 - l.by, v.Packet, l.is, order})
			}
			continue
		}
		got := heap.Pop(&queue).(arrival)
		v := nats[got.to].Inbound(got.at, got.packet)
		if v.Drop != table.Passed {
			continue
		}
		if got.answer {
			answered[got.to] = true
			continue
		}
		heard[got.to] = true
		leave = append(leave, leaving{got.at, got.to, got.packet.Src, true})
	}
	return (heard[0] || answered[0]) && (heard[1] || answered[1]), nil
}
