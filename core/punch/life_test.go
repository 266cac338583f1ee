package punch

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// laboratory is the timing of a network whose NATs forget after 2 s.
var laboratory = Timing{Keepalive: 500 * ms, Consent: 500 * ms, DeadAfter: time.Second}

func count[E any](s *side) (n int) {
	for _, e := range s.events {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}

func TestKeepaliveOutlivesTimeouts(t *testing.T) {
	for _, timing := range []Timing{
		laboratory,
		{Keepalive: 500 * ms, Consent: -1}, // keepalives alone suffice
		{Keepalive: -1, Consent: 500 * ms}, // consent keeps the mapping too
	} {
		n := newNetwork(t, portRestricted, portRestricted, options{timing: timing, natTimeout: 2 * time.Second})
		n.run(60 * time.Second) // thirty timeouts
		n.want(Direct)
		if lost := count[PathLost](n.a) + count[PathLost](n.b); lost != 0 {
			t.Errorf("timing %+v: the path was lost %d times in thirty timeouts", timing, lost)
		}
	}
}

// TestSilence is the control of the above: with keepalive and consent off
// nothing is sent, and both NATs forget.
func TestSilence(t *testing.T) {
	n := newNetwork(t, portRestricted, portRestricted, options{timing: Timing{Keepalive: -1, Consent: -1}, natTimeout: 2 * time.Second})
	n.runUntil(5*time.Second, n.settled)
	n.run(SettleAfter(DefaultRTT)) // checks that look for a relay on standby
	sent := n.a.agent.Stats().ChecksSent + n.b.agent.Stats().ChecksSent
	n.run(time.Minute)
	if now := n.a.agent.Stats().ChecksSent + n.b.agent.Stats().ChecksSent; now != sent {
		t.Errorf("%d checks were sent although keepalive and consent are off", now-sent)
	}
	n.want(Direct) // and nobody noticed
	path, _ := n.b.agent.Path()
	if _, ok := n.a.nat.in(n.now, path.Remote.Port(), n.a.nat.out(n.now, n.b.inside, path.Remote)); ok {
		t.Error("a's NAT still lets the peer in after thirty timeouts of silence")
	}
}

// TestDeadPathFallsBackToRelay: the direct way is cut on both sides.
func TestDeadPathFallsBackToRelay(t *testing.T) {
	n := newNetwork(t, portRestricted, portRestricted, options{timing: laboratory})
	n.runUntil(5*time.Second, n.settled)
	n.run(2 * time.Second)
	n.want(Direct)
	cut := func(x Transmit) bool { return x.Base == socketBase && x.Remote.Addr() != server.Addr() }
	n.a.muted, n.b.muted = cut, cut
	at := n.now
	n.runUntil(10*time.Second, func() bool {
		a, b := n.kinds()
		return a == ViaRelay && b == ViaRelay
	})
	if took := n.now.Sub(at); took > 1500*ms {
		t.Errorf("it took %v until both sides used the relay, want at most 1.5 s (an interval of 0.6 s, three retransmissions, a round trip)", took)
	}
	if count[PathLost](n.a)+count[PathLost](n.b) == 0 {
		t.Error("nobody reported the loss of the direct path")
	}
	n.a.muted, n.b.muted = nil, nil
	for _, s := range []*side{n.a, n.b} {
		s.agent.Restart(n.now)
	}
	n.run(3 * time.Second)
	n.want(Direct)
}

// TestConsentExpires: the peer vanishes.
func TestConsentExpires(t *testing.T) {
	n := newNetwork(t, fullCone, fullCone, options{timing: laboratory})
	n.runUntil(5*time.Second, n.settled)
	n.run(time.Second)
	n.b.muted = func(Transmit) bool { return true }
	n.run(4 * time.Second)
	if path, ok := n.a.agent.Path(); ok {
		t.Errorf("4 s after the peer vanished the path is still %+v", path)
	}
	n.b.muted = nil
	for _, s := range []*side{n.a, n.b} {
		s.agent.Restart(n.now)
	}
	n.run(3 * time.Second)
	n.want(Direct)
}

// TestTrafficFindsTheDeadPath: with slow consent, data that gets no answer makes
// the agent ask.
func TestTrafficFindsTheDeadPath(t *testing.T) {
	n := newNetwork(t, fullCone, fullCone, options{timing: Timing{Keepalive: 20 * time.Second, Consent: 20 * time.Second}})
	n.runUntil(5*time.Second, n.settled)
	n.run(5 * time.Second)
	n.b.muted = func(x Transmit) bool { return x.Base == socketBase }
	at := n.now
	for range 100 {
		n.a.agent.NoteSent(n.now)
		n.flush()
		n.run(30 * ms)
		if p, _ := n.a.agent.Path(); p.Kind != Direct {
			break
		}
	}
	if took := n.now.Sub(at); took > 2500*ms {
		t.Errorf("data went over the dead path for %v, want at most 2.5 s", took)
	}
}

// TestRebootOfAConeNAT: the peer's filter lets the new mapping in; each side in
// either role follows without help from outside.
func TestRebootOfAConeNAT(t *testing.T) {
	for _, roles := range [][]bool{{true, false}, {false, true}} {
		n := newNetwork(t, portRestricted, fullCone, options{timing: laboratory, roles: roles})
		n.runUntil(5*time.Second, n.settled)
		n.run(2 * time.Second)
		before, _ := n.b.agent.Path()
		n.a.nat.reboot()
		n.run(3 * time.Second)
		n.want(Direct)
		after, _ := n.b.agent.Path()
		if after.Remote == before.Remote || after.Remote.Addr() != n.a.nat.external {
			t.Errorf("a controls: %v: b sends to %v after a's NAT rebooted, to %v before", roles[0], after.Remote, before.Remote)
		}
	}
}

// TestRebootBehindFilters: only new offers open the path again.
func TestRebootBehindFilters(t *testing.T) {
	n := newNetwork(t, portRestricted, portRestricted, options{timing: laboratory})
	n.runUntil(5*time.Second, n.settled)
	n.run(2 * time.Second)
	n.a.nat.reboot()
	n.run(500 * ms)
	n.introduce(n.a, n.b)
	n.introduce(n.b, n.a)
	for _, s := range []*side{n.a, n.b} {
		s.agent.Restart(n.now)
	}
	n.run(2 * time.Second)
	n.want(Direct)
}

func TestRoleConflict(t *testing.T) {
	for _, roles := range [][]bool{{true, true}, {false, false}} {
		n := newNetwork(t, restricted, portRestricted, options{roles: roles})
		n.runUntil(10*time.Second, n.settled)
		n.want(Direct)
		a, b := n.a.agent, n.b.agent
		if a.controlling == b.controlling {
			t.Errorf("roles %v: both sides have controlling=%v after the conflict", roles, a.controlling)
		}
		if !b.controlling {
			t.Errorf("roles %v: a controls although b's tie-breaker is larger (RFC 8445 section 7.3.1.1)", roles)
		}
	}
}

// TestDelayedIntroduction: one side learns of the other seconds later, and both
// still settle on the direct path.
func TestDelayedIntroduction(t *testing.T) {
	for _, late := range []time.Duration{100 * ms, 500 * ms, 1500 * ms, 3 * time.Second} {
		n := newNetwork(t, portRestricted, portRestricted, options{})
		n.b.hold = n.now.Add(late)
		n.run(late)
		n.b.agent.Restart(n.now)
		n.run(5 * time.Second)
		n.want(Direct)
		if !n.settled() {
			t.Errorf("introduced %v late: not settled 5 s later", late)
		}
	}
}

// TestSettledIsBounded: every outcome is settled by the bound.
func TestSettledIsBounded(t *testing.T) {
	for _, delay := range []time.Duration{100 * time.Microsecond, 10 * ms, 40 * ms, 150 * ms, 600 * ms} {
		n := newNetwork(t, symmetric, symmetric, options{delay: delay})
		n.runUntil(60*time.Second, n.settled)
		n.want(ViaRelay)
		for _, s := range []*side{n.a, n.b} {
			// Relayed both ways the round trip is up to six delays.
			if bound := max(SettleAfter(6*delay), lonelyFactor*SettleAfter(DefaultRTT)) + 6*delay; s.settledAt > bound {
				t.Errorf("one way %v: %s settled after %v, want at most %v", delay, s.name, s.settledAt, bound)
			}
		}
	}
}
