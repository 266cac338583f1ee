package peer

import (
	"encoding/binary"
	"testing"
	"time"

	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/stun"
)

// TestLongOutage: the rendezvous is away for ten minutes and comes back having forgotten
// everything. Sessions go on; peers who all lost it at one moment ask for it seldom, do
// not come back at one, and are all registered within seconds.
func TestLongOutage(t *testing.T) {
	const (
		pairs = 10
		away  = 10 * time.Minute
		// The last request of a try waits for 4 s, and the next try follows 1 to 3 s later.
		within = 8 * time.Second
	)
	w := newWorld(t, 1)
	var peers []*node
	for range 2 * pairs {
		peers = append(peers, w.peer("peer", portRestricted, Config{}))
	}
	w.net.Run(500 * ms)
	all := func(is func(a, b *node) bool) func() bool {
		return func() bool {
			for i := 0; i < len(peers); i += 2 {
				if !is(peers[i], peers[i+1]) {
					return false
				}
			}
			return true
		}
	}
	for i := 0; i < len(peers); i += 2 {
		peers[i].connect(peers[i+1])
	}
	w.net.Until(20*time.Second, all(func(a, b *node) bool { return settled(a, b)() }))
	w.net.Run(time.Minute) // keepalives are under way

	asked, registers := 0, map[time.Duration]int{}
	back := time.Time{}
	w.net.Observe(func(p simnet.Packet) {
		if p.SentDestination != rendezvousAddr || !stun.Is(p.Payload) {
			return
		}
		asked++
		if kind := binary.BigEndian.Uint16(p.Payload); !back.IsZero() && kind&0x0110 == 0 {
			registers[p.At.Sub(back)/(100*ms)]++
		}
	})
	w.rendezvousServer.Stop()
	for end := w.net.Now().Add(away); w.net.Now().Before(end); w.net.Run(time.Second) {
		for i := 0; i < len(peers); i += 2 {
			_ = peers[i].send(peers[i+1], "still here")
		}
	}
	lost := 0
	for i, n := range peers {
		lost += count[PathLost](n)
		if i%2 == 1 && len(n.got) < int(away/time.Second)-1 {
			t.Errorf("%d of %d datagrams arrived while the rendezvous was away", len(n.got), away/time.Second)
		}
	}
	if lost > 0 || !all(func(a, b *node) bool { return a.path(b).Kind == Direct && b.path(a).Kind == Direct })() {
		t.Errorf("%d paths were lost in the outage", lost)
	}
	each := float64(asked) / float64(len(peers)) / away.Minutes()
	t.Logf("away: %.1f datagrams a minute and peer to the rendezvous", each)
	if each > 60 {
		t.Errorf("%.1f datagrams a minute and peer to a rendezvous that does not answer", each)
	}

	back = w.net.Now()
	w.rendezvousServer = w.startRendezvous()
	if !w.net.Until(within, all(func(a, b *node) bool {
		return a.machine.rendezvous.Registered() && b.machine.rendezvous.Registered()
	})) {
		t.Errorf("not all %d are registered %v after the rendezvous was back", len(peers), within)
	}
	t.Logf("all %d are registered again after %v", len(peers), w.net.Now().Sub(back))
	worst := 0
	for _, n := range registers {
		worst = max(worst, n)
	}
	t.Logf("at most %d requests in a tenth of a second", worst)
	if worst > len(peers)/2 {
		t.Errorf("%d requests of %d peers in a tenth of a second", worst, len(peers))
	}
	// And it does again what it is for.
	peers[0].connect(peers[2])
	w.net.Run(2 * time.Second)
	w.want(peers[0], peers[2], Direct)
}
