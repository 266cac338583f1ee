package campaign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"p2pmodel/scenarios/trial"
)

// Campaign is what is to be run.
type Campaign struct {
	Population *Population
	Trials     uint64
	Seed       uint64
	// Shard has the trials whose number leaves Shard.Index when divided by Shard.Of.
	Shard Shard
	// Workers is how many trials are played at once; 0: as many as processors.
	Workers int
	// Version is that of the program, which results name.
	Version string
	// Played is told how many trials of how many have been played; it is called from
	// several goroutines. Nil: nobody is.
	Played func(trials, of uint64)

	// stage makes a setting ready; nil: trial.New.
	stage func(trial.Setting) (player, error)
}

// player plays a setting.
type player interface {
	Run(seed uint64) (trial.Outcome, error)
}

// Shard is a part of a campaign.
type Shard struct {
	Index uint64 `json:"index"` // from 0
	Of    uint64 `json:"of"`    // 1: the whole
}

// trials is how many of so many trials the shard has.
func (s Shard) trials(of uint64) uint64 {
	if of <= s.Index {
		return 0
	}
	return (of - s.Index + s.Of - 1) / s.Of
}

const (
	// MaxTrials and MaxShards bound a campaign.
	MaxTrials = 1_000_000_000
	MaxShards = 100_000
	// A worker takes trials by blocks. Of a block that is interrupted nothing counts,
	// so that no trial is left out because of how long it takes.
	block = 256
	// kept is how many settings a worker keeps ready.
	kept = 512
)

// Run plays all trials. When the context ends it gives what was played so far, which
// says that it is partial. The error names a trial that could not be played.
func (c *Campaign) Run(ctx context.Context) (*Result, error) {
	if c.Trials < 1 || c.Trials > MaxTrials {
		return nil, fmt.Errorf("a campaign has 1 to %d trials, not %d", MaxTrials, c.Trials)
	}
	shard := c.Shard
	if shard.Of == 0 {
		shard.Of = 1
	}
	if shard.Of > MaxShards || shard.Index >= shard.Of {
		return nil, fmt.Errorf("there is no shard %d of %d: they count from 0, to %d at most", shard.Index, shard.Of, MaxShards)
	}
	workers := c.Workers
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	total := shard.trials(c.Trials)
	dice := newDice(c.Population)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next, played atomic.Uint64
	var mu sync.Mutex
	var all Counts
	var failed error // the first trial that could not be played
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			w := worker{campaign: c, dice: dice, ready: map[string]player{}}
			var mine Counts
			for ctx.Err() == nil {
				from := next.Add(block) - block
				if from >= total {
					break
				}
				to := min(from+block, total)
				counts, err := w.block(ctx, from, to, shard)
				if errors.Is(err, errInterrupted) {
					break
				}
				if err != nil {
					mu.Lock()
					failed = cmp.Or(failed, err)
					mu.Unlock()
					cancel()
					break
				}
				mine.Merge(&counts)
				if now := played.Add(to - from); c.Played != nil {
					c.Played(now, total)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.Merge(&mine)
		})
	}
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	return newResult(c, shard, all), nil
}

// worker plays trials, one after the other.
type worker struct {
	campaign *Campaign
	dice     *dice
	ready    map[string]player
	key      []byte
}

// errInterrupted is met when the context ends: nothing went wrong.
var errInterrupted = errors.New("interrupted")

// block plays some trials of a shard; the error may be errInterrupted.
func (w *worker) block(ctx context.Context, from, to uint64, shard Shard) (Counts, error) {
	var counts Counts
	for n := from; n < to; n++ {
		if ctx.Err() != nil {
			return Counts{}, errInterrupted
		}
		i := n*shard.Of + shard.Index
		t := w.dice.trial(w.campaign.Seed, i)
		p, err := w.player(t)
		if err == nil {
			var o trial.Outcome
			if o, err = p.Run(t.seed); err == nil {
				err = counts.add(w.campaign.Population, t, o)
			}
		}
		if err != nil {
			return Counts{}, fmt.Errorf("trial %d of seed %d: %w", i, w.campaign.Seed, err)
		}
	}
	return counts, nil
}

// player gives the setting of a trial, ready to be played. There are few different
// pairs, and they come again and again; rooms hardly do.
func (w *worker) player(t drawn) (player, error) {
	stage := w.campaign.stage
	if stage == nil {
		stage = func(s trial.Setting) (player, error) { return trial.New(s) }
	}
	if len(t.players) > 2 {
		return stage(w.dice.setting(t))
	}
	w.key = w.key[:0]
	for _, s := range t.players {
		w.key = append(w.key, byte(s.kind), byte(s.link), byte(s.home))
	}
	if t.sampled {
		w.key = append(w.key, 1)
	}
	if p := w.ready[string(w.key)]; p != nil {
		return p, nil
	}
	p, err := stage(w.dice.setting(t))
	if err != nil {
		return nil, err
	}
	if len(w.ready) >= kept {
		clear(w.ready)
	}
	w.ready[string(w.key)] = p
	return p, nil
}
