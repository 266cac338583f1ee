package relay

import (
	"fmt"
	"slices"

	"p2pmodel/ci/bench/measure"
)

// Part is the chapter of the page.
func (r *Result) Part() measure.Part {
	p := measure.Part{
		Name: "relay", Title: "Relays", At: r.At, Machine: r.Machine, Raw: r,
		Text: fmt.Sprintf("%d clients with a channel each send through the relay to a peer, or it to them, in namespaces with a veth pair between them: the system "+
			"has one processor, the load another. Rounds alternate (%d, each measurement %v s). Compared are datagrams a second that the processor time for each makes of a whole "+
			"processor, because others on the machine change that less than rates; \"or better\": the load was the limit of the rate.", r.Flows, r.Rounds, r.Seconds),
	}
	if slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.System == Kernel }) {
		p.Name, p.Title = "relay-kernel", "Relays, with the kernel's fast path"
		p.Text += " Here each side's processor receives its own packets, as from an interface, and all that the system's does is counted: of what passes in the kernel no process has the time."
	}
	for _, l := range r.loads() {
		p.Comparisons = append(p.Comparisons, r.throughput(l))
	}
	for _, l := range r.loads() {
		if l.Burst == 1 && !l.Down {
			p.Comparisons = append(p.Comparisons, r.latency(l))
		}
	}
	if len(r.Memory) > 0 {
		p.Comparisons = append(p.Comparisons, r.memory())
	}
	if len(r.Growth) > 0 {
		p.Curves = append(p.Curves, r.growth())
	}
	return p
}

func (r *Result) growth() measure.Curve {
	c := measure.Curve{
		Title: "Processor time for a datagram, as allocations grow", Axis: "allocations", Unit: "s",
		Text: "120 bytes from clients to a peer; each datagram is of another allocation than the one before, and all are used in turn. Where they are few, queues hold " +
			"several datagrams of each, which p2pmodel sends as one; where they are many, none are, and each has a table's entry, a socket and a route of its own that no cache has any more. A forwarder has as many clients.",
	}
	for _, g := range r.Growth {
		line := measure.Line{Name: g.System}
		for _, p := range g.Points {
			point := measure.Point{X: float64(p.Allocations)}
			for _, ns := range p.Nanoseconds {
				point.Samples = append(point.Samples, ns/1e9)
			}
			line.Points = append(line.Points, point)
		}
		c.Lines = append(c.Lines, line)
	}
	return c
}

// loads are those that were measured, in order.
func (r *Result) loads() (all []Load) {
	for _, c := range r.Cells {
		if !slices.Contains(all, c.Load) {
			all = append(all, c.Load)
		}
	}
	return all
}

// samples are one figure of a cell, round by round.
func (c *Cell) samples(figure func(Sample) float64) (all []float64) {
	for _, s := range c.Samples {
		all = append(all, figure(s))
	}
	return all
}

func (c *Cell) median(figure func(Sample) float64) float64 {
	return measure.SpreadOf(c.samples(figure)).Median
}

// throughput compares how much a processor carries. The goals are for flows in turn: there nothing
// helps that joins datagrams of one flow.
func (r *Result) throughput(l Load) measure.Comparison {
	c := measure.Comparison{
		Title: l.String(), Unit: "/s", More: true, Ours: Ours, Reference: Coturn,
		Columns: []string{"in these rounds", "each", "lost at 70 %", "p50 there", "p99 there", "p50 at a common rate", "p99"},
	}
	for _, cell := range r.Cells {
		if cell.Load != l {
			continue
		}
		c.Systems = append(c.Systems, measure.System{
			Name: cell.System, Samples: cell.samples(Sample.Whole), Limited: cell.Limited(),
			More: []string{
				measure.SpreadOf(cell.samples(func(s Sample) float64 { return s.Rate })).In("/s"),
				measure.Format("s", cell.median(func(s Sample) float64 { return s.Nanoseconds / 1e9 })),
				fmt.Sprintf("%.3f %%", cell.median(func(s Sample) float64 { return 100 * s.Loss })),
				measure.Format("s", cell.median(func(s Sample) float64 { return s.P50At / 1e6 })),
				measure.Format("s", cell.median(func(s Sample) float64 { return s.P99At / 1e6 })),
				measure.Format("s", cell.median(func(s Sample) float64 { return s.P50 / 1e6 })),
				measure.Format("s", cell.median(func(s Sample) float64 { return s.P99 / 1e6 })),
			},
		})
	}
	if l.Burst > 1 || l.Down {
		return c
	}
	if c.System(Kernel) != nil {
		c.Ours, c.Goals = Kernel, []measure.Goal{{System: Kernel, Than: Coturn, Times: 3}}
		return c
	}
	c.Goals = []measure.Goal{{System: Ours, Than: Coturn, Times: 1.45}, {System: Ours, Than: GSOName, Times: 0.9}}
	return c
}

// latency compares how long datagrams take at a rate that is the same for all.
func (r *Result) latency(l Load) measure.Comparison {
	c := measure.Comparison{
		Title: fmt.Sprintf("Time through the system at a common rate, %d bytes, median", l.Size), Unit: "s", Ours: Ours, Reference: Coturn,
		Goals: []measure.Goal{{System: Ours, Than: Coturn, Times: 1}},
	}
	for _, cell := range r.Cells {
		if cell.Load == l {
			c.Systems = append(c.Systems, measure.System{Name: cell.System, Samples: cell.samples(func(s Sample) float64 { return s.P50 / 1e6 })})
		}
	}
	return c
}

func (r *Result) memory() measure.Comparison {
	c := measure.Comparison{
		Title: fmt.Sprintf("Memory of the process for an allocation with a channel, at %d", r.Memory[0].Allocations),
		Unit:  "B", Ours: Ours, Reference: Coturn, Columns: []string{"process with them", "without"},
	}
	for _, m := range r.Memory {
		c.Systems = append(c.Systems, measure.System{
			Name: m.System, Samples: []float64{m.Each()},
			More: []string{measure.Format("B", float64(m.With)), measure.Format("B", float64(m.Before))},
		})
	}
	return c
}
