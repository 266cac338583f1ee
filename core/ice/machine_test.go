package ice

import (
	"errors"
	"slices"
	"testing"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/sansio"
)

// TestPairsOfNATs: all pairs of the classic NATs, with and without trickle, whoever
// controls.
func TestPairsOfNATs(t *testing.T) {
	for i, a := range classic {
		for j, b := range classic {
			trickle, controls := (i+j)%2 == 0, i <= j
			w := newWorld(t, uint64(10*i+j))
			x := w.side("x", a, Config{Controlling: controls})
			y := w.side("y", b, Config{Controlling: !controls})
			x.trickle, y.trickle = trickle, trickle
			if !trickle {
				w.net.Until(5*time.Second, func() bool { return x.gatheringDone() && y.gatheringDone() })
			}
			introduce(x, y)
			t.Logf("%s and %s", a.name, b.name)
			w.want(meets(a, b), x, y)
		}
	}
}

// TestGathering: what is gathered behind a NAT, in which order and with what said of
// it.
func TestGathering(t *testing.T) {
	w := newWorld(t, 1)
	n := w.side("n", portRestricted, Config{})
	if !w.net.Until(5*time.Second, n.gatheringDone) {
		t.Fatal("gathering does not end")
	}
	d := n.machine.Local()
	if len(d.Candidates) != 3 || !d.Complete {
		t.Fatalf("gathered %v, complete %v; want a host, a reflexive and a relayed candidate", d.Candidates, d.Complete)
	}
	host, reflexive, relayed := d.Candidates[0], d.Candidates[1], d.Candidates[2]
	switch {
	case host.Kind != punch.Host || reflexive.Kind != punch.ServerReflexive || relayed.Kind != punch.Relayed,
		host.Priority <= reflexive.Priority, reflexive.Priority <= relayed.Priority,
		reflexive.Related != host.Addr, reflexive.Addr.Addr() != n.nat.External, relayed.Addr.Addr() != relayAddr.Addr(),
		host.Foundation == reflexive.Foundation, host.Foundation == relayed.Foundation:
		t.Errorf("gathered %v", d.Candidates)
	}
	again, err := ParseDescription(d.String())
	if err != nil || again.String() != d.String() {
		t.Errorf("%q reads back as %q, %v", d, again, err)
	}
}

// TestServersThatDoNotAnswer end gathering after a while, with what there is.
func TestServersThatDoNotAnswer(t *testing.T) {
	w := newWorld(t, 1)
	w.relay.SetLink(down)
	n := w.side("n", fullCone, Config{})
	start := w.net.Now()
	if !w.net.Until(20*time.Second, n.gatheringDone) {
		t.Fatal("gathering does not end")
	}
	if took := w.net.Now().Sub(start); took != DefaultGather || len(n.machine.Local().Candidates) != 2 {
		t.Errorf("after %v: %v", took, n.machine.Local().Candidates)
	}
}

// TestRelayOnly tells no address but the relay's, and uses no other.
func TestRelayOnly(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.side("a", fullCone, Config{Controlling: true, RelayOnly: true}), w.side("b", fullCone, Config{})
	introduce(a, b)
	w.want(punch.ViaRelay, a, b)
	for _, c := range a.machine.Local().Candidates {
		if c.Kind != punch.Relayed || c.Related.IsValid() {
			t.Errorf("tells %v", c)
		}
	}
}

// TestRoles: where both claim one role, ICE finds out who has it.
func TestRoles(t *testing.T) {
	for _, both := range []bool{true, false} {
		w := newWorld(t, 1)
		a, b := w.side("a", portRestricted, Config{Controlling: both}), w.side("b", portRestricted, Config{Controlling: both})
		introduce(a, b)
		w.want(punch.Direct, a, b)
		if a.machine.Controlling() == b.machine.Controlling() {
			t.Errorf("both say controlling: %v", both)
		}
	}
}

// TestEarlyChecks: one side is told of the other a while before the other of it. Its
// checks are answered meanwhile, by which it may find a path.
func TestEarlyChecks(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.side("a", portRestricted, Config{Controlling: true}), w.side("b", fullCone, Config{})
	w.net.Until(5*time.Second, func() bool { return a.gatheringDone() && b.gatheringDone() })
	a.runner.Do(func(now time.Time) { _ = a.machine.SetRemote(now, b.machine.Local()) })
	w.net.Run(time.Second)
	if a.state() != Connected || b.state() != New {
		t.Errorf("a is %v, and b, who knows of nobody, %v", a.state(), b.state())
	}
	if n := b.machine.session.agent.Stats().ChecksReceived; n == 0 {
		t.Error("b has heard no checks")
	}
	b.runner.Do(func(now time.Time) { _ = b.machine.SetRemote(now, a.machine.Local()) })
	w.want(punch.Direct, a, b)
}

// TestPatience: there is no verdict before RFC 8863's time; who comes late is still
// met, and who never comes is given up.
func TestPatience(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.side("a", portRestricted, Config{Controlling: true}), w.side("b", portRestricted, Config{})
	w.net.Until(5*time.Second, func() bool { return a.gatheringDone() && b.gatheringDone() })
	b.runner.Stop()
	a.runner.Do(func(now time.Time) { _ = a.machine.SetRemote(now, b.machine.Local()) })
	start := w.net.Now()
	w.net.Until(time.Minute, func() bool { return a.state() == Failed })
	if _, err := a.machine.State(); w.net.Now().Sub(start) != DefaultPatience || !errors.Is(err, ErrNoPath) {
		t.Errorf("after %v a is %v: %v", w.net.Now().Sub(start), a.state(), err)
	}
	if err := a.say("x"); !errors.Is(err, ErrNoPath) {
		t.Errorf("send: %v", err)
	}

	w = newWorld(t, 2)
	a, b = w.side("a", portRestricted, Config{Controlling: true}), w.side("b", symmetric, Config{})
	w.net.Until(5*time.Second, func() bool { return a.gatheringDone() && b.gatheringDone() })
	a.runner.Do(func(now time.Time) { _ = a.machine.SetRemote(now, b.machine.Local()) })
	w.net.Run(30 * time.Second)
	if a.state() != Checking {
		t.Errorf("after 30 s a is %v", a.state())
	}
	b.runner.Do(func(now time.Time) { _ = b.machine.SetRemote(now, a.machine.Local()) })
	w.want(punch.ViaRelay, a, b)
}

// TestRenomination: a candidate that comes when the relayed path has been nominated is
// nominated in its place where both announced that, and by nobody else.
func TestRenomination(t *testing.T) {
	for _, row := range []struct{ x, y, moves bool }{{true, true, true}, {true, false, false}, {false, true, false}} {
		w := newWorld(t, 1)
		x, y := w.side("x", fullCone, Config{Controlling: true, Renomination: row.x}), w.side("y", fullCone, Config{Renomination: row.y})
		w.net.Until(5*time.Second, func() bool { return x.gatheringDone() && y.gatheringDone() })
		relayedOnly := func(d Description) Description {
			d.Complete = false
			d.Candidates = slices.DeleteFunc(slices.Clone(d.Candidates), func(c Candidate) bool { return c.Kind != punch.Relayed })
			return d
		}
		ofX, ofY := x.machine.Local(), y.machine.Local()
		tell := func(to *node, d Description) {
			to.runner.Do(func(now time.Time) {
				if err := to.machine.SetRemote(now, d); err != nil {
					t.Error(err)
				}
			})
		}
		tell(x, relayedOnly(ofY))
		tell(y, relayedOnly(ofX))
		if !w.net.Until(20*time.Second, func() bool { return x.settled() && y.settled() }) || x.machine.Path().Kind != punch.ViaRelay {
			t.Fatalf("at first the paths are %v and %v", x.machine.Path(), y.machine.Path())
		}
		tell(x, ofY)
		tell(y, ofX)
		direct := func() bool {
			return x.machine.Path().Kind == punch.Direct && y.machine.Path().Kind == punch.Direct
		}
		if moved := w.net.Until(20*time.Second, direct); moved != row.moves {
			t.Errorf("announced by the controlling side %v, by the other %v: moved %v to %v and %v", row.x, row.y, moved, x.machine.Path(), y.machine.Path())
		}
	}
}

// TestConsent: who is gone is noticed after 30 s without an answer, and nothing is
// sent to it then.
func TestConsent(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.side("a", fullCone, Config{Controlling: true}), w.side("b", fullCone, Config{})
	introduce(a, b)
	w.want(punch.Direct, a, b)
	b.runner.Stop()
	gone := w.net.Now()
	w.net.Until(time.Minute, func() bool { return a.state() == Disconnected })
	if d := w.net.Now().Sub(gone); d > DisconnectedAfter {
		t.Errorf("disconnected after %v", d)
	}
	w.net.Until(time.Minute, func() bool { return a.state() == Failed })
	d := w.net.Now().Sub(gone)
	if _, err := a.machine.State(); !errors.Is(err, ErrConsent) || d < DefaultExpiry-6*time.Second || d > DefaultExpiry+7*time.Second {
		t.Errorf("after %v a is %v: %v", d, a.state(), err)
	}
	if err := a.say("x"); !errors.Is(err, ErrConsent) {
		t.Errorf("send: %v", err)
	}
	checks := 0
	w.seen = func(p packet) {
		if p.From == a.host && p.To == b.host {
			checks++
		}
	}
	w.net.Run(time.Minute)
	if checks > 0 {
		t.Errorf("%d packets to who has not consented", checks)
	}
}

// TestRestart: either side restarts, or both; the path in use goes on, and another
// one comes of new credentials.
func TestRestart(t *testing.T) {
	for _, who := range []string{"a", "b", "both"} {
		w := newWorld(t, 1)
		a, b := w.side("a", portRestricted, Config{Controlling: true}), w.side("b", restricted, Config{})
		a.trickle, b.trickle = true, true
		introduce(a, b)
		w.want(punch.Direct, a, b)
		before := [2]string{a.machine.Local().Ufrag, b.machine.Local().Ufrag}
		a.events, b.events = nil, nil
		for i, n := range []*node{a, b} {
			if who == n.name || who == "both" {
				n.runner.Do(func(now time.Time) {
					if err := n.machine.Restart(now); err != nil {
						t.Error(err)
					}
				})
				if err := n.say("meanwhile"); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		}
		w.want(punch.Direct, a, b)
		if after := [2]string{a.machine.Local().Ufrag, b.machine.Local().Ufrag}; after[0] == before[0] || after[1] == before[1] {
			t.Errorf("%s: credentials were %v, are %v", who, before, after)
		}
		if a.machine.former != nil || b.machine.former != nil {
			t.Errorf("%s: the former session goes on", who)
		}
		for _, n := range []*node{a, b} {
			for _, e := range n.events {
				if e, ok := e.(StateChanged); ok {
					t.Errorf("%s: %s became %v", who, n.name, e.State)
				}
			}
		}
	}
}

// TestRestartAfterFailure: a NAT gives other ports, the path dies, and a restart
// finds another one.
func TestRestartAfterFailure(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.side("a", portRestricted, Config{Controlling: true}), w.side("b", fullCone, Config{})
	introduce(a, b)
	w.want(punch.Direct, a, b)
	b.host.SetLink(down)
	w.net.Until(time.Minute, func() bool { return a.state() == Failed && b.state() == Failed })
	b.host.SetLink(linkOf20)
	a.events, b.events = nil, nil
	a.runner.Do(func(now time.Time) { _ = a.machine.Restart(now) })
	w.want(punch.Direct, a, b)
}

// TestClose leaves nothing behind.
func TestClose(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.side("a", symmetric, Config{Controlling: true}), w.side("b", symmetric, Config{})
	introduce(a, b)
	w.want(punch.ViaRelay, a, b)
	a.runner.Do(a.machine.Close)
	if at := a.machine.PollTimeout(); !at.IsZero() || a.state() != Closed {
		t.Errorf("closed, and %v wants to be called at %v", a.state(), at)
	}
	if err := a.say("x"); !errors.Is(err, ErrClosed) {
		t.Errorf("send: %v", err)
	}
	for name, f := range map[string]func(time.Time) error{
		"SetRemote": func(now time.Time) error { return a.machine.SetRemote(now, b.machine.Local()) },
		"AddRemote": func(now time.Time) error { return a.machine.AddRemote(now, b.machine.Local().Candidates[0]) },
		"Restart":   a.machine.Restart,
	} {
		if err := f(w.net.Now()); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStrangersAreNotHeard: data from where no pair leads is not the other side's,
// and checks without the password get no answer.
func TestStrangersAreNotHeard(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.side("a", fullCone, Config{Controlling: true}), w.side("b", fullCone, Config{})
	introduce(a, b)
	w.want(punch.Direct, a, b)
	stranger := w.side("stranger", fullCone, Config{})
	got, answers := len(a.got), 0
	w.seen = func(p packet) {
		if p.From == a.host && p.To == stranger.host {
			answers++
		}
	}
	stranger.runner.Do(func(time.Time) {
		l := stranger.machine.links[0]
		to := a.machine.Path().Mapped
		stranger.machine.Outbox.Send(l.socket, to, []byte("hello"))
		check := []byte("\x00\x01\x00\x0c\x21\x12\xa4\x42abcdefghijkl\x00\x06\x00\x08" + a.machine.Local().Ufrag[:4] + ":abc")
		stranger.machine.Outbox.Send(l.socket, to, check)
	})
	w.net.Run(time.Second)
	if len(a.got) != got || answers > 0 {
		t.Errorf("%d datagrams of a stranger, %d answers to it", len(a.got)-got, answers)
	}
}

// TestConfigs: what is of no use is said.
func TestConfigs(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no randomness":       {},
		"a server's port":     {Rand: random(1, 1), STUN: addrs("192.0.2.1:0")},
		"too many servers":    {Rand: random(1, 1), STUN: addrs("192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.1:4", "192.0.2.1:5")},
		"relay-only, without": {Rand: random(1, 1), RelayOnly: true},
		"a relay of nowhere":  {Rand: random(1, 1), TURN: []Relay{{}}},
	} {
		if _, err := NewMachine(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var _ sansio.Machine = (*clock)(nil)
