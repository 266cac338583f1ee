package runner

import (
	"context"
	"slices"
	"time"

	"p2pmodel/core/peer"
	"p2pmodel/core/punch"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

const (
	// settleFloor and settleRTTs bound the time that checks may take to settle: a
	// floor for machines that are busy, and a number of round trips between the
	// peers. The core promises less (see punch.SettleAfter).
	settleFloor = 4 * time.Second
	settleRTTs  = 20
	// graceFloor is how long payload under way is waited for, besides a round
	// trip.
	graceFloor = 100 * time.Millisecond
	// promptFloor and promptRTTs bound the time from the start of the peers to
	// their introduction where no relay answers, in virtual time: it takes some four
	// round trips, and who waits for an answer some seconds.
	promptFloor = 2 * time.Second
	promptRTTs  = 10
)

// rtt is the longest round trip between two peers by the links' delays.
func (s *stage) rtt() time.Duration {
	var longest time.Duration
	for _, pair := range s.pairs() {
		a, b := s.actors[pair[0]].host, s.actors[pair[1]].host
		longest = max(longest, 2*(s.oneWay(a)+s.oneWay(b)))
	}
	return longest
}

// oneWay is the longest delay of the links between a host and the Internet,
// over all of its uplinks and both directions.
func (s *stage) oneWay(host string) time.Duration {
	var longest time.Duration
	for _, h := range s.v.lab.Hosts {
		if h.Name != host {
			continue
		}
		for _, u := range h.Uplinks {
			nodes := map[string]string{host: u.Name}
			chain, err := s.v.lab.Chain(host, u.Name)
			if err != nil {
				continue
			}
			for _, r := range chain {
				nodes[r.Name] = ""
			}
			var sum time.Duration
			for _, l := range s.v.lab.Links {
				if uplink, on := nodes[l.Node]; on && (l.Uplink == "" || uplink == "" || l.Uplink == uplink) {
					sum += max(l.Up.Delay+l.Up.Jitter, l.Down.Delay+l.Down.Jitter)
				}
			}
			longest = max(longest, sum)
		}
	}
	return longest
}

// grace is how long payload may be on its way.
func (s *stage) grace() time.Duration { return graceFloor + s.rtt() }

// patience is how long registration, introduction and checks may take in all.
func (s *stage) patience() time.Duration {
	return settleFloor + settleRTTs*s.rtt() + s.detection() + s.guessing()
}

// guessing is how long techniques beyond plain punching may take after it.
func (s *stage) guessing() (d time.Duration) {
	if slices.Contains(s.v.techniques, scenarios.Prediction) {
		d += peer.LongestPrediction
	}
	if slices.Contains(s.v.techniques, scenarios.Birthday) {
		d += peer.LongestBirthday
	}
	return d
}

// prompt is how long the introduction may take where no relay answers, and nothing
// but the network takes time.
func (s *stage) prompt() time.Duration { return promptFloor + promptRTTs*s.rtt() }

// detection is how long a peer may take to notice that its path died: a second
// of silence until it asks, and then what the core allows for the answer; as
// much again for a machine that is busy. Where keepalives are rare it does take
// the first half: 3.1 s were measured in TC-05 in real time.
func (s *stage) detection() time.Duration {
	if s.v.settings.Keepalive == scenarios.Off {
		return 0
	}
	return 2 * (time.Second + punch.DefaultDeadAfter)
}

func until(now, then time.Time) time.Duration { return max(then.Sub(now), time.Microsecond) }

// sleep waits for a duration of the lab's time.
func (s *stage) sleep(ctx context.Context, d time.Duration) error { return sim.Sleep(ctx, s.net, d) }
