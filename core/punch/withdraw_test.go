package punch

import (
	"slices"
	"testing"
	"time"
)

// TestWithdrawnRelaysAreLeft: whichever side's relay carries, and whoever controls,
// both use the other side's once theirs is on its way out, and lose nothing by it.
func TestWithdrawnRelaysAreLeft(t *testing.T) {
	for _, roles := range [][]bool{{true, false}, {false, true}} {
		n := newNetwork(t, symmetric, symmetric, options{timing: laboratory, roles: roles})
		n.runUntil(10*time.Second, n.settled)
		n.want(ViaRelay)
		n.run(time.Second)
		for range 4 { // to and fro
			path, _ := n.a.agent.Path()
			owner, other := n.a, n.b
			if path.Base != relayBase {
				owner, other = n.b, n.a
			}
			owner.agent.Withdraw(n.now, relayBase)
			srflx := owner.nat.out(n.now, owner.inside, server)
			other.agent.SetRemote(n.now, []Candidate{host(owner.inside), reflexive(srflx)})
			n.flush()
			// As after an introduction: what pairs could do before is asked again.
			owner.agent.Restart(n.now)
			other.agent.Restart(n.now)
			n.flush()
			n.run(2 * time.Second)
			for _, s := range []*side{n.a, n.b} {
				p, ok := s.agent.Path()
				if !ok || s == owner && p.Base == relayBase || s == other && p.Remote == owner.relay {
					t.Fatalf("roles %v: %s still uses %s's relay: %+v\n%s", roles, s.name, owner.name, p, s.describe())
				}
			}
			// The relay is there again, under the same name.
			owner.agent.SetLocal(n.now, relayBase, nil)
			n.introduce(owner, other)
			n.run(2 * time.Second)
		}
		for _, s := range []*side{n.a, n.b} {
			if lost := count[PathLost](s); lost != 0 {
				t.Errorf("roles %v: %s lost %d paths\n%s", roles, s.name, lost, s.describe())
			}
			if slices.Contains(s.agent.leaving, relayBase) {
				t.Errorf("%s: a base that has ended is still on its way out", s.name)
			}
		}
	}
}

// TestWithdrawnRelayIsBetterThanNone: where there is no other it stays in use.
func TestWithdrawnRelayIsBetterThanNone(t *testing.T) {
	n := newNetwork(t, symmetric, symmetric, options{timing: laboratory})
	n.b.relayDead = true
	n.b.agent.SetLocal(n.now, relayBase, nil)
	n.introduce(n.b, n.a)
	n.runUntil(10*time.Second, n.settled)
	n.want(ViaRelay)
	n.a.agent.Withdraw(n.now, relayBase)
	n.run(10 * time.Second)
	n.want(ViaRelay)
	if lost := count[PathLost](n.a) + count[PathLost](n.b); lost != 0 {
		t.Errorf("%d paths lost", lost)
	}
}
