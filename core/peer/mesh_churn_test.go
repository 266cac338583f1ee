package peer

import (
	"fmt"
	"testing"
	"time"

	"p2pmodel/core/sansio/simnet"
)

// TestMeshOf64: a full room with churn. Members come one after the other; then one
// leaves, one dies without a word, and another one comes. All others keep their
// sessions and paths, and what each sends is bounded, while nothing happens and while
// one of them is dead.
func TestMeshOf64(t *testing.T) {
	size := 64
	if raced {
		size = 12
	}
	w := newWorld(t, 1)
	kinds := []behaviour{fullCone, restricted, portRestricted}
	join := func(i int) *node {
		n := w.peer(fmt.Sprint("p", i), kinds[i%len(kinds)], Config{})
		n.do(func(now time.Time) error { return n.machine.Join(now, "room") })
		return n
	}
	sent := map[*simnet.Host]int{}
	w.net.Observe(func(p simnet.Packet) { sent[p.From]++ })
	// busiest runs for some seconds and gives what the busiest of them sent in one.
	busiest := func(nodes []*node, seconds int) (most int) {
		clear(sent)
		w.net.Run(time.Duration(seconds) * time.Second)
		for _, n := range nodes {
			most = max(most, (sent[n.host]+seconds-1)/seconds)
		}
		return most
	}
	// meshes waits until all pairs are direct.
	meshes := func(nodes []*node) {
		t.Helper()
		began := w.net.Now()
		for {
			missing := 0
			for i, a := range nodes {
				for _, b := range nodes[i+1:] {
					if a.path(b).Kind != Direct || b.path(a).Kind != Direct {
						missing++
					}
				}
			}
			took := w.net.Now().Sub(began)
			if missing == 0 {
				t.Logf("%d members are meshed %v after the last one came", len(nodes), took)
				return
			}
			if took > 3*time.Second {
				t.Fatalf("%d of %d pairs have no direct path after %v", missing, len(nodes)*(len(nodes)-1)/2, took)
			}
			w.net.Run(50 * ms)
		}
	}

	var all []*node
	for i := range size {
		all = append(all, join(i))
		w.net.Run(20 * ms)
	}
	meshes(all)
	w.net.Run(2 * time.Second)
	most := busiest(all, 5)
	t.Logf("idle, a member of %d sends at most %d datagrams a second", size, most)
	// To each other member, each 5 s, a check and the answer to one: by the path in
	// use, and by the relayed one behind it. The rest is for the servers.
	explained := 2*2*(size-1)/5 + 10
	if most > explained {
		t.Errorf("idle, a member of %d sends %d datagrams a second, of which %d are explained", size, most, explained)
	}

	dead, leaver := all[3], all[7]
	before := map[*node]int{}
	for _, n := range all {
		before[n] = len(n.events)
	}
	dead.runner.Stop()
	leaver.do(func(now time.Time) error { leaver.machine.Leave(now, "room"); return nil })
	var rest []*node
	for _, n := range all {
		if n != dead && n != leaver {
			rest = append(rest, n)
		}
	}
	fresh := join(size)
	meshes(append(rest, fresh))
	// Nobody speaks, so that silence is noticed by the next check: after 6 s at most,
	// and 2 s in which it is not answered.
	w.net.Run(9 * time.Second)
	for _, n := range rest {
		if kind := n.path(dead).Kind; kind != NoPath {
			t.Errorf("%s has still a path to the dead one: %v", n.name, kind)
		}
		if n.session(leaver) != (SessionID{}) {
			t.Errorf("%s has still a session with the one that left", n.name)
		}
		for _, e := range n.events[before[n]:] {
			switch e := e.(type) {
			case PathLost:
				if e.Peer != dead.id() {
					t.Errorf("%s lost its path to one who lives", n.name)
				}
			case PathChanged:
				if e.Peer != dead.id() && e.Peer != fresh.id() && e.Peer != leaver.id() {
					t.Errorf("%s changed its path to one whom nothing happened to: %v", n.name, e)
				}
			case Closed:
				if e.Peer != dead.id() && e.Peer != leaver.id() {
					t.Errorf("%s's session with one who lives ended: %v", n.name, e.Err)
				}
			}
		}
	}
	most = busiest(rest, 5)
	t.Logf("with a dead one among them, a member sends at most %d datagrams a second", most)
	// They look for it by turns that grow longer: a round of checks is 100 datagrams
	// at most.
	if bound := explained + 20; most > bound {
		t.Errorf("with a dead one among them a member sends %d datagrams a second, at most %d are explained", most, bound)
	}
}
