package peer

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2pmodel/core/sansio/simnet"
)

// histories is how many seeds TestHistories tries; 1500 take a minute or two.
var histories = flag.Uint64("histories", 12, "random histories to live through")

// TestHistories lets two peers live through a minute of random trouble (NATs
// reboot, hosts move, links, rendezvous and relay are cut), and then a quiet
// time. After it the path is what the NATs allow, the session is the one of the
// beginning, and no datagram has been delivered twice. The seed of a failure
// replays it.
func TestHistories(t *testing.T) {
	for seed := range *histories {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { history(t, seed) })
		if t.Failed() {
			return // one is enough to read
		}
	}
}

func history(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := newWorld(t, seed)
	w.timeout = 2 * time.Second
	w.delay = time.Duration(1+rng.IntN(60)) * ms
	w.loss = []float64{0, 0, 0.02, 0.05}[rng.IntN(4)]
	kinds := [2]behaviour{classic[rng.IntN(4)], classic[rng.IntN(4)]}
	a, b := w.pair(kinds[0], kinds[1], laboratory)
	if !w.net.Until(30*time.Second, settled(a, b)) {
		t.Fatalf("never settled\n%s\n%s", a.history(), b.history())
	}
	session := a.session(b)
	var told []string
	tell := func(format string, args ...any) {
		told = append(told, fmt.Sprintf("%8v ", w.net.Now().Sub(simnet.Epoch))+fmt.Sprintf(format, args...))
	}
	number := 0
	pass := func(d time.Duration) {
		for end := w.net.Now().Add(d); w.net.Now().Before(end); {
			number++
			_ = a.send(b, fmt.Sprint("a", number))
			_ = b.send(a, fmt.Sprint("b", number))
			w.net.Run(50 * ms)
		}
	}
	for range 12 {
		n := []*node{a, b}[rng.IntN(2)]
		switch rng.IntN(6) {
		case 0:
			tell("%s's NAT reboots", n.name)
			n.nat.Reset()
		case 1:
			tell("%s moves", n.name)
			w.peers = append(w.peers, n) // another external address
			behaviour := kinds[slices.Index([]*node{a, b}, n)]
			var to *simnet.Segment
			n.nat, to = w.home(behaviour)
			n.host.Move(to, netip.AddrFrom4([4]byte{192, 168, byte(rng.IntN(3)), byte(2 + rng.IntN(3))}))
		case 2:
			tell("%s is cut off", n.name)
			n.host.SetLink(simnet.Link{Down: true})
			pass(time.Duration(rng.IntN(6000)) * ms)
			tell("%s is back", n.name)
			n.host.SetLink(simnet.Link{Delay: w.delay, Loss: w.loss})
		case 3:
			tell("the rendezvous is cut off")
			w.rendezvous.SetLink(simnet.Link{Down: true})
		case 4:
			tell("the relay is cut off")
			w.relay.SetLink(simnet.Link{Down: true})
		case 5:
			tell("the servers are back")
			w.rendezvous.SetLink(simnet.Link{})
			w.relay.SetLink(simnet.Link{})
		}
		pass(time.Duration(rng.IntN(5000)) * ms)
	}
	w.rendezvous.SetLink(simnet.Link{})
	w.relay.SetLink(simnet.Link{})
	tell("quiet")
	for _, n := range []*node{a, b} {
		n.host.SetLink(simnet.Link{Delay: w.delay})
	}
	w.net.Run(45 * time.Second)
	want := Direct
	hard := func(i int) bool { return kinds[i].name == "symmetric" }
	strict := func(i int) bool { return hard(i) || kinds[i].name == "port-restricted" }
	if hard(0) && strict(1) || hard(1) && strict(0) {
		want = Relay
	}
	w.want(a, b, want)
	if a.session(b) != session || b.session(a) != session {
		t.Errorf("session %v became %v and %v", session, a.session(b), b.session(a))
	}
	for _, n := range []*node{a, b} {
		got := slices.Clone(n.got)
		slices.Sort(got)
		if len(slices.Compact(got)) != len(n.got) {
			t.Errorf("%s: a datagram was delivered twice", n.name)
		}
	}
	if atA, atB := w.exchange(a, b, 20, 50*ms); atA < 15 || atB < 15 {
		t.Errorf("in the end %d and %d of 20 datagrams arrive", atA, atB)
	}
	if t.Failed() {
		t.Logf("%s and %s, %v each way, loss %v", kinds[0].name, kinds[1].name, w.delay, w.loss)
		for _, line := range told {
			t.Log(line)
		}
	}
}
