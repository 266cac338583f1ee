package matchmaking

import (
	"math"
	"time"
)

// A group accepts others within windows that grow by steps of a second of its
// waiting, up to anything after a minute.
const (
	ratingAtOnce    = 50
	ratingPerSecond = 25
	latencyAtOnce   = 60
	latencyPerStep  = 8
	latencyMost     = 300 // reached after 30 s
	// anything is when windows are open, in seconds.
	anything = 60

	open = math.MaxInt32
)

// RatingWindow is by how much the ratings of others may differ from a group's
// that has waited so long: 50 at once, 25 more each second, any from 60 s on.
func RatingWindow(waited time.Duration) int {
	s := steps(waited)
	if s >= anything {
		return open
	}
	return ratingAtOnce + ratingPerSecond*s
}

// LatencyWindow is the longest round trip, in milliseconds, that a group which
// has waited so long accepts for anybody of its match to their best common
// region: 60 at once, 8 more each second up to 300 after half a minute, any from
// 60 s on.
func LatencyWindow(waited time.Duration) int {
	s := steps(waited)
	if s >= anything {
		return open
	}
	return min(latencyAtOnce+latencyPerStep*s, latencyMost)
}

// steps are the whole seconds of waiting that count.
func steps(waited time.Duration) int {
	return int(min(max(waited, 0)/time.Second, anything))
}

// window is what a group accepts at present.
type window struct{ rating, latency int }

func (e *entry) window(now time.Time) window {
	waited := now.Sub(e.since)
	return window{RatingWindow(waited), LatencyWindow(waited)}
}

// narrow is what both accept.
func (w window) narrow(o window) window {
	return window{min(w.rating, o.rating), min(w.latency, o.latency)}
}

// nextStep is when a group's windows grow, or when it gives up.
func (e *entry) nextStep() time.Time {
	if e.tried < anything {
		return e.since.Add(time.Duration(e.tried+1) * time.Second)
	}
	return e.since.Add(GiveUpAfter)
}
