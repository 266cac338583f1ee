package peer

import (
	"testing"
	"time"

	"p2pmodel/core/sansio"
)

// sleeper is a machine that may be asleep: nobody calls it, and what comes is lost.
type sleeper struct {
	*Machine
	asleep bool
}

func (s *sleeper) HandleDatagram(now time.Time, d sansio.Datagram) {
	if !s.asleep {
		s.Machine.HandleDatagram(now, d)
	}
}

func (s *sleeper) HandleTimeout(now time.Time) {
	if !s.asleep {
		s.Machine.HandleTimeout(now)
	}
}

func (s *sleeper) PollTimeout() time.Time {
	if s.asleep {
		return time.Time{}
	}
	return s.Machine.PollTimeout()
}

// TestSleep: a peer sleeps for minutes, in which its NAT forgets it, and the other
// side its path. It is back under the same session within a second.
func TestSleep(t *testing.T) {
	for _, b := range []behaviour{portRestricted, symmetric} {
		w := newWorld(t, 1)
		w.timeout = 30 * time.Second
		x, y := w.peer("a", b, laboratory), w.peer("b", b, laboratory)
		w.net.Run(time.Second)
		x.connect(y)
		w.net.Until(10*time.Second, func() bool { return x.path(y).Kind != NoPath && count[Settled](y) > 0 })
		session, kind := x.session(y), x.path(y).Kind
		x.sleeper.asleep = true
		w.net.Run(4 * time.Minute)
		if y.path(x).Kind != NoPath {
			t.Errorf("%s: four minutes later the other side still has a path: %v", b.name, y.path(x))
		}
		x.sleeper.asleep = false
		woke := w.net.Now()
		got := len(y.got)
		for len(y.got) == got && w.net.Now().Sub(woke) < 10*time.Second {
			_ = x.send(y, "awake")
			w.net.Run(20 * ms)
		}
		took := w.net.Now().Sub(woke)
		t.Logf("%s: the first datagram %v after a sleep of 4 min", b.name, took)
		if took > time.Second || x.session(y) != session || y.session(x) != session {
			t.Errorf("%s: it took %v, session %v → %v and %v\n%s\n%s", b.name, took, session, x.session(y), y.session(x), x.history(), y.history())
		}
		w.net.Run(3 * time.Second)
		w.want(x, y, kind)
		if x.machine.Stats().Sleeps != 1 {
			t.Errorf("%s: it slept %d times", b.name, x.machine.Stats().Sleeps)
		}
	}
}
