package virtual

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"p2pmodel/ci/bench/gobench"
	"p2pmodel/ci/bench/measure"
)

// Run is what to measure.
type Run struct {
	Rounds int
	// Each is how long one benchmark plays.
	Each time.Duration
	// Most is the most trials of the curve, which begins with a thousand.
	Most int
	// Say hears of what is going on.
	Say func(what string)
}

// names of those compared.
const (
	ours = "ours"
	pion = "pion/ice on vnet"
)

// pairs are the benchmarks of NATs that both sides have.
var pairs = []struct{ name, title string }{
	{"full-cone+full-cone", "full cone ↔ full cone"},
	{"restricted+port-restricted", "restricted ↔ port-restricted"},
	{"port-restricted+port-restricted", "port-restricted ↔ port-restricted"},
	{"symmetric+symmetric", "symmetric ↔ symmetric, over a relay"},
}

// alone is how many trials of a curve's place are played once, and not in each round.
const alone = 100_000

// Do builds both sides in a folder and measures them.
func (r Run) Do(ctx context.Context, dir string) (*measure.Part, error) {
	p := &measure.Part{
		Name: "virtual", Title: "Virtual time", At: time.Now(), Machine: measure.ThisMachine(ctx),
		Text: "A trial is a whole connection of two peers who never met, behind a pair of NATs: registration, relay, introduction, checks, keys, a datagram each way. Ours plays in " +
			"virtual time, on lines of 20 ms, one trial after another on one goroutine. Agents of pion/ice gather by STUN and TURN over pion's vnet, which runs in real time: 200 at once without any " +
			"delay, so that they wait for nothing but processors, and without encrypting what they say. Compared is processor time, the collector's included.",
	}
	trials, err := gobench.Build(ctx, ".", "./scenarios/trial", filepath.Join(dir, "trial.test"))
	if err != nil {
		return nil, err
	}
	vnet, err := gobench.Build(ctx, "scenarios/foreign/pion-vnet", ".", filepath.Join(dir, "vnet.test"))
	if err != nil {
		p.Left = append(p.Left, fmt.Sprintf("%s: %v", pion, err))
	}
	if err := r.compare(ctx, p, trials, vnet); err != nil {
		return nil, err
	}
	return p, r.grow(ctx, p, trials)
}

// side is one of the two.
type side struct {
	name    string
	program gobench.Program
}

func (r Run) compare(ctx context.Context, p *measure.Part, trials, vnet gobench.Program) error {
	sides := []side{{ours, trials}}
	if vnet != (gobench.Program{}) {
		sides = append(sides, side{pion, vnet})
	}
	p.Comparisons = make([]measure.Comparison, len(pairs))
	for i, pair := range pairs {
		c := measure.Comparison{Title: "Trials a second of one core: " + pair.title, Unit: "/s", More: true, Ours: ours, Reference: pion}
		for _, s := range sides {
			c.Systems = append(c.Systems, measure.System{Name: s.name})
		}
		p.Comparisons[i] = c
	}
	for round := range r.Rounds {
		for i, pair := range pairs {
			for _, s := range sides {
				r.Say(fmt.Sprintf("round %d of %d: %s: %s", round+1, r.Rounds, pair.title, s.name))
				ran, err := s.program.Run(ctx, "^BenchmarkPairs$/^"+strings.ReplaceAll(pair.name, "+", `\+`)+"$", r.Each.String())
				if err != nil {
					return err
				}
				rate, err := ran.Value("Pairs/"+pair.name, "trials/s/core")
				if err != nil {
					return err
				}
				system := p.Comparisons[i].System(s.name)
				system.Samples = append(system.Samples, rate)
			}
		}
	}
	return nil
}

// grow plays ever more trials, each number in a process of its own.
func (r Run) grow(ctx context.Context, p *measure.Part, trials gobench.Program) error {
	took := measure.Line{Name: "processor time a trial"}
	used, most := measure.Line{Name: "heap in use behind them"}, measure.Line{Name: "most that was resident"}
	for count := 1000; count <= r.Most; count *= 10 {
		cost, heap, peak := measure.Point{X: float64(count)}, measure.Point{X: float64(count)}, measure.Point{X: float64(count)}
		for round := range r.Rounds {
			if count >= alone && round > 0 {
				break
			}
			r.Say(fmt.Sprintf("%d trials, %d of %d", count, round+1, r.Rounds))
			ran, err := trials.Run(ctx, fmt.Sprintf("^BenchmarkLinear$/^%d$", count), "1x", "TRIALS="+strconv.Itoa(count))
			if err != nil {
				return err
			}
			name := fmt.Sprintf("Linear/%d", count)
			micros, err := ran.Value(name, "µs/trial")
			if err != nil {
				return err
			}
			kilobytes, err := ran.Value(name, "kB-in-use")
			if err != nil {
				return err
			}
			cost.Samples = append(cost.Samples, micros/1e6)
			heap.Samples = append(heap.Samples, kilobytes*1024)
			peak.Samples = append(peak.Samples, ran.Peak)
		}
		took.Points, used.Points, most.Points = append(took.Points, cost), append(used.Points, heap), append(most.Points, peak)
	}
	p.Curves = []measure.Curve{
		{Title: "Time a trial, as there are more", Axis: "trials", Unit: "s", Lines: []measure.Line{took}},
		{Title: "Memory, as there are more", Axis: "trials", Unit: "B", Lines: []measure.Line{used, most}},
	}
	return nil
}
