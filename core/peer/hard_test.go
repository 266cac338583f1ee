package peer

import (
	"testing"
	"time"

	"p2pmodel/core/search"
	"p2pmodel/core/traits"
)

// TestPrediction: what plain punching relays becomes direct, and every socket but the one
// that carries the session is given back. It stays so for as long as it lives.
func TestPrediction(t *testing.T) {
	for _, row := range []struct {
		a, b    behaviour
		sockets int // that are left, of both
	}{{symmetric, portRestricted, 1}, {portRestricted, symmetric, 1}, {symmetric, symmetric, 2}} {
		w := newWorld(t, 1)
		w.guesses = true
		a, b := w.pair(row.a, row.b, Config{Keepalive: 500 * ms})
		w.net.Run(10 * time.Second)
		w.want(a, b, Direct)
		if n := len(a.machine.extras) + len(b.machine.extras); n != row.sockets {
			t.Errorf("%s and %s: %d sockets are left, want %d", row.a.name, row.b.name, n, row.sockets)
		}
		if atA, atB := w.exchange(a, b, 100, 100*ms); atA < 98 || atB < 98 {
			t.Errorf("%s and %s: of 100 datagrams %d and %d arrived", row.a.name, row.b.name, atA, atB)
		}
		w.want(a, b, Direct)
		a.machine.Close(w.net.Now(), b.id())
		w.net.Run(time.Second)
		if n := len(a.machine.extras) + len(b.machine.extras); n != 0 {
			t.Errorf("%s and %s: %d sockets outlive the session", row.a.name, row.b.name, n)
		}
	}
}

// TestTraitsAreLearnedAnew: what was concluded wrongly while the network changed is
// corrected when a relayed session looks for a direct path again, by another socket, which is closed.
func TestTraitsAreLearnedAnew(t *testing.T) {
	w := newWorld(t, 1)
	w.guesses = true
	cfg := Config{Techniques: Techniques{NoBirthday: true}}
	a, b := w.peer("a", symmetric, cfg), w.peer("b", portRestricted, cfg)
	w.net.Run(500 * ms)
	a.machine.survey.traits.Allocation, a.machine.survey.traits.Delta = traits.Unseen, 0
	a.connect(b)
	if !w.net.Until(5*time.Second, func() bool { return a.path(b).Kind == Relay }) {
		t.Fatalf("no relayed path\n%s", a.history())
	}
	if !w.net.Until(20*time.Second, func() bool { return a.path(b).Kind == Direct && b.path(a).Kind == Direct }) {
		t.Errorf("no direct path: %v\n%s\n%s", a.machine.survey.traits, a.history(), b.history())
	}
	if a.machine.survey.socket != 0 || a.machine.survey.traits.Allocation != traits.Sequential {
		t.Errorf("after the survey: socket %d, %v", a.machine.survey.socket, a.machine.survey.traits)
	}
}

// TestPredictionIsLeftOut: who opts out is neither told nor asked, and so is the other
// side.
func TestPredictionIsLeftOut(t *testing.T) {
	out := Config{Techniques: Techniques{NoPrediction: true, NoBirthday: true}}
	for _, cfgs := range [][2]Config{{out, {}}, {{}, out}} {
		w := newWorld(t, 1)
		w.guesses = true
		a, b := w.peer("a", symmetric, cfgs[0]), w.peer("b", portRestricted, cfgs[1])
		w.net.Run(500 * ms)
		a.connect(b)
		w.net.Run(10 * time.Second)
		w.want(a, b, Relay)
		for _, n := range []*node{a, b} {
			if h := n.machine.Stats().Hard; h.Sockets+h.Probes != 0 {
				t.Errorf("%s: %+v", n.name, h)
			}
		}
	}
}

// TestParts: who begins what, for each pair of traits.
func TestParts(t *testing.T) {
	easy := traits.Traits{Mapping: traits.EndpointIndependent}
	counts := traits.Traits{Mapping: traits.AddressAndPortDependent, Allocation: traits.Sequential, Delta: 1}
	byAddress := traits.Traits{Mapping: traits.AddressDependent, Allocation: traits.Sequential, Delta: 1}
	draws := traits.Traits{Mapping: traits.AddressAndPortDependent, Allocation: traits.Random}
	pooled := draws
	pooled.Pooled = true
	const all = acceptsPrediction | acceptsBirthday
	for _, row := range []struct {
		own, peer traits.Traits
		both      acceptance
		leader    bool
		want      part
	}{
		{easy, easy, all, true, partNone}, {easy, counts, all, true, partWait}, {easy, draws, all, true, partWait},
		{counts, easy, all, false, partGuess}, {counts, easy, acceptsBirthday, false, partOpen}, {counts, easy, 0, false, partNone},
		{draws, easy, all, false, partOpen}, {draws, easy, acceptsPrediction, false, partNone},
		{draws, draws, all, true, partNone}, {draws, counts, all, true, partNone}, {counts, draws, all, true, partNone},
		{counts, counts, all, true, partMeet}, {counts, counts, all, false, partWait},
		{byAddress, counts, all, false, partGuess}, {counts, byAddress, all, true, partWait},
		{byAddress, byAddress, all, true, partGuess}, {byAddress, byAddress, all, false, partWait},
		{pooled, easy, all, true, partNone}, {traits.Traits{}, easy, all, true, partNone}, {draws, traits.Traits{}, all, true, partNone},
	} {
		if got := partOf(row.own, row.peer, row.both, row.leader); got != row.want {
			t.Errorf("%v with %v, %b, leader %v: %d, want %d", row.own, row.peer, row.both, row.leader, got, row.want)
		}
	}
}

// TestExperience: what failed is left alone for longer each time, what worked is proven,
// and the memory is bounded and survives its machine.
func TestExperience(t *testing.T) {
	w := newWorld(t, 1)
	w.guesses = true
	a, b := w.pair(portRestricted, portRestricted, Config{})
	w.net.Run(2 * time.Second)
	m, s, now := a.machine, a.machine.sessionWith(b.id()), w.net.Now()
	for i, wait := range []time.Duration{TriedAgainAfter, hopelessFor, 2 * hopelessFor, 4 * hopelessFor} {
		m.remember(now, s, Birthday, false)
		if m.worthwhile(now.Add(wait-time.Second), s, Birthday) || !m.worthwhile(now.Add(wait), s, Birthday) {
			t.Errorf("after %d failures it is not left alone for %v", i+1, wait)
		}
	}
	m.remember(now, s, Birthday, true)
	if !m.proven(s, Birthday) || !m.worthwhile(now, s, Birthday) || m.proven(s, Prediction) {
		t.Error("what worked is not proven")
	}
	if e := m.Experiences(); len(e) != 1 || !e[0].Worked || e[0].Failures != 0 {
		t.Errorf("remembered: %+v", e)
	}
	for i := range 2 * maxExperiences {
		s.hard.vouched = candidate(0, "203.0.113.1:1").Addr
		m.experiences = append(m.experiences[:min(len(m.experiences), maxExperiences)], Experience{Failures: i})
		m.remember(now, s, Birthday, false)
	}
	if n := len(m.Experiences()); n > maxExperiences {
		t.Errorf("%d are remembered, want %d at most", n, maxExperiences)
	}
}

// TestStrangersOpenNothing: a session that nobody here asked for, and whose peer has given
// no sign of life, has no technique at work, whatever it offers.
func TestStrangersOpenNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.guesses = true
	a := w.peer("a", symmetric, Config{})
	w.net.Run(500 * ms)
	m := a.machine
	s, err := m.begin(w.net.Now(), w.peer("b", portRestricted, Config{}).id(), SessionID{1}, false)
	if err != nil {
		t.Fatal(err)
	}
	s.hard.peer, s.hard.accepts = traits.Traits{Mapping: traits.EndpointIndependent}, acceptsBirthday|acceptsPrediction
	s.hard.vouched = candidate(0, "198.51.100.7:9").Addr
	for _, k := range []hintKind{hintTraits, hintPorts, hintMeet, hintSearch} {
		m.hinted(w.net.Now(), s, hint{Kind: k, Ports: []uint16{7}, Traits: s.hard.peer, Accepts: s.hard.accepts})
	}
	m.pursue(w.net.Now(), s)
	if s.hard.attempt != nil || len(m.extras) != 0 || m.stats.Hard.Probes+m.stats.Hard.Hints != 0 {
		t.Errorf("a stranger made us begin %+v, %d sockets", m.stats.Hard, len(m.extras))
	}
	if maxExtras < search.Sockets {
		t.Error("no search fits")
	}
}

// FuzzHint: what is accepted is written back the same.
func FuzzHint(f *testing.F) {
	f.Add(hint{Number: 3, Kind: hintPorts, Accepts: acceptsBirthday, Ports: []uint16{5, 9}}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHint(b)
		if err != nil {
			return
		}
		again, err := decodeHint(h.encode())
		if err != nil || again.Number != h.Number || again.Kind != h.Kind || again.Traits != h.Traits || len(again.Ports) != len(h.Ports) {
			t.Errorf("%+v came back as %+v, %v", h, again, err)
		}
	})
}
