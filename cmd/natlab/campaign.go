package main

import (
	"context"
	"sync"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
)

const (
	// roundsAhead is how many rounds may be under way at once, so that a long
	// scenario does not keep the next round waiting.
	roundsAhead = 2
	// keptFailures is how many failures of one scenario keep everything that was
	// recorded of them; of further ones the verdict and its reason remain.
	keptFailures = 5
)

// campaign runs scenarios, perhaps many times.
type campaign struct {
	flags  runFlags
	list   []*scenarios.Scenario
	live   *live
	slots  *runner.Slots
	keeper *keeper

	packing sync.Mutex

	mu       sync.Mutex
	under    int            // scenarios under way
	failures map[string]int // by id, those that keep their records
}

func newCampaign(f runFlags, list []*scenarios.Scenario, live *live) *campaign {
	slots := runner.NewSlots(f.parallel)
	return &campaign{
		flags: f, list: list, live: live, slots: slots, keeper: newKeeper(live.say), failures: map[string]int{},
	}
}

// run gives the results, round by round in the order of the list. The error is
// the context's.
func (c *campaign) run(ctx context.Context) ([]*scenarios.Result, error) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.interrupt(cancel) })
	defer stop()

	results := make([]*scenarios.Result, len(c.list)*c.flags.repeat)
	flight := make(chan struct{}, roundsAhead*len(c.list))
	var wg sync.WaitGroup
	for i := range results {
		flight <- struct{}{}
		if work.Err() != nil {
			break
		}
		c.count(1)
		wg.Go(func() {
			defer func() { <-flight }()
			defer c.count(-1)
			results[i] = c.one(work, i/len(c.list), c.list[i%len(c.list)])
		})
	}
	wg.Wait()
	if err := work.Err(); err != nil {
		return nil, err
	}
	return results, nil
}

// one runs one scenario of a round; nil if that was interrupted.
func (c *campaign) one(ctx context.Context, round int, sc *scenarios.Scenario) *scenarios.Result {
	r := &runner.Runner{
		P2PModel: c.flags.p2pmodel, Path: programPath(),
		Fabric: c.flags.fabric.on(c.flags.links), Seed: c.flags.seedOf(sc) + uint64(round), Slots: c.slots,
		RealTime: c.flags.realTime, SkipControls: c.flags.skipControls,
		Progress: func(p runner.Progress) { c.live.progress(round, p) },
	}
	if c.flags.keep {
		r.Keep = func(sc *scenarios.Scenario, lab sim.Network, v scenarios.Verdict) {
			c.live.progress(round, runner.Progress{Scenario: sc.ID, Stage: "stands until Ctrl-C"})
			c.keeper.keep(sc, lab, v)
		}
	}
	res, err := r.Run(ctx, sc)
	if err != nil {
		return nil
	}
	c.live.done(res)
	if c.forget(round, res) {
		c.pack(res)
	}
	return res
}

// forget drops what was recorded of a run that nobody will look at: a campaign
// of many rounds would not fit in memory. The first round keeps everything, and
// so do the first failures of each scenario, with the controls that failed. It
// reports whether the run is still known.
func (c *campaign) forget(round int, res *scenarios.Result) bool {
	if round == 0 {
		return true
	}
	if res.Verdict != scenarios.Expected {
		c.mu.Lock()
		c.failures[res.ID]++
		keep := c.failures[res.ID] <= keptFailures
		c.mu.Unlock()
		if keep {
			for i := range res.Controls {
				if res.Controls[i].Verdict == scenarios.Expected {
					res.Controls[i].Run = nil
				}
			}
			return true
		}
	}
	res.Run = nil
	for i := range res.Controls {
		res.Controls[i].Run = nil
	}
	for i := range res.NATs {
		res.NATs[i].Findings = nil
	}
	return false
}

func (c *campaign) count(by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under += by
}

// interrupt is met when the user has had enough. Where nothing is left but labs
// that are kept for him, he has seen them, and the outcome is written as usual.
func (c *campaign) interrupt(cancel context.CancelFunc) {
	c.mu.Lock()
	under := c.under
	c.mu.Unlock()
	if held := c.keeper.holding(); held == 0 || held < under {
		cancel()
		c.live.say("interrupted: taking everything down; once more ends natlab at once\n")
	}
	c.keeper.release()
}
