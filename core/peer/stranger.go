package peer

import (
	"errors"
	"time"
)

// A stranger is a peer that we did not ask for and that has given no sign of
// life: all that speaks for it is an offer, and whoever can register can offer
// any address, that of a victim too. What strangers can make us send and keep is
// bounded here, for all of them together.

const (
	// maxSessions bounds the sessions of a machine: eight full rooms, twice.
	// ownSessions of them are left to those that we begin.
	maxSessions = 1024
	ownSessions = 256
	// maxStrangers bounds those that strangers began. One more takes the place
	// of the oldest.
	maxStrangers = 64
	// strangerRate is how many checks of usualCheck bytes a second all strangers
	// together get, strangerBurst how many at once: a full room finds its paths
	// within it.
	strangerRate  = 256
	strangerBurst = 1024
	usualCheck    = 160
	// maxEstimate is the longest round trip that an offer is believed: checks of
	// a peer that gives no sign go on for 48 of them.
	maxEstimate = 2 * time.Second
	// maxPermitted is how many addresses of one offer the relay is asked to
	// let through: an allocation has a limited number of permissions.
	maxPermitted = 16
)

// ErrTooMany is returned, and given in Failed, where one more session would be
// one too many.
var ErrTooMany = errors.New("too many sessions at once")

// stranger reports whether nobody here asked for the session and its peer has
// given no sign of life.
func (s *session) stranger() bool {
	if s.dialed || s.established {
		return false
	}
	c := s.agent.Stats()
	return c.ChecksReceived+c.AnswersReceived == 0
}

// welcome makes room for a session that a peer begins.
func (m *Machine) welcome(now time.Time) {
	var oldest *session
	strangers := 0
	for _, s := range m.sessions {
		if !s.uninvited || !s.stranger() {
			continue
		}
		if oldest == nil {
			oldest = s
		}
		strangers++
	}
	if strangers >= maxStrangers {
		m.end(now, oldest, ErrGivenUp)
	}
}

// allowance is what may be sent to strangers: a token bucket. The zero value is
// full.
type allowance struct {
	spent float64
	at    time.Time
}

func (a *allowance) take(now time.Time, size int) bool {
	if passed := now.Sub(a.at); passed > 0 {
		a.spent = max(0, a.spent-passed.Seconds()*strangerRate)
		a.at = now
	}
	cost := max(1, float64(size)/usualCheck)
	if a.spent+cost > strangerBurst {
		return false
	}
	a.spent += cost
	return true
}
