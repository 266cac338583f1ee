package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"p2pmodel/ci/bench/gobench"
	"p2pmodel/ci/bench/measure"
)

// Run is what to measure.
type Run struct {
	Rounds int
	// Clients are the places of the curve, each 1 to MostClients.
	Clients []int
	// Say hears of what is going on.
	Say func(what string)
}

// MostClients is what one Agent admits.
const MostClients = 10_000

// ways are the sub-benchmarks of BenchmarkPassage and what they are called here.
var ways = []struct{ bench, name string }{
	{"process", "in the process"}, {"nats", "NATS"}, {"agent", "client → TLS → Agent → NATS"},
}

const (
	millisecond = 1e-3
	microsecond = 1e-6
	kibibyte    = 1024
)

// Do builds the benchmarks in a folder and measures.
func (r Run) Do(ctx context.Context, dir string) (*measure.Part, error) {
	p := &measure.Part{
		Name: "agent", Title: "Agent", At: time.Now(), Machine: measure.ThisMachine(ctx),
		Text: "A client asks a lobby for its room, 2,000 times a second, whether or not earlier requests were answered: by a call in the lobby's process, through NATS, and through TLS, the " +
			"Agent and NATS. Client, Agent, engine and lobby share this machine's processors, and so does what measures.",
	}
	program, err := gobench.Build(ctx, ".", "./core/shard/agent", filepath.Join(dir, "agent.test"))
	if err != nil {
		return nil, err
	}
	if err := r.pass(ctx, p, program); err != nil {
		return nil, err
	}
	return p, r.grow(ctx, p, program)
}

// pass measures the ways of one request.
func (r Run) pass(ctx context.Context, p *measure.Part, program gobench.Program) error {
	figures := []struct{ title, unit string }{{"A request, median", "p50-ms"}, {"A request, 99th percentile", "p99-ms"}}
	p.Comparisons = make([]measure.Comparison, len(figures))
	for i, f := range figures {
		p.Comparisons[i] = measure.Comparison{Title: f.title, Unit: "s", Ours: ways[2].name, Reference: ways[2].name}
		for _, w := range ways {
			p.Comparisons[i].Systems = append(p.Comparisons[i].Systems, measure.System{Name: w.name})
		}
	}
	for round := range r.Rounds {
		r.Say(fmt.Sprintf("round %d of %d: a request in the process, by NATS, through an Agent", round+1, r.Rounds))
		ran, err := program.Run(ctx, "^BenchmarkPassage$", "1x")
		if err != nil {
			return err
		}
		for _, w := range ways {
			for i, f := range figures {
				v, err := ran.Value("Passage/"+w.bench, f.unit)
				if err != nil {
					return err
				}
				s := p.Comparisons[i].System(w.name)
				s.Samples = append(s.Samples, v*millisecond)
			}
		}
	}
	return nil
}

// grow measures with ever more clients, each number in a process of its own.
func (r Run) grow(ctx context.Context, p *measure.Part, program gobench.Program) error {
	p.Curves = []measure.Curve{
		{Title: "Processor time, as there are more clients", Text: "Of all that serves a request or sends it, at 1,000 requests a second in all; less what the sessions take while they are idle.", Axis: "clients", Unit: "s",
			Lines: []measure.Line{{Name: "a request"}, {Name: "an idle session, a second"}}},
		{Title: "Latency, as there are more clients", Text: "At 1,000 requests a second in all.", Axis: "clients", Unit: "s", Lines: []measure.Line{{Name: "median"}, {Name: "99th percentile"}}},
		{Title: "Memory of a session, as there are more clients", Text: "Attached, with its stream of events: both ends together.", Axis: "clients", Unit: "B", Lines: []measure.Line{{Name: "both ends"}}},
	}
	figures := []struct {
		curve, line int
		unit        string
		scale       float64
	}{
		{0, 0, "µs-cpu/request", microsecond}, {0, 1, "µs-cpu/session/s", microsecond},
		{1, 0, "p50-ms", millisecond}, {1, 1, "p99-ms", millisecond}, {2, 0, "KiB/session", kibibyte},
	}
	for _, n := range r.Clients {
		points := make([]measure.Point, len(figures))
		for round := range r.Rounds {
			r.Say(fmt.Sprintf("%d clients, %d of %d", n, round+1, r.Rounds))
			ran, err := program.Run(ctx, fmt.Sprintf("^BenchmarkClients$/^%d$", n), "1x", "CLIENTS="+strconv.Itoa(n))
			if err != nil {
				return err
			}
			for i, f := range figures {
				v, err := ran.Value(fmt.Sprintf("Clients/%d", n), f.unit)
				if err != nil {
					return err
				}
				points[i].X, points[i].Samples = float64(n), append(points[i].Samples, v*f.scale)
			}
		}
		for i, f := range figures {
			line := &p.Curves[f.curve].Lines[f.line]
			line.Points = append(line.Points, points[i])
		}
	}
	return nil
}
