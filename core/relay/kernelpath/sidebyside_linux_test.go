package kernelpath

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/core/relay"
	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/siege"
)

// running is a relay over the kernel's sockets with a client and a peer.
type running struct {
	t            testing.TB
	client, peer *far
	user         *relay.Client
	server       *relay.Server
	loop         *sansio.Loop
	fast         *recorder
	path         *Path
	relayed      netip.AddrPort
	number       uint16
}

// start runs a relay, with the fast path or without.
func start(t testing.TB, fast bool, client, peer, toward bool) *running {
	t.Helper()
	if err := siege.Ready(); err != nil {
		t.Skipf("LEFT OUT, the kernel's fast path: %v", err)
	}
	r := &running{t: t}
	cfg := relay.ServerConfig{
		Listen: farListen, RelayAddress: towardPeer.Addr(), Realm: "test", Rand: rand.NewChaCha8([32]byte{1}),
		Authenticators: []relay.Authenticator{relay.Users{"alice": "secret"}},
	}
	if fast {
		r.path = open(t)
		r.fast = &recorder{r.path, map[flowKey]relay.Flow{}}
		cfg.FastPath = r.fast
	}
	r.client = newFar(t, "client", towardClient, farClient, client, toward)
	r.peer = newFar(t, "peer", towardPeer, farPeer, peer, toward)
	var err error
	if r.server, err = relay.NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	listening := make(chan sansio.Event, 10)
	r.loop = sansio.NewLoop(r.server, sansio.System(), func(_ time.Time, e sansio.Event) { listening <- e })
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := r.loop.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); ended.Wait() })
	if e, ok := (<-listening).(relay.Listening); !ok {
		t.Fatalf("%+v, want a relay that listens", e)
	}
	r.user = relay.NewClient(relay.ClientConfig{Server: farListen, Username: "alice", Password: "secret", Rand: rand.NewChaCha8([32]byte{2}), ChannelAfter: 1, NoMobility: true})
	r.user.Start(time.Now())
	r.until(func() (ok bool) { r.relayed, ok = r.user.Relayed(); return ok })
	r.bind()
	return r
}

// bind has the client bind a channel to the peer.
func (r *running) bind() {
	r.t.Helper()
	r.user.Permit(time.Now(), farPeer)
	r.until(func() bool { return r.stats().Permissions == 1 })
	if err := r.user.Send(time.Now(), farPeer, []byte("first")); err != nil {
		r.t.Fatal(err)
	}
	r.until(func() bool { return r.stats().Channels == 1 })
	r.peer.read()
	r.peer.frames(1)
	r.number = 0x4000
	if r.fast != nil && r.fast.flows[keyOf(farClient, farListen, r.number)].Peer != farPeer {
		r.t.Fatalf("flows %v, want one from %v by channel %#x", r.fast.flows, farPeer, r.number)
	}
}

// until carries what client and relay say to each other until something is so and nothing
// is asked any more.
func (r *running) until(so func() bool) {
	r.t.Helper()
	for {
		for _, payload, ok := r.user.PollTransmit(); ok; _, payload, ok = r.user.PollTransmit() {
			r.client.write(farListen, 0, payload, 0)
			if from, answer := r.answer(payload); answer != nil {
				r.user.HandleDatagram(time.Now(), from, answer)
			}
		}
		for _, ok := r.user.PollEvent(); ok; _, ok = r.user.PollEvent() {
		}
		if so() {
			return
		}
	}
}

// answer waits for the answer to a request.
func (r *running) answer(request []byte) (netip.AddrPort, []byte) {
	r.t.Helper()
	if request[0]>>6 != 0 || request[0]&1 != 0 || request[1]&0x10 != 0 {
		return netip.AddrPort{}, nil // data, or an indication
	}
	defer r.client.frames(1)
	return r.client.read()
}

func (r *running) stats() (st relay.Stats) {
	r.t.Helper()
	if !r.loop.Do(func(time.Time) { st = r.server.Stats() }) {
		r.t.Fatal("the relay is not running")
	}
	return st
}

// play has client and peer send each other datagrams, one after the other, and gives what came.
func (r *running) play(dice *rand.Rand, rounds int) (trace []string) {
	r.t.Helper()
	tos := []int{0, 0x2e << 2, 1, 3}
	for range rounds {
		size := dice.IntN(300)
		switch dice.IntN(4) {
		case 0:
			size = 1460 + dice.IntN(20) // about what the interfaces carry
		case 1:
			size = dice.IntN(3000)
		}
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(dice.Uint32() >> 8)
		}
		from, to, at, count, segment := r.client, r.peer, farListen, 1, 0
		payload := channelData(r.number, size, data)
		if dice.IntN(2) == 0 {
			from, to, at, payload = r.peer, r.client, r.relayed, data
		} else {
			payload = append(payload, make([]byte, -size&3*dice.IntN(2))...)
		}
		if dice.IntN(8) == 0 && len(payload) > 0 && len(payload) < 400 {
			count, segment = 3, len(payload)
			payload = slices.Concat(payload, payload, payload)
		}
		from.write(at, tos[dice.IntN(len(tos))], payload, segment)
		for range count {
			source, got := to.read()
			trace = append(trace, fmt.Sprintf("%v: %x", source, got))
		}
		if count == 1 {
			trace = append(trace, to.frames(1)...)
		} else { // it may have come as one
			to.skip()
		}
	}
	return trace
}

// skip forgets what was captured.
func (f *far) skip() {
	for b := make([]byte, 1); ; {
		if _, _, err := unix.Recvfrom(f.capture, b, unix.MSG_DONTWAIT|unix.MSG_TRUNC); err != nil {
			return
		}
	}
}

// TestFastPathIsTheServer has the same datagrams go through two relays, one with the fast path:
// what comes is the same, headers included, whoever completes checksums, and so are the
// counters.
func TestFastPathIsTheServer(t *testing.T) {
	for _, c := range []struct {
		name                 string
		client, peer, toward bool
	}{
		{"checksums are left to interfaces", true, true, true},
		{"the relay completes them", true, true, false},
		{"the hosts complete them", false, false, true},
		{"all complete them", false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var traces [2][]string
			var counted [2]relay.Stats
			for i, fast := range []bool{false, true} {
				t.Run(map[bool]string{false: "server", true: "kernel"}[fast], func(t *testing.T) {
					r := start(t, fast, c.client, c.peer, c.toward)
					traces[i] = r.play(rand.New(rand.NewPCG(7, 7)), 400)
					counted[i] = r.stats()
				})
			}
			for i := range min(len(traces[0]), len(traces[1])) {
				if traces[0][i] != traces[1][i] {
					t.Fatalf("arrival %d differs:\n%s by the server\n%s by the kernel", i, traces[0][i], traces[1][i])
				}
			}
			passed := counted[1].Passed
			if counted[1].Passed = (relay.Passed{}); counted[0] != counted[1] || len(traces[0]) != len(traces[1]) {
				t.Errorf("counters differ:\n%+v by the server\n%+v by the kernel", counted[0], counted[1])
			}
			if passed.ToPeers < 100 || passed.ToClients < 100 || passed.ToPeers+passed.ToClients >= counted[1].ToPeers+counted[1].ToClients {
				t.Errorf("the kernel has passed on %+v of %+v: want most, not all", passed, counted[1])
			}
		})
	}
}

// through sends a datagram each way, and tells how many of them the kernel has passed on.
func (r *running) through(size int) (toPeer, toClient uint64) {
	r.t.Helper()
	before := r.stats().Passed
	data := make([]byte, size)
	r.client.write(farListen, 0, channelData(r.number, size, data), 0)
	r.peer.read()
	r.peer.write(r.relayed, 0, data, 0)
	r.client.read()
	after := r.stats().Passed
	return after.ToPeers - before.ToPeers, after.ToClients - before.ToClients
}

// TestFlowsEnd: what has no channel any more is not passed on, from when the server has said so.
func TestFlowsEnd(t *testing.T) {
	r := start(t, true, true, true, true)
	if a, b := r.through(100); a != 1 || b != 1 {
		t.Fatalf("%d and %d datagrams passed on, want both", a, b)
	}
	// As if its time were over, which the server would not tell of so.
	var flow relay.Flow
	r.loop.Do(func(now time.Time) {
		flow = r.fast.flows[keyOf(farClient, farListen, r.number)]
		f := flow
		f.ToPeer, f.ToClient = now.Add(-time.Second), now.Add(-time.Second)
		r.fast.Open(now, f)
	})
	if a, b := r.through(100); a != 0 || b != 0 {
		t.Errorf("%d and %d datagrams passed on after their end, want none", a, b)
	}
	r.loop.Do(func(now time.Time) { r.fast.Open(now, flow) })
	if a, b := r.through(100); a != 1 || b != 1 {
		t.Fatalf("%d and %d datagrams passed on, want both again", a, b)
	}
	r.user.Close(time.Now())
	r.until(func() bool { return r.stats().Allocations == 0 })
	before := r.stats()
	r.client.write(farListen, 0, channelData(r.number, 4, []byte("late")), 0)
	for deadline := time.Now().Add(20 * time.Second); r.stats().DroppedNoAllocation == before.DroppedNoAllocation; {
		if time.Now().After(deadline) {
			t.Fatal("the server has not seen what came for an allocation that is gone")
		}
	}
	if after := r.stats(); after.Passed != before.Passed || len(r.fast.flows) != 0 {
		t.Errorf("passed on %+v, before %+v; flows %v: want nothing any more", after.Passed, before.Passed, r.fast.flows)
	}
	var k flowKey
	var v flowValue
	if r.path.maps.flows.Iterate().Next(&k, &v) {
		t.Errorf("the kernel still has the flow %+v", k)
	}
	if len(r.path.routes.paths) != 0 {
		t.Errorf("paths %v, want none", r.path.routes.paths)
	}
}

// TestNarrowPath: after an ICMP error that says so, what does not fit a path is sent by the
// server, which fragments it.
func TestNarrowPath(t *testing.T) {
	r := start(t, true, true, true, true)
	quoted := datagram{r.relayed, farPeer, make([]byte, 1400)}.frame()[14 : 14+28]
	message := append([]byte{3, 4, 0, 0, 0, 0, 1000 >> 8, 1000 & 0xff}, quoted...)
	sum := ^fold(message, 0)
	message[2], message[3] = byte(sum>>8), byte(sum)
	inside(t, func() error {
		if err := unix.Setns(int(r.peer.ns), unix.CLONE_NEWNET); err != nil {
			return err
		}
		c, err := net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: towardPeer.Addr().AsSlice()})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(message)
		return err
	})
	for deadline := time.Now().Add(20 * time.Second); r.stats().ICMP == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the server has not heard of the error")
		}
	}
	r.client.read() // it is told
	r.peer.skip()
	r.client.write(farListen, 0, channelData(r.number, 1400, make([]byte, 1400)), 0)
	r.peer.read()
	if got := r.peer.frames(1); len(got) != 2 || !strings.HasPrefix(got[0], "fragment") {
		t.Errorf("1400 bytes on a path of 1000 came as %q, want two fragments", got)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		small, _ := r.through(900)
		large, back := r.through(1400)
		if small == 1 && large == 0 && back == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 900 and %d of 1400 bytes passed on to the peer, %d from it; want 1, 0, 1", small, large, back)
		}
	}
}

// TestAnotherInterface: what claims to be from the peer but comes by another interface is not
// the program's.
func TestAnotherInterface(t *testing.T) {
	r := start(t, true, true, true, true)
	before := r.stats()
	frame := datagram{farPeer, r.relayed, []byte("forged")}.frame()
	r.client.inject(frame)
	r.client.write(farListen, 0, channelData(r.number, 4, []byte("true")), 0) // comes after it
	r.peer.read()
	if after := r.stats().Passed; after.ToClients != before.Passed.ToClients || after.ToPeers != before.Passed.ToPeers+1 {
		t.Errorf("passed on %+v, before %+v: want the client's only", after, before.Passed)
	}
}
