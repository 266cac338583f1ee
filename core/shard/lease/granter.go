package lease

import "time"

// Granter is the side of one member of the directory. It is not safe for use by
// several goroutines.
type Granter struct {
	grant  time.Duration
	start  time.Time
	shards map[string]*granted
}

// granted is what a member has granted and promised for one shard.
type granted struct {
	// floor: this epoch and lower ones are granted no more, by a promise, because
	// of a restart, or because a higher one was granted.
	floor uint64
	until time.Time
	heard time.Time
}

// NewGranter makes a member that starts now. Before it grants, it has to Recall
// all that the register has; see the package's comment.
func NewGranter(grant time.Duration, now time.Time) *Granter {
	return &Granter{grant: grant, start: now, shards: map[string]*granted{}}
}

// Recall: this epoch of a shard was in the register when the member started.
func (g *Granter) Recall(shard string, epoch uint64) {
	s := g.of(shard)
	s.floor = max(s.floor, epoch)
}

// Grant answers a heartbeat that came now: whether the epoch is granted, from now
// for the length of a grant.
func (g *Granter) Grant(shard string, epoch uint64, now time.Time) bool {
	s := g.of(shard)
	if epoch <= s.floor {
		return false
	}
	s.floor = epoch - 1
	s.until, s.heard = now.Add(g.grant), now
	return true
}

// Fence promises never to grant this epoch of the shard or a lower one. While a
// grant of any of its epochs runs, or may run from before the member's start, it
// makes no promise and says how much longer.
func (g *Granter) Fence(shard string, epoch uint64, now time.Time) (promised bool, remaining time.Duration) {
	if remaining = g.Remaining(shard, now); remaining > 0 {
		return false, remaining
	}
	s := g.of(shard)
	s.floor = max(s.floor, epoch)
	return true, 0
}

// Remaining is for how long the member makes no promise about a shard; 0: it does.
func (g *Granter) Remaining(shard string, now time.Time) time.Duration {
	until := g.start.Add(g.grant)
	if s := g.shards[shard]; s != nil && s.until.After(until) {
		until = s.until
	}
	return max(0, until.Sub(now))
}

// Heard is when the shard's last heartbeat was granted, zero: never.
func (g *Granter) Heard(shard string) time.Time {
	if s := g.shards[shard]; s != nil {
		return s.heard
	}
	return time.Time{}
}

func (g *Granter) of(shard string) *granted {
	s := g.shards[shard]
	if s == nil {
		s = &granted{}
		g.shards[shard] = s
	}
	return s
}
