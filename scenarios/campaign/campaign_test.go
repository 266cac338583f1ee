package campaign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios/trial"
)

// small is a population whose pairs are all of some weight.
const small = `id: small
title: Homes and phones
networks:
  home:
    title: a home
    weight: 60
    evidence: A
    source: a test
    nats:
      linux: {weight: 90, evidence: A, source: a test}
      symmetric: {weight: 10, evidence: A, source: a test}
    links:
      wifi: {weight: 50, evidence: A, source: a test}
      cable: {weight: 50, evidence: A, source: a test}
    udp-blocked: {share: 10%, evidence: A, source: a test}
    same-home: {share: 20%, evidence: A, source: a test}
  phone:
    title: a phone
    weight: 40
    evidence: A
    source: a test
    nats:
      hard: {weight: 100, chain: [{nat: "symmetric,ports=random"}], evidence: A, source: a test}
    links:
      4g: {weight: 100, evidence: A, source: a test}
rooms:
  sizes: {2: 90, 3: 10}
  evidence: A
  source: a test
traffic: {rate: 50, size: 100, evidence: A, source: a test}
play: {session: 10m, hours: 10, online: 500, evidence: A, source: a test}
price: {per-gb: 0.1, currency: EUR, evidence: A, source: a test}
sensitivity:
  home: {low: 30, high: 90, evidence: A, source: a test}
  home/symmetric: {low: 0, high: 50, evidence: A, source: a test}
  home/udp-blocked: {low: 0, high: 20, evidence: A, source: a test}
  home/same-home: {low: 5, high: 40, evidence: A, source: a test}
compare:
  - {figure: dcutr-2025, why: a test}
  - {figure: relay-cellular-home, of: [phone, home], derived: true, why: a test}
`

func smallPopulation(t testing.TB) *Population {
	t.Helper()
	p, err := Parse("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// foretold plays nothing: each pair takes the path that the oracle gives, and times
// are drawn from the seed.
type foretold struct {
	setting trial.Setting
	paths   []oracle.Path
}

// known are the oracle's answers, by both chains.
var known sync.Map

func stageForetold(s trial.Setting) (player, error) {
	f := &foretold{setting: s}
	for b := range s.Players {
		for a := range b {
			home := s.Players[a].SameHome != 0 && s.Players[a].SameHome == s.Players[b].SameHome
			left, right := chain(Kind{Chain: s.Players[a].Chain}, home), chain(Kind{Chain: s.Players[b].Chain}, home)
			key := fmt.Sprint(texts(left), texts(right), home)
			path, ok := known.Load(key)
			if !ok {
				e, err := oracle.Expect(left, right, oracle.Options{})
				if err != nil {
					return nil, err
				}
				path = e.Path
				known.Store(key, path)
			}
			f.paths = append(f.paths, path.(oracle.Path))
		}
	}
	return f, nil
}

func texts(c oracle.Chain) (all []string) {
	for _, e := range c {
		if e.NAT != nil {
			all = append(all, e.NAT.String())
		}
		if e.Firewall != nil {
			all = append(all, e.Firewall.String())
		}
	}
	return all
}

func (f *foretold) Run(seed uint64) (trial.Outcome, error) {
	var o trial.Outcome
	for _, path := range f.paths {
		at := time.Duration(seed%100_000) * time.Microsecond
		p := trial.Pair{Path: path, FirstByte: at, Direct: -1}
		switch path {
		case oracle.PathDirect:
			p.Direct = at
		case oracle.PathNone:
			p.FirstByte = -1
		}
		o.Pairs = append(o.Pairs, p)
	}
	seconds := uint64(f.setting.Play / time.Second)
	longer := seconds + uint64(f.setting.Rest/time.Second)
	for range f.setting.Players {
		o.Peers = append(o.Peers, trial.Peer{
			Setup: trial.Traffic{Datagrams: 10, Bytes: 1000}, Upkeep: trial.Traffic{Datagrams: longer, Bytes: 100 * longer},
		})
	}
	o.Played, o.Rested = f.setting.Play, f.setting.Rest
	o.RelayAtDecision.Out.Bytes = 500
	o.RelayAtRest, o.Relay = o.RelayAtDecision, o.RelayAtDecision
	if f.paths[0] == oracle.PathRelay {
		// Some payload is under way before the path is decided, and some while they rest.
		o.RelayAtDecision.Payload.Bytes = 100
		o.RelayAtRest.Payload.Bytes = 100 + 10_000*seconds
		o.Relay.Payload.Bytes = o.RelayAtRest.Payload.Bytes + 7
		o.Relay.Out.Bytes += 10_000*seconds + 7
	}
	o.Relay.Out.Bytes += 20 * longer
	return o, nil
}

// files gives what a result writes.
func files(t testing.TB, r *Result) (json, csv, html string) {
	t.Helper()
	var j, c, h bytes.Buffer
	if err := errors.Join(r.WriteJSON(&j), r.WriteCSV(&c), r.HTML(&h)); err != nil {
		t.Fatal(err)
	}
	return j.String(), c.String(), h.String()
}

// run plays a campaign.
func run(t testing.TB, c Campaign) *Result {
	t.Helper()
	r, err := c.Run(context.Background())
	if err == nil {
		err = r.Conclude()
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// However trials are spread, over processors and shards, the outcome is the same.
func TestShardsAndWorkersDoNotMatter(t *testing.T) {
	p := smallPopulation(t)
	whole := run(t, Campaign{Population: p, Trials: 5000, Seed: 3, Workers: 1, stage: stageForetold})
	json, csv, html := files(t, whole)
	other, _, _ := files(t, run(t, Campaign{Population: p, Trials: 5000, Seed: 3, Workers: 5, stage: stageForetold}))
	if other != json {
		t.Error("five workers give another result than one")
	}
	var parts []*Result
	for i := range uint64(3) {
		part := run(t, Campaign{Population: p, Trials: 5000, Seed: 3, Shard: Shard{i, 3}, stage: stageForetold})
		if part.Report != nil {
			t.Error("a part has a report")
		}
		var text bytes.Buffer
		if err := part.WriteJSON(&text); err != nil {
			t.Fatal(err)
		}
		read, err := Read(&text)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, read)
	}
	slices.Reverse(parts)
	merged, err := Merge([]string{"2", "1", "0"}, parts)
	if err != nil {
		t.Fatal(err)
	}
	json2, csv2, html2 := files(t, merged)
	if json2 != json || csv2 != csv || html2 != html {
		t.Error("three shards do not make the whole")
	}
	if other, _, _ := files(t, run(t, Campaign{Population: p, Trials: 5000, Seed: 4, stage: stageForetold})); other == json {
		t.Error("another seed gives the same")
	}
}

func TestPartsThatDoNotFit(t *testing.T) {
	p := smallPopulation(t)
	other, err := Parse("small.yaml", []byte(strings.Replace(small, "rate: 50", "rate: 51", 1)))
	if err != nil {
		t.Fatal(err)
	}
	part := func(c Campaign, index, of uint64) *Result {
		c.Trials, c.Shard, c.stage = max(c.Trials, 300), Shard{index, of}, stageForetold
		if c.Population == nil {
			c.Population = p
		}
		return run(t, c)
	}
	interrupted := *part(Campaign{}, 1, 2)
	interrupted.Partial, interrupted.Counts.Trials = true, 7
	zero := part(Campaign{}, 0, 2)
	for _, c := range []struct {
		name string
		with []*Result
		says string
	}{
		{"another population", []*Result{zero, part(Campaign{Population: other}, 1, 2)}, "b: its population is small"},
		{"another seed", []*Result{zero, part(Campaign{Seed: 9}, 1, 2)}, "b: its seed is 9, that of a is 0"},
		{"other trials", []*Result{zero, part(Campaign{Trials: 301}, 1, 2)}, "b: its number of trials is 301"},
		{"other shards", []*Result{zero, part(Campaign{}, 1, 3)}, "b: its number of shards is 3"},
		{"another version", []*Result{zero, part(Campaign{Version: "new"}, 1, 2)}, "b: its version of natlab is new"},
		{"one twice", []*Result{zero, part(Campaign{}, 0, 2)}, "a and b are both shard 0/2"},
		{"some missing", []*Result{part(Campaign{}, 0, 4), part(Campaign{}, 2, 4)}, "2 parts are missing of 4 shards: 1/4, 3/4"},
		{"one missing", []*Result{zero}, "1 part is missing of 2 shards: 1/2"},
		{"an interrupted one", []*Result{zero, &interrupted}, "b was interrupted after 7 of 150 trials: run shard 1/2 again"},
		{"a whole one", []*Result{part(Campaign{}, 0, 1), part(Campaign{}, 0, 1)}, "a is a whole campaign"},
		{"none", nil, "nothing to merge"},
	} {
		if _, err := Merge([]string{"a", "b"}, c.with); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

// A trial is drawn from the seed and its number, and draws follow the weights.
func TestDrawsFollowTheWeights(t *testing.T) {
	p := smallPopulation(t)
	d := newDice(p)
	if a, b := d.trial(5, 77), newDice(p).trial(5, 77); !reflect.DeepEqual(a, b) {
		t.Errorf("trial 77 is %+v and %+v", a, b)
	}
	if a, b := d.trial(5, 77), d.trial(5, 78); a.seed == b.seed {
		t.Error("two trials have one seed")
	}
	const trials = 40_000
	cells := map[string]int{}
	rooms := 0
	for i := range uint64(trials) {
		tr := d.trial(1, i)
		a, b := tr.players[0], tr.players[1]
		home := a.home != 0 && a.home == b.home
		if home && a != b {
			t.Fatalf("trial %d: two of one home are %+v and %+v", i, a, b)
		}
		cells[fmt.Sprint(min(a.kind, b.kind), max(a.kind, b.kind), home)]++
		if len(tr.players) == 3 {
			rooms++
		}
	}
	near := func(what string, count int, share float64) {
		t.Helper()
		if d := math.Abs(float64(count) - trials*share); d > 5*math.Sqrt(trials*share*(1-share))+1 {
			t.Errorf("%s: %d of %d, want %.4f of them", what, count, trials, share)
		}
	}
	near("rooms of three", rooms, 0.1)
	w, total := p.weights(), 0.0
	for a := range p.kinds {
		for b := a; b < len(p.kinds); b++ {
			for _, home := range []bool{false, true} {
				share := w.cell(p.kinds, a, b, home)
				total += share
				near(fmt.Sprint(p.kinds[a].Name, " and ", p.kinds[b].Name, home), cells[fmt.Sprint(a, b, home)], share)
			}
		}
	}
	if math.Abs(total-1) > 1e-12 {
		t.Errorf("the weights of all pairs sum up to %v", total)
	}
}

// What weights that were never drawn from would give is what they give.
func TestWeighingAnewIsWhatOtherWeightsGive(t *testing.T) {
	p := smallPopulation(t)
	c := run(t, Campaign{Population: p, Trials: 60_000, Seed: 1, stage: stageForetold}).Counts
	for _, b := range p.Sensitivity {
		for _, value := range []float64{b.Low, b.High} {
			got := p.mix(&c, p.weights().with(b, value/100))
			// Paths of the stage are the oracle's, so the model gives the same by weights.
			other := *p
			other.Networks = slices.Clone(p.Networks)
			n := &other.Networks[b.network]
			switch b.what {
			case bandNetwork:
				n.Weight = value
				other.Networks[1-b.network].Weight = 100 - value
			case bandNAT:
				n.NATs = slices.Clone(n.NATs)
				n.NATs[b.nat].Weight, n.NATs[1-b.nat].Weight = value, 100-value
			case bandBlocked:
				n.Blocked.Share = value / 100
			case bandSameHome:
				n.SameHome.Share = value / 100
			}
			want, err := other.theory(verdicts{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Unknown > 0 || math.Abs(got.Direct-want.Direct) > 1e-9 || math.Abs(got.Relayed-want.Relayed) > 1e-9 || math.Abs(got.Failed-want.Failed) > 1e-9 {
				t.Errorf("%s at %v: %+v, want %+v", b.Of, value, got, want)
			}
		}
	}
}

// An interrupted campaign has what was played so far, in whole blocks, and says so.
func TestInterruptedIsPartial(t *testing.T) {
	// A context of signal.NotifyContext ends with a cause of its own.
	ctx, end := context.WithCancelCause(context.Background())
	cancel := func() { end(errors.New("interrupt signal received")) }
	defer cancel()
	c := Campaign{
		Population: smallPopulation(t), Trials: 1_000_000, Workers: 2, stage: stageForetold,
		Played: func(n, of uint64) {
			if n >= 3*block {
				cancel()
			}
		},
	}
	r, err := c.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Conclude(); err != nil {
		t.Fatal(err)
	}
	if n := r.Counts.Trials; !r.Partial || n < 3*block || n > 10*block || n%block != 0 {
		t.Errorf("partial: %v, %d trials", r.Partial, n)
	}
	var text bytes.Buffer
	if err := r.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&text); err != nil {
		t.Error(err)
	}
	if _, _, html := files(t, r); !strings.Contains(html, "interrupted") {
		t.Error("the page does not say that it was interrupted")
	}
}

// Before the first block has ended there is nothing, and that is said, too.
func TestInterruptedAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := Campaign{Population: smallPopulation(t), Trials: 1000, stage: stageForetold}
	r, err := c.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Conclude(); err != nil || !r.Partial || r.Counts.Trials != 0 {
		t.Errorf("%v, partial: %v, %d trials", err, r.Partial, r.Counts.Trials)
	}
	files(t, r)
}

func TestATrialThatCannotBePlayedIsNamed(t *testing.T) {
	c := Campaign{Population: smallPopulation(t), Trials: 1000, Seed: 8, Workers: 1, stage: func(trial.Setting) (player, error) {
		return nil, errors.New("no stage today")
	}}
	if _, err := c.Run(context.Background()); err == nil || err.Error() != "trial 0 of seed 8: no stage today" {
		t.Errorf("%v", err)
	}
}

// What is kept of a campaign does not grow with its trials.
func TestWhatIsKeptIsBounded(t *testing.T) {
	p := smallPopulation(t)
	c := run(t, Campaign{Population: p, Trials: 60_000, stage: stageForetold}).Counts
	kinds, networks := len(p.kinds), len(p.Networks)
	if most := kinds*(kinds+1)/2 + kinds; len(c.Cells) > most {
		t.Errorf("%d pairs of kinds, want at most %d", len(c.Cells), most)
	}
	if most := networks*(networks+1)/2 + networks; len(c.Times) > most {
		t.Errorf("%d pairs of networks, want at most %d", len(c.Times), most)
	}
	if len(c.Rooms) != 2 || len(c.Loads) > len(paths) {
		t.Errorf("%d sizes of rooms, %d paths", len(c.Rooms), len(c.Loads))
	}
}

// A campaign on the real stage: the system's own machines in virtual time. It is the
// same in three shards as in one run, and pairs take the paths that the model gives.
func TestACampaignInVirtualTime(t *testing.T) {
	p := smallPopulation(t)
	const trials = 390 / slower
	whole := run(t, Campaign{Population: p, Trials: trials, Seed: 2})
	json, csv, html := files(t, whole)
	dir := t.TempDir()
	var names []string
	for i := range uint64(3) {
		part := run(t, Campaign{Population: p, Trials: trials, Seed: 2, Shard: Shard{i, 3}, Workers: 1 + int(i)})
		names = append(names, filepath.Join(dir, fmt.Sprint("part-", i)))
		if err := part.Write(names[i]); err != nil {
			t.Fatal(err)
		}
	}
	merged, err := MergeFiles(names)
	if err != nil {
		t.Fatal(err)
	}
	if json2, csv2, html2 := files(t, merged); json2 != json || csv2 != csv || html2 != html {
		t.Error("three shards do not make the whole")
	}
	a := whole.Report.Agreement
	if a.Pairs < trials*9/10 || a.As < a.Pairs*98/100 {
		t.Errorf("%d of %d pairs took the path that the model gives", a.As, a.Pairs)
	}
	if s := whole.Report.Shares; s[0].Pairs == 0 || s[1].Pairs+s[2].Pairs != 0 || s[3].Pairs == 0 || s[4].Pairs == 0 {
		t.Errorf("shares %+v", s)
	}
	if whole.Report.Times[1].P50 <= 0 || whole.Report.Relay.Samples == 0 || whole.Report.Relay.PairRate <= 0 || whole.Report.Upkeep[0].Packets <= 0 {
		t.Errorf("times %+v, relay %+v, upkeep %+v", whole.Report.Times, whole.Report.Relay, whole.Report.Upkeep)
	}
}
