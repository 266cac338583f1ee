package directory

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/lease"
	"p2pmodel/core/shard/rpc"
)

const (
	// detectInterval is how often silence is looked for; fenceTimeout how long the
	// others have to promise; fencePause how long until the next attempt when that
	// failed.
	detectInterval = 50 * time.Millisecond
	fenceTimeout   = 400 * time.Millisecond
	fencePause     = 300 * time.Millisecond
	// probeInterval is how often members are looked for while a shard is quiet, and
	// probeTimeout how long they have to answer.
	probeInterval = 200 * time.Millisecond
	probeTimeout  = 200 * time.Millisecond
)

// detect takes over from shards that are silent.
func (s *Server) detect(ctx context.Context) {
	ticker := time.NewTicker(detectInterval)
	defer ticker.Stop()
	next, results := map[string]time.Time{}, make(chan string)
	busy := map[string]bool{}
	var c contact
	for {
		select {
		case <-ctx.Done():
			for range busy {
				<-results
			}
			return
		case id := <-results:
			delete(busy, id)
			next[id] = time.Now().Add(fencePause)
		case now := <-ticker.C:
			quiet, silent := s.silent(now)
			if quiet {
				c.probe(now, func() bool { return s.reachable(ctx) })
			}
			if !c.lasts(now, s.cfg.Heartbeat) {
				continue
			}
			for _, id := range silent {
				if !busy[id] && !now.Before(next[id]) {
					busy[id] = true
					go func() {
						s.takeOver(ctx, id)
						results <- id
					}()
				}
			}
		}
	}
}

// contact is since when this member has reached a majority without a gap, as far
// as it looked. Who was cut off himself has heard nothing of anybody and must not
// conclude anything from that before a heartbeat had the time to come.
type contact struct{ since, last time.Time }

func (c *contact) probe(now time.Time, reachable func() bool) {
	if now.Sub(c.last) < probeInterval {
		return
	}
	gap := c.last.IsZero() || now.Sub(c.last) > 4*probeInterval
	switch ok := reachable(); {
	case !ok:
		c.since = time.Time{}
	case gap || c.since.IsZero():
		c.since = time.Now()
	}
	c.last = time.Now()
}

func (c *contact) lasts(now time.Time, heartbeat time.Duration) bool {
	return !c.since.IsZero() && now.Sub(c.since) >= heartbeat+heartbeat/4 && now.Sub(c.last) <= 4*probeInterval
}

// reachable asks all members, this one too by way of the engine, for a promise
// about nothing, and reports whether a majority and this one have answered.
func (s *Server) reachable(ctx context.Context) bool {
	var calls sync.WaitGroup
	answered := make([]bool, s.cfg.Members)
	for i := range answered {
		calls.Go(func() {
			_, err := rpc.Call[insidev1.FenceResponse](ctx, s.client, shard.MemberSubject(i, "Fence"), &insidev1.FenceRequest{}, rpc.WithTimeout(probeTimeout))
			answered[i] = err == nil
		})
	}
	calls.Wait()
	n := 0
	for _, ok := range answered {
		if ok {
			n++
		}
	}
	return answered[s.cfg.Index] && n >= s.terms.Majority()
}

// silent lists the shards that count as alive and that this member has heard
// nothing of for as long as a grant lasts; quiet reports whether any has missed two
// heartbeats.
func (s *Server) silent(now time.Time) (quiet bool, ids []string) {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	for id, sh := range s.state.shards.rows {
		_, remaining := s.silence(id, now)
		if !sh.value.Alive || remaining > s.cfg.Grant-2*s.cfg.Heartbeat {
			continue
		}
		quiet = true
		if remaining == 0 {
			ids = append(ids, id)
		}
	}
	return quiet, ids
}

// takeOver declares a shard dead, if a majority promises to grant its epoch no
// more.
func (s *Server) takeOver(ctx context.Context, id string) {
	sh, ok := s.state.shards.find(id)
	if !ok || !sh.value.Alive || !s.fenced(ctx, id, sh.value.Epoch) {
		return
	}
	dead := proto.CloneOf(sh.value)
	dead.Alive, dead.Epoch = false, dead.Epoch+1
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	op := s.history.Intend(history.Operation{Kind: history.Fence, Shard: id, ShardEpoch: sh.value.Epoch})
	if _, err := s.state.shards.update(ctx, id, dead, sh.revision); err != nil {
		// A conflict is another directory that did it, or the shard that
		// registered anew.
		if errors.Is(err, engine.ErrConflict) {
			s.history.Void(op)
			return
		}
		s.log.Warn("a shard is silent, and its entry cannot be written", "shard", id, "error", err)
		s.history.End(op, err)
		return
	}
	after := time.Duration(0)
	if heard, _ := s.silence(id, time.Now()); !heard.IsZero() {
		after = time.Since(heard)
		s.metrics.detection.Observe(after.Seconds())
	}
	s.log.Warn("a shard is dead", "shard", id, "epoch", sh.value.Epoch, "silent_for", after.Round(time.Millisecond))
	s.history.Add(op)
	s.wakeSweep()
}

// fenced collects the promises of a majority about an epoch that the caller has
// read from the register; whoever acts on it writes the register by
// compare-and-set. This member promises last: a promise that is of no use would
// make the shard register anew.
func (s *Server) fenced(ctx context.Context, id string, epoch uint64) bool {
	f := lease.NewFencer(s.terms)
	var calls sync.WaitGroup
	defer calls.Wait()
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	type answer struct {
		member   int
		promised bool
	}
	answers := make(chan answer, s.cfg.Members)
	asked := 0
	if _, remaining := s.silence(id, time.Now()); remaining > 0 {
		f.Answer(s.cfg.Index, false)
	}
	for i := range s.cfg.Members {
		if i == s.cfg.Index || f.Failed() {
			continue
		}
		asked++
		calls.Go(func() {
			resp, err := rpc.Call[insidev1.FenceResponse](ctx, s.client, shard.MemberSubject(i, "Fence"),
				&insidev1.FenceRequest{Shard: id, Epoch: epoch}, rpc.WithTimeout(fenceTimeout))
			answers <- answer{i, err == nil && resp.Fenced}
		})
	}
	own := false
	for got := 0; ; got++ {
		if !own && f.Promises() >= s.terms.Majority()-1 {
			own = true
			promised, _ := s.promise(id, epoch)
			f.Answer(s.cfg.Index, promised)
		}
		if f.Fenced() || f.Failed() || got == asked {
			break
		}
		a := <-answers
		f.Answer(a.member, a.promised)
	}
	return f.Fenced()
}
