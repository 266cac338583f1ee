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
)

// detect takes over from shards that are silent.
func (s *Server) detect(ctx context.Context) {
	ticker := time.NewTicker(detectInterval)
	defer ticker.Stop()
	next, results := map[string]time.Time{}, make(chan string)
	busy := map[string]bool{}
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
			for _, id := range s.silent(now) {
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

// silent lists the shards that count as alive and that this member has heard
// nothing of for as long as a grant lasts.
func (s *Server) silent(now time.Time) []string {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	var ids []string
	for id, sh := range s.state.shards.rows {
		if _, remaining := s.silence(id, now); sh.value.Alive && remaining == 0 {
			ids = append(ids, id)
		}
	}
	return ids
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
	op := s.history.Begin(history.Operation{Kind: history.Fence, Shard: id, ShardEpoch: sh.value.Epoch})
	if _, err := s.state.shards.update(ctx, id, dead, sh.revision); err != nil {
		// A conflict is another directory that did it, or the shard that
		// registered anew.
		if !errors.Is(err, engine.ErrConflict) {
			s.log.Warn("a shard is silent, and its entry cannot be written", "shard", id, "error", err)
			s.history.End(op, err)
		}
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
