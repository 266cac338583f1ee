package relay

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
)

// TestForwardIsHandleDatagram plays random schedules by either of the two ways into a server:
// what it sends, tells and counts is the same, byte by byte.
func TestForwardIsHandleDatagram(t *testing.T) {
	for seed := range uint64(60) {
		byHandle, byForward := playSchedule(t, seed, handled), playSchedule(t, seed, forwarded)
		for i := range max(len(byHandle.trace), len(byForward.trace)) {
			if i >= len(byHandle.trace) || i >= len(byForward.trace) || byHandle.trace[i] != byForward.trace[i] {
				t.Fatalf("seed %d: datagram %d differs:\n%q\n%q", seed, i, byHandle.trace[i:min(i+1, len(byHandle.trace))], byForward.trace[i:min(i+1, len(byForward.trace))])
			}
		}
		if a, b := fmt.Sprint(byHandle.events), fmt.Sprint(byForward.events); a != b {
			t.Fatalf("seed %d: events differ:\n%s\n%s", seed, a, b)
		}
		if a, b := byHandle.server.Stats(), byForward.server.Stats(); a != b {
			t.Fatalf("seed %d: counters differ:\n%+v\n%+v", seed, a, b)
		}
		if st := byHandle.server.Stats(); seed == 0 && (st.ToPeers == 0 || st.ToClients == 0 || st.DroppedNoChannel == 0 || st.DroppedNoPermission == 0) {
			t.Errorf("the schedule has too little in it: %+v", st)
		}
	}
}

// playSchedule has two users, two peers and a stranger do what they like.
func playSchedule(t *testing.T, seed uint64, by entry) *world {
	w := newWorld(t, func(cfg *ServerConfig) { cfg.Rates.Allocation = 20_000; cfg.DontFragment = true })
	w.entry = by
	dice := rand.New(rand.NewPCG(seed, 1))
	users := []*user{w.user(clientA, "alice", "secret-a"), w.user(clientB, "bob", "secret-b")}
	relayed := []netip.AddrPort{users[0].allocate(), users[1].allocate()}
	others := []netip.AddrPort{peerX, netip.AddrPortFrom(peerX.Addr(), 9), netip.MustParseAddrPort("198.18.8.8:8")}
	for range 150 {
		i := dice.IntN(2)
		u, peer := users[i], others[dice.IntN(len(others))]
		if dice.IntN(4) == 0 {
			peer = relayed[1-i]
		}
		number, data := uint16(0x4000+dice.IntN(3)), make([]byte, dice.IntN(1300))
		switch dice.IntN(12) {
		case 0:
			u.bindChannel(number, peer)
		case 1:
			u.permit(peer)
		case 2:
			u.indicate(peer, string(data))
		case 3:
			w.pass(time.Duration(dice.IntN(400)) * time.Second)
		case 4:
			if m := u.do(pion.MethodRefresh, lifetime(uint32(dice.IntN(2)*600))); m != nil {
				relayed[i] = reallocated(u, relayed[i])
			}
		case 5, 6, 7:
			if raw := appendChannelData(nil, number, data); dice.IntN(8) == 0 {
				w.send(u.addr, serverAddr, raw[:dice.IntN(len(raw))+1])
			} else {
				w.send(u.addr, serverAddr, raw)
			}
		case 8:
			w.server.HandleUndeliverable(w.now, sansio.Undeliverable{Socket: sansio.Socket(dice.IntN(4)), Remote: peer, Type: icmpUnreachable, Code: 3})
			w.drain()
		default:
			w.send(peer, relayed[i], data)
		}
	}
	return w
}

// reallocated is the relayed address of a user who allocates anew where there is nothing
// left.
func reallocated(u *user, before netip.AddrPort) netip.AddrPort {
	m := u.do(pion.MethodAllocate, wantUDP)
	if m == nil || m.Type.Class != pion.ClassSuccessResponse {
		return before
	}
	return u.relayed(m)
}

// TestForwardAllocatesNothing: a relayed datagram costs no memory, in either direction.
func TestForwardAllocatesNothing(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()
	u.want(0, u.bindChannel(0x4000, peerX))
	data := make([]byte, 1200)
	for name, d := range map[string]sansio.Datagram{
		"to a peer":             {Socket: listenSocket, Remote: clientA, Payload: appendChannelData(nil, 0x4000, data)},
		"from a channel's peer": {Socket: 1, Remote: peerX, Payload: data},
		"from another peer":     {Socket: 1, Remote: netip.AddrPortFrom(peerX.Addr(), 9), Payload: data},
	} {
		forward := func() {
			if f, done := w.server.Forward(w.now, d); !done || !f.Remote.IsValid() {
				t.Fatalf("%s: not passed on", name)
			}
		}
		forward() // the header's room
		if n := testing.AllocsPerRun(100, forward); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}
