// Package matchmaking puts players together who wait for a match: of about the
// same rating, and near each other. It decides and does nothing else: the time
// is a parameter, and equal calls give equal matches.
//
// A match has exactly the number of players that all of its groups asked for,
// groups stay together, and any two groups of a match accept each other: their
// ratings differ by no more than either one's window, and some region is within
// either one's latency window for all of the match. Windows grow while a group
// waits, see RatingWindow and LatencyWindow. Whoever has waited longest comes first,
// as the one who is looked for and as the one who is found.
package matchmaking

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Limits of a group, and of a queue.
const (
	MinPlayers = 2
	MaxPlayers = 64
	// MaxRegions is how many regions a group may have measured.
	MaxRegions = 16
	// DefaultCapacity is how many players may wait in a queue.
	DefaultCapacity = 10000
	// GiveUpAfter is how long a group waits at most.
	GiveUpAfter = 5 * time.Minute
	// Pace is the least time between two Advances that Next asks for.
	Pace = 250 * time.Millisecond

	maxName = 64
)

// Errors of Add; test with errors.Is.
var (
	// ErrGroup: the group makes no sense, and the error says why.
	ErrGroup = errors.New("not a group that can be matched")
	// ErrWaiting: a player of the group waits already.
	ErrWaiting = errors.New("waits for a match already")
	// ErrFull: too many wait.
	ErrFull = errors.New("the match queue is full")
)

// Player is one who wants to play.
type Player struct {
	// Session is what a player is known by here: in the queue once at most.
	Session, Player string
	Rating          int
}

// Group is who wants to play together: a party, or one player.
type Group struct {
	// ID is for the caller; the queue does not look at it.
	ID      string
	Members []Player
	// Latency is the group's round-trip time to regions, in milliseconds. A
	// group that has measured none fits everywhere.
	Latency map[string]uint32
	// Players is how many the match shall have, MinPlayers to MaxPlayers.
	Players int
}

// Rating is what a group is matched by: the mean of its members' ratings.
func (g Group) Rating() int {
	sum := 0
	for _, m := range g.Members {
		sum += m.Rating
	}
	return sum / len(g.Members)
}

// check says what is wrong with a group.
func (g Group) check() error {
	switch {
	case g.Players < MinPlayers || g.Players > MaxPlayers:
		return fmt.Errorf("%w: a match of %d players, want %d to %d", ErrGroup, g.Players, MinPlayers, MaxPlayers)
	case len(g.Members) == 0:
		return fmt.Errorf("%w: it has no members", ErrGroup)
	case len(g.Members) > g.Players:
		return fmt.Errorf("%w: %d members for a match of %d players", ErrGroup, len(g.Members), g.Players)
	case len(g.Latency) > MaxRegions:
		return fmt.Errorf("%w: latencies to %d regions, at most %d", ErrGroup, len(g.Latency), MaxRegions)
	}
	for i, m := range g.Members {
		if m.Session == "" {
			return fmt.Errorf("%w: member %d has no session", ErrGroup, i+1)
		}
		if slices.ContainsFunc(g.Members[:i], func(o Player) bool { return o.Session == m.Session }) {
			return fmt.Errorf("%w: session %s is in it twice", ErrGroup, m.Session)
		}
	}
	for name := range g.Latency {
		if name == "" || len(name) > maxName {
			return fmt.Errorf("%w: a region's name of %d bytes, want 1 to %d", ErrGroup, len(name), maxName)
		}
	}
	return nil
}

// Match is who plays together.
type Match struct {
	// Groups, who has waited longest first; their members are Group.Players in
	// all.
	Groups []Group
	// Region is where the longest round trip of all groups is shortest, and
	// Latency that round trip in milliseconds; empty if no region is known to all
	// who have measured any.
	Region  string
	Latency uint32
	// Waited is how long the first group has waited.
	Waited time.Duration
}

// Queue is who waits for a match of one mode. Make it with New. It is not safe
// for concurrent use.
type Queue struct {
	capacity int
	players  int
	added    uint64 // groups ever added

	pools     [MaxPlayers + 1]pool // by the size of matches
	bySession map[string]*entry
	regions   regions

	advanced time.Time // last Advance
	next     time.Time // when something is to be done; zero: never
}

// pool is who waits for matches of one size.
type pool struct {
	waiting []*entry // in the order of Add; those that have gone are swept out
	gone    int
	waits   waits
}

// entry is a group that waits.
type entry struct {
	Group
	number uint64 // in the order of Add
	rating int
	// latency is by region, in order.
	latency []latency
	since   time.Time
	// tried is with which windows (in seconds of waiting) a match was looked for
	// last, -1 at first; late: it was not its turn when it should have been.
	tried int
	late  bool
	gone  bool
}

// New makes a queue for so many players; 0: DefaultCapacity.
func New(capacity int) *Queue {
	if capacity <= 0 {
		capacity = DefaultCapacity
	}
	return &Queue{capacity: capacity, bySession: make(map[string]*entry), regions: newRegions()}
}

// Len is how many players wait.
func (q *Queue) Len() int { return q.players }

// Waits reports whether a session waits.
func (q *Queue) Waits(session string) bool { return q.bySession[session] != nil }

// Add puts a group into the queue; Advance finds its match. The error is
// ErrGroup, ErrWaiting or ErrFull. The queue keeps the group: the caller does not
// change it any more.
func (q *Queue) Add(now time.Time, g Group) error {
	if err := g.check(); err != nil {
		return err
	}
	for _, m := range g.Members {
		if q.Waits(m.Session) {
			return fmt.Errorf("session %s %w", m.Session, ErrWaiting)
		}
	}
	if q.players+len(g.Members) > q.capacity {
		return fmt.Errorf("%w: %d players wait, at most %d can", ErrFull, q.players, q.capacity)
	}
	q.added++
	e := &entry{Group: g, number: q.added, rating: g.Rating(), latency: q.regions.take(g.Latency), since: now, tried: -1}
	p := &q.pools[g.Players]
	p.waiting = append(p.waiting, e)
	q.players += len(g.Members)
	for _, m := range g.Members {
		q.bySession[m.Session] = e
	}
	q.wake(now)
	return nil
}

// Remove takes the group of a session out of the queue and gives it; false: the
// session does not wait.
func (q *Queue) Remove(session string) (Group, bool) {
	e := q.bySession[session]
	if e == nil {
		return Group{}, false
	}
	q.drop(e)
	return e.Group, true
}

// drop takes a group out.
func (q *Queue) drop(e *entry) {
	e.gone = true
	q.players -= len(e.Members)
	for _, m := range e.Members {
		delete(q.bySession, m.Session)
	}
	q.regions.give(e.latency)
	// Places are given back by halves, so that a removal costs the same in any
	// crowd.
	p := &q.pools[e.Players]
	if p.gone++; p.gone > len(p.waiting)/2 {
		p.waiting = slices.DeleteFunc(p.waiting, func(e *entry) bool { return e.gone })
		p.gone = 0
	}
}

// all gives the groups that wait, by the size of their matches.
func (q *Queue) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for i := range q.pools {
			for _, e := range slices.Clone(q.pools[i].waiting) {
				if !e.gone && !yield(e) {
					return
				}
			}
		}
	}
}

// wake has Next say a time, unless it says an earlier one; not before the pace.
func (q *Queue) wake(at time.Time) {
	if floor := q.advanced.Add(Pace); !q.advanced.IsZero() && at.Before(floor) {
		at = floor
	}
	if q.next.IsZero() || at.Before(q.next) {
		q.next = at
	}
}

// Next is when Advance wants to be called; the zero time: not before another
// Add. A time that has passed means at once. It asks four times a second at most.
func (q *Queue) Next() time.Time { return q.next }

// regions gives numbers to the names of regions that are in use.
type regions struct {
	byName map[string]uint32
	names  []string
	users  []int
	free   []uint32
}

// latency is a round-trip time to a region.
type latency struct {
	region uint32
	ms     uint32
}

func newRegions() regions { return regions{byName: make(map[string]uint32)} }

// take gives a group's latencies in the order of their regions' numbers.
func (r *regions) take(byName map[string]uint32) []latency {
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare) // equal calls, equal numbers
	list := make([]latency, 0, len(names))
	for _, name := range names {
		n, known := r.byName[name]
		if !known {
			n = r.number(name)
		}
		r.users[n]++
		list = append(list, latency{n, byName[name]})
	}
	slices.SortFunc(list, func(a, b latency) int { return cmp.Compare(a.region, b.region) })
	return list
}

func (r *regions) number(name string) uint32 {
	var n uint32
	if last := len(r.free) - 1; last >= 0 {
		n, r.free = r.free[last], r.free[:last]
		r.names[n] = name
	} else {
		n = uint32(len(r.names))
		r.names, r.users = append(r.names, name), append(r.users, 0)
	}
	r.byName[name] = n
	return n
}

// give takes back what take gave.
func (r *regions) give(list []latency) {
	for _, l := range list {
		if r.users[l.region]--; r.users[l.region] == 0 {
			delete(r.byName, r.names[l.region])
			r.free = append(r.free, l.region)
		}
	}
}
