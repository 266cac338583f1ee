// Package runner runs scenarios: it builds the lab, certifies every NAT, lets
// the system's servers and peers run on it, does what the scenario says, and
// judges by what the witness saw and the oracle expects. Each control of a
// scenario is a run of its own, in a lab of its own.
package runner

import (
	"context"
	"sync"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// Runner runs scenarios. Its fields must not change once it runs; Run may be
// called concurrently.
type Runner struct {
	Fabric sim.Fabric
	// P2PModel is the program that scenarios with a system run as servers; it may be
	// empty where there are none.
	P2PModel string
	// Path are folders in which programs of scenarios are looked for, before the
	// PATH.
	Path []string
	// Seed seeds keys, payload, ports and losses.
	Seed uint64
	// Slots bounds how many labs stand at once over all calls of Run; see
	// NewSlots. Nil: no bound.
	Slots *Slots
	// RealTime runs with the timeouts as the files have them, unscaled.
	RealTime bool
	// SkipControls runs the scenario alone. What is expected then is not proved.
	SkipControls bool
	// Progress is told what happens, if it is not nil. It must be safe for
	// concurrent use.
	Progress func(Progress)
	// Keep, if it is not nil, is called with the lab of a scenario's own run that
	// did not come out as expected, before it is taken down. Meanwhile the lab does
	// not count among those that stand at once.
	Keep func(sc *scenarios.Scenario, lab sim.Network, verdict scenarios.Verdict)
	// Wrap, if it is not nil, stands between the lab and each machine that a run
	// starts: "rendezvous", "relay", or the name of a peer. It may look, and must not
	// change what the machine does. What it returns may be a Caller, too.
	Wrap func(name string, m sansio.Machine) sansio.Machine
	// Unproved lets faults be that met no packet, which otherwise break a run: for
	// schedules that nobody thought out.
	Unproved bool
	// Rest is how long peers of ours have to register and to allocate before they
	// are told to connect, at most 2 s; 0: they are told at once, and an offer may
	// still be on its way while they are introduced.
	Rest time.Duration
	// Sabotage does damage to scenarios' own runs on purpose, to show that it is
	// caught.
	Sabotage Sabotage
}

// Sabotage are ways to cheat that a laboratory must not fall for. Each is for
// tests of the runner itself.
type Sabotage struct {
	// SwapNAT changes the NAT of a router behind the runner's back, before it is
	// certified.
	SwapNAT map[string]scenarios.NATChoice
	// NoPunching keeps the peers from sending checks.
	NoPunching bool
	// DeadRelay stops the relay once the peers have registered.
	DeadRelay bool
	// BlindWitness withholds all packets from the witness.
	BlindWitness bool
}

// Progress is something that happened in a run.
type Progress struct {
	At       time.Time
	Scenario string
	Control  string            // "" for the scenario's own run
	Stage    string            // "build", "certify", "run", "phase NAME", "judge", "done"
	Verdict  scenarios.Verdict // with "done"
}

// Run runs a scenario with its controls and gives the verdict. The error is
// ctx's: whatever else goes wrong is a verdict.
func (r *Runner) Run(ctx context.Context, sc *scenarios.Scenario) (*scenarios.Result, error) {
	all := variants(sc, r.RealTime)
	if r.SkipControls {
		all = all[:1]
	}
	outcomes := make([]*outcome, len(all))
	var wg sync.WaitGroup
	for i, v := range all {
		wg.Go(func() {
			places := r.Slots.of(v)
			if r.Slots.take(ctx, places) != nil {
				return
			}
			defer r.Slots.free(places)
			outcomes[i] = r.execute(ctx, v)
			r.progress(v, "done", outcomes[i].verdict)
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	res := conclude(sc, all, outcomes)
	res.Seed = r.Seed
	res.DurationMS = milliseconds(took(outcomes))
	return res, nil
}

func (r *Runner) progress(v *variant, stage string, verdict scenarios.Verdict) {
	if r.Progress != nil {
		r.Progress(Progress{
			At: time.Now(), Scenario: v.scenario.ID, Control: v.name, Stage: stage, Verdict: verdict,
		})
	}
}

// sabotage is what is done to this run. Controls are left alone.
func (r *Runner) sabotage(v *variant) Sabotage {
	if v.control() {
		return Sabotage{}
	}
	return r.Sabotage
}

// packets gives what the witness may see.
func (r *Runner) packets(v *variant, net sim.Network) []witness.Packet {
	if r.sabotage(v).BlindWitness {
		return nil
	}
	return net.Packets()
}

// took is the fabric's time from when the first lab began to when the last one
// ended: waiting for a slot says nothing of a scenario.
func took(outcomes []*outcome) time.Duration {
	began, ended := outcomes[0].began, outcomes[0].ended
	for _, o := range outcomes {
		if o.began.Before(began) {
			began = o.began
		}
		if o.ended.After(ended) {
			ended = o.ended
		}
	}
	return ended.Sub(began)
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
