package peer

import (
	"net/netip"
	"slices"
	"time"
)

// Experience is how a technique has fared between two networks. An application may
// keep what Machine.Experiences gives and hand it to the next Machine as
// Config.Experiences.
type Experience struct {
	// Own and Theirs are the networks: their addresses as the rendezvous sees them.
	Own, Theirs netip.Addr
	Technique   Technique
	// Worked says how it ended last, Failures how often in a row in vain.
	Worked   bool
	Failures int
	At       time.Time
}

const (
	// maxExperiences bounds what is remembered; the oldest goes first.
	maxExperiences = 256
	// TriedAgainAfter is how long a technique that failed once is left alone between two
	// networks: a packet may have been lost, or a mapping of either side.
	TriedAgainAfter = 30 * time.Second
	// hopelessFor is how long one is that failed twice in a row; it doubles with each
	// further failure, up to hopelessMost.
	hopelessFor  = 10 * time.Minute
	hopelessMost = 24 * time.Hour
)

// Experiences are those that are remembered, the oldest first.
func (m *Machine) Experiences() []Experience { return slices.Clone(m.experiences) }

func (m *Machine) recall(s *session, t Technique) (Experience, bool) {
	for _, e := range m.experiences {
		if e.Own == m.reflexive.Addr() && e.Theirs == s.hard.vouched.Addr() && e.Technique == t {
			return e, true
		}
	}
	return Experience{}, false
}

// remember notes how an attempt ended. A port that was not foretold once may be the next
// time: a guess counts when all of a session's have failed.
func (m *Machine) remember(now time.Time, s *session, t Technique, worked bool) {
	if !worked && t == Prediction && s.hard.guesses < mostGuesses {
		return
	}
	e, _ := m.recall(s, t)
	failures := e.Failures + 1
	if worked {
		failures = 0
	}
	e = Experience{Own: m.reflexive.Addr(), Theirs: s.hard.vouched.Addr(), Technique: t, Worked: worked, Failures: failures, At: now}
	m.experiences = slices.DeleteFunc(m.experiences, func(o Experience) bool {
		return o.Own == e.Own && o.Theirs == e.Theirs && o.Technique == t
	})
	if len(m.experiences) >= maxExperiences {
		m.experiences = slices.Delete(m.experiences, 0, len(m.experiences)-maxExperiences+1)
	}
	m.experiences = append(m.experiences, e)
}

// worthwhile reports whether nothing speaks against a technique between our network
// and the peer's.
func (m *Machine) worthwhile(now time.Time, s *session, t Technique) bool {
	e, known := m.recall(s, t)
	return !known || e.Worked || !now.Before(e.At.Add(e.pause()))
}

// pause is how long a technique that failed is left alone.
func (e Experience) pause() time.Duration {
	if e.Failures < 2 {
		return TriedAgainAfter
	}
	return min(hopelessFor<<min(e.Failures-2, 8), hopelessMost)
}

// secondTry is when a technique may be tried a second time in a session that one has
// failed; zero: it may already, or none has.
func (m *Machine) secondTry(now time.Time, s *session) (at time.Time) {
	for _, t := range []Technique{Prediction, Birthday} {
		if e, known := m.recall(s, t); known && !e.Worked && e.Failures == 1 && now.Before(e.At.Add(TriedAgainAfter)) {
			at = earlier(at, e.At.Add(TriedAgainAfter))
		}
	}
	return at
}

// proven reports whether a technique worked there last time: then it does not wait until
// all else has failed.
func (m *Machine) proven(s *session, t Technique) bool {
	e, known := m.recall(s, t)
	return known && e.Worked
}
