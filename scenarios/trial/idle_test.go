package trial

import (
	"errors"
	"testing"
	"time"

	"p2pmodel/core/keepalive"
	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
	"p2pmodel/nat"
)

// idled is what became of two peers who have a direct path and say nothing for half an hour,
// the first of them behind a NAT.
type idled struct {
	interval    time.Duration // of the first one's keepalives, in the end
	lost, early int           // mappings and paths, in the second half and in the first one
	hour        uint64        // datagrams that the first one sent in the second half, as of an hour
}

func idle(t *testing.T, b nat.Behavior, interval time.Duration) (o idled) {
	t.Helper()
	tr, err := New(Setting{Players: []Player{at(b), at(nat.Behavior{})}, Play: time.Second, Keepalive: interval})
	if err != nil {
		t.Fatal(err)
	}
	p := &play{}
	defer func() {
		if err := p.net.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := errors.Join(p.begin(tr, 1), p.run()); err != nil {
		t.Fatal(err)
	}
	o.interval = keepalive.Safe
	lost := &o.early
	for i := range p.players {
		a := &p.players[i]
		told := a.talker.told
		a.talker.told = func(now time.Time, e sansio.Event) {
			switch e := e.(type) {
			case peer.PathLost, peer.ReflexiveChanged:
				*lost++
			case peer.KeepaliveLearned:
				if i == 0 {
					o.interval = e.Interval
				}
			}
			told(now, e)
		}
		a.talker.interval, a.talker.next = 24*time.Hour, p.net.Now().Add(24*time.Hour)
	}
	sent := func() uint64 { x := p.outcome().Peers[0]; return x.Upkeep.Datagrams }
	if err := p.goOn(15 * time.Minute); err != nil {
		t.Fatal(err)
	}
	half := sent()
	lost = &o.lost
	if err := p.goOn(15 * time.Minute); err != nil {
		t.Fatal(err)
	}
	o.hour = (sent() - half) * 4
	return o
}

// TestIdleBehindPresets: an idle session behind every NAT that has a name keeps its
// mapping once its patience is known, by an interval that is shorter than that, and never
// by more datagrams than with the interval that is safe everywhere.
func TestIdleBehindPresets(t *testing.T) {
	fixed := idle(t, nat.Behavior{}, keepalive.Safe)
	for _, p := range nat.Presets() {
		b := p.Behavior
		timeout := b.Timeout
		if timeout == 0 {
			timeout = nat.DefaultTimeout
		}
		o := idle(t, b, 0)
		t.Logf("%-28s waits for %-6v: an interval of %-8v %4d datagrams an hour, %4d with %v; lost %d, %d while it was learned",
			p.Name, timeout, o.interval, o.hour, fixed.hour, keepalive.Safe, o.lost, o.early)
		if b.Rotate > 0 {
			continue // it takes mappings in use away, too
		}
		if o.lost > 0 {
			t.Errorf("%s: %d mappings or paths were lost once its patience was known", p.Name, o.lost)
		}
		if longest := max(timeout, b.Stream); o.interval >= longest {
			t.Errorf("%s: an interval of %v, and it waits for %v", p.Name, o.interval, longest)
		}
		if o.hour > fixed.hour*11/10 {
			t.Errorf("%s: %d datagrams an hour with what was learned, %d without", p.Name, o.hour, fixed.hour)
		}
	}
}
