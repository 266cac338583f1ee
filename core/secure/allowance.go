package secure

import "time"

const (
	// handshakesAtOnce is how many handshakes a channel takes part in without a pause: a
	// peer that has forgotten the channel needs two. handshakeEvery is how soon one more
	// is. A peer that knows the session's keys could have us compute one with each of
	// its checks else: three or four times X25519, thousands of times a second.
	handshakesAtOnce = 4
	handshakeEvery   = time.Second
)

// allowance is a token bucket of handshakes. The zero value is full.
type allowance struct {
	spent float64
	at    time.Time
}

// take reports whether there may be one more handshake now, and counts it.
func (a *allowance) take(now time.Time) bool {
	if passed := now.Sub(a.at); passed > 0 {
		a.spent = max(0, a.spent-passed.Seconds()/handshakeEvery.Seconds())
		a.at = now
	}
	if a.spent+1 > handshakesAtOnce {
		return false
	}
	a.spent++
	return true
}
