package runner

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

const (
	// window is how many payload datagrams the observed path is read from.
	window = 20
	// settleFloor and settleRTTs bound the time that checks may take to settle: a
	// floor for machines that are busy, and a number of round trips between the
	// peers. The core promises less (see punch.SettleAfter).
	settleFloor = 4 * time.Second
	settleRTTs  = 20
	// graceFloor is how long payload under way is waited for, besides a round
	// trip.
	graceFloor = 100 * time.Millisecond
)

// phase is what happened in one phase.
type phase struct {
	spec scenarios.Phase
	// begin, changed, since, end: the phase began; the last action that changes
	// the network was done; from here on payload counts for the observed path;
	// the phase ended.
	begin, changed, since, end time.Time
	// tried is when the network last changed, be it in an earlier phase: peers
	// look for a direct path then, and need not later.
	tried      time.Time
	disrupted  bool // some action changed the network
	quieted    bool
	sender     string // the only peer that spoke; "" when all did
	settled    bool   // all peers said so before the deadline
	facts      []string
	duplicates int
	cuts       []sim.LinkID
}

// perform runs one phase to its end. An error means that the laboratory failed.
func (s *stage) perform(ctx context.Context, spec scenarios.Phase) (*phase, error) {
	p := &phase{spec: spec, begin: s.net.Now()}
	p.changed = p.begin
	before := s.duplicates()
	for _, action := range spec.Actions {
		if err := s.act(ctx, p, action); err != nil {
			return nil, fmt.Errorf("phase %q: %s: %w", spec.Name, action.Kind, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if p.sender != "" {
		// What was sent may take a while on the way; nothing else is to be seen.
		p.since = p.changed
		if err := sleep(ctx, s.grace()+s.rtt()); err != nil {
			return nil, err
		}
	} else {
		s.quiet(false)
		p.settled = s.settle(ctx, p)
		p.since = s.net.Now()
		// Every peer sends one datagram an interval, so this is the window twice:
		// enough for losses.
		if err := sleep(ctx, window*s.v.settings.Interval+s.grace()+s.rtt()); err != nil {
			return nil, err
		}
	}
	p.end = s.net.Now()
	p.duplicates = s.duplicates() - before
	return p, ctx.Err()
}

// settle waits until every pair's checks have settled after the phase's last
// change, or until the deadline.
func (s *stage) settle(ctx context.Context, p *phase) bool {
	limit := p.changed.Add(s.patience())
	// A change that no peer notices needs no checks; but a peer has to be given
	// the time in which it would notice.
	noticed := p.changed
	if p.disrupted {
		noticed = p.changed.Add(s.detection())
	}
	for _, pair := range s.pairs() {
		for _, end := range [][2]string{pair, {pair[1], pair[0]}} {
			a, other := s.actors[end[0]], end[1]
			fresh := func() bool { return a.settled[other].After(p.changed) }
			standing := func() bool { return !a.settled[other].IsZero() }
			if !p.disrupted && a.wait(ctx, until(s.net.Now(), limit), standing) {
				continue
			}
			if p.disrupted {
				if a.wait(ctx, until(s.net.Now(), noticed), fresh) ||
					a.wait(ctx, until(s.net.Now(), limit), standing) {
					continue
				}
			}
			return false
		}
	}
	return true
}

func until(now, then time.Time) time.Duration { return max(then.Sub(now), time.Microsecond) }

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

func (s *stage) grace() time.Duration { return graceFloor + s.rtt() }

// patience is how long registration, introduction and checks may take in all.
func (s *stage) patience() time.Duration {
	return settleFloor + settleRTTs*s.rtt() + s.detection()
}

// quiet stops or starts all payload.
func (s *stage) quiet(quiet bool) {
	for _, a := range s.actors {
		a.machine.Do(func(now time.Time) { a.agent.setQuiet(now, quiet) })
	}
}

func (s *stage) duplicates() (n int) {
	for _, a := range s.actors {
		a.mu.Lock()
		n += a.duplicates
		a.mu.Unlock()
	}
	return n
}

// addresses gives all addresses of hosts, for rules.
func (s *stage) addresses(hosts []string) ([]netip.Addr, error) {
	out := []netip.Addr{}
	for _, name := range hosts {
		h, err := s.net.Host(name)
		if err != nil {
			return nil, err
		}
		addrs, err := h.Addresses()
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", name, err)
		}
		out = append(out, addrs...)
	}
	return out, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
