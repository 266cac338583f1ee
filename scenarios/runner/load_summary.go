package runner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// request is one request of the load that has ended.
type request struct {
	at    time.Time // it was sent
	took  time.Duration
	what  string
	shard string // whose room it was about, as far as known; "" for a new room that was not made
	fresh bool   // it made a room
	err   error
}

// summary is what came of the load's requests in some time.
type summary struct {
	answered, failed  int
	excused           int // failed, of rooms whose shard was killed
	p50, p99, slowest time.Duration
	firstFailure      string
	placed            map[string]int // new rooms, by shard
}

// summarize sums up the requests that were sent from begin to end. Those about
// rooms of excused shards may fail or take long.
func summarize(all []request, begin, end time.Time, excused []string) summary {
	sum := summary{placed: map[string]int{}}
	var times []time.Duration
	for _, r := range all {
		if r.at.Before(begin) || !r.at.Before(end) {
			continue
		}
		dead := slices.Contains(excused, r.shard)
		switch {
		case r.err != nil && dead:
			sum.excused++
			continue
		case r.err != nil:
			sum.failed++
			if sum.firstFailure == "" {
				sum.firstFailure = fmt.Sprintf("%s of a room of shard %q: %v", r.what, r.shard, r.err)
			}
		default:
			sum.answered++
			if r.fresh {
				sum.placed[r.shard]++
			}
		}
		if !dead {
			times = append(times, r.took)
		}
	}
	if len(times) > 0 {
		slices.Sort(times)
		sum.p50, sum.p99, sum.slowest = times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	}
	return sum
}

// rooms counts the new rooms.
func (s summary) rooms() (n int) {
	for _, k := range s.placed {
		n += k
	}
	return n
}

func (s summary) String() string {
	text := fmt.Sprintf("%d requests answered, %d failed, median %v, p99 %v, slowest %v",
		s.answered, s.failed, short(s.p50), short(s.p99), short(s.slowest))
	if s.excused > 0 {
		text += fmt.Sprintf("; %d more failed in rooms of the killed shard", s.excused)
	}
	if len(s.placed) > 0 {
		var parts []string
		for _, shard := range slices.Sorted(maps.Keys(s.placed)) {
			parts = append(parts, fmt.Sprintf("%d on %s", s.placed[shard], shard))
		}
		text += "; new rooms: " + strings.Join(parts, ", ")
	}
	return text
}

func short(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
