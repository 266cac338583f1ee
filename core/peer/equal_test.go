package peer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"p2pmodel/core/sansio/simnet"
)

// TestEqualRuns: the same seed gives the same datagrams at the same times, from
// the peers, the rendezvous and the relay alike; so a failure can be replayed.
// Maps that are walked in their order are what breaks it.
func TestEqualRuns(t *testing.T) {
	run := func() (digest string, packets int) {
		w := newWorld(t, 7)
		w.timeout = 2 * time.Second
		hash := sha256.New()
		w.net.Observe(func(p simnet.Packet) {
			packets++
			fmt.Fprintf(hash, "%v %x\n", p, p.Payload)
		})
		for i := range 6 {
			n := w.peer(fmt.Sprintf("p%d", i), classic[i%4], laboratory)
			n.host.SetLink(simnet.Link{Delay: 20 * ms, Loss: 0.05})
			n.runner.Do(func(now time.Time) {
				for _, room := range []string{"game", "talk"} {
					if err := n.machine.Join(now, room); err != nil {
						t.Error(err)
					}
				}
			})
		}
		w.net.Run(5 * time.Second)
		for _, n := range w.peers[:4] { // die, and the others are told when they expire
			n.runner.Stop()
		}
		w.net.Run(125 * time.Second)
		for _, n := range w.peers[4:] {
			n.runner.Stop()
		}
		w.net.Run(11 * time.Minute) // past the life of allocations
		return hex.EncodeToString(hash.Sum(nil)), packets
	}
	first, packets := run()
	if again, n := run(); again != first {
		t.Errorf("two runs of one seed differ: %d packets, %s; and %d, %s", packets, first, n, again)
	}
}
