package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"p2pmodel/ci/bench/measure"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// Names of systems.
const (
	Ours      = "p2pmodel"
	Stateless = "p2pmodel, NATs of RFC 4787"
	PlainName = "ip + nft"
	BatchName = "ip -batch + nft, on all processors"
)

// tracked is a NAT of the kernel's own, which nft can express; stateless one of rules that it cannot.
const tracked, stateless = "linux", "port-restricted-cone"

// Times is how much faster than ip + nft a lab has to stand.
const Times = 6

// Run is what to measure.
type Run struct {
	Pairs  []int // peers behind NATs of their own
	Rounds int
	Say    func(string)
}

// Compare builds labs by all systems in turn.
func (r *Run) Compare(ctx context.Context) (*measure.Part, error) {
	p := &measure.Part{
		Name: "lab", Title: "Labs", At: time.Now(), Machine: measure.ThisMachine(ctx),
		Text: "Peers behind NATs of their own, a network between them, and a server: by this library, by a script of ip and nft as people write it, " +
			"and by one with as few processes as do. Addresses, routes, settings and rules are the same (the rules as nft lists them in our lab); " +
			"before anything is timed, a datagram has to pass a NAT of each and be answered. Our lab also captures on all uplinks, hears of each dropped packet and has permanent neighbours; " +
			"a lab is taken down when the kernel has let go of all of its namespaces.",
	}
	for _, n := range r.Pairs {
		build, down, err := r.compare(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("%d peers: %w", n, err)
		}
		p.Comparisons = append(p.Comparisons, build, down)
	}
	return p, nil
}

func (r *Run) compare(ctx context.Context, n int) (build, down measure.Comparison, err error) {
	dir, err := os.MkdirTemp("", "bench-lab-")
	if err != nil {
		return build, down, err
	}
	defer os.RemoveAll(dir)
	lab, err := pairs(n, tracked)
	if err != nil {
		return build, down, err
	}
	plan, err := lab.Plan()
	if err != nil {
		return build, down, err
	}
	other, err := pairs(n, stateless)
	if err != nil {
		return build, down, err
	}
	scripts, err := scripted(ctx, dir, lab)
	if err != nil {
		return build, down, err
	}
	systems := append([]system{ours(Ours, lab), ours(Stateless, other)}, scripts...)
	title := fmt.Sprintf("%d peers behind %d NATs, %d namespaces", n, n, 2*n+2)
	build = measure.Comparison{
		Title: title + ": until it stands", Unit: "s", Ours: Ours, Reference: PlainName,
		Goals: []measure.Goal{{System: Ours, Than: PlainName, Times: Times}, {System: Stateless, Than: PlainName, Times: Times}},
	}
	down = measure.Comparison{Title: title + ": until it is taken down", Unit: "s", Ours: Ours, Reference: PlainName}
	for _, s := range systems {
		build.Systems = append(build.Systems, measure.System{Name: s.name})
		down.Systems = append(down.Systems, measure.System{Name: s.name})
	}
	for round := range r.Rounds + 1 {
		for i, s := range systems {
			built, gone, err := r.once(ctx, s, func() error {
				if round > 0 {
					return nil
				}
				return passes(s, plan, "peer-"+strconv.Itoa(n-1), "nat-"+strconv.Itoa(n-1))
			})
			if err != nil {
				return build, down, fmt.Errorf("%s: %w", s.name, err)
			}
			if round == 0 {
				continue // it worked, and is warm
			}
			build.Systems[i].Samples = append(build.Systems[i].Samples, built.Seconds())
			down.Systems[i].Samples = append(down.Systems[i].Samples, gone.Seconds())
		}
		r.Say(fmt.Sprintf("%d peers: round %d of %d", n, round, r.Rounds))
	}
	return build, down, nil
}

// once builds a lab, looks at it, and takes it down.
func (r *Run) once(ctx context.Context, s system, look func() error) (built, gone time.Duration, err error) {
	if err := settle(ctx); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	err = s.build(ctx)
	built = time.Since(began)
	if err == nil {
		err = look()
	} else if s.waits {
		return 0, 0, err // nothing stands
	}
	var numbered map[int]bool
	if !s.waits && err == nil {
		numbered, err = number(s)
	}
	began = time.Now()
	err = errors.Join(err, s.down(ctx))
	for len(numbered) > 0 && err == nil {
		if err = stillThere(numbered); len(numbered) > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return built, time.Since(began), err
}

// settle waits until the kernel, which takes namespaces down in order, has finished with those that
// were given up before.
func settle(ctx context.Context) error {
	lab, err := sim.ParseLab("lone", []byte("lab:\n  hosts:\n    lone: {}\n"))
	if err != nil {
		return err
	}
	for range 2 { // its namespaces may go with those before
		n, err := kernel.Fabric{}.Build(ctx, lab, sim.Options{Unrecorded: true})
		if err == nil {
			err = n.Close()
		}
		if err != nil {
			return err
		}
	}
	runtime.GC()
	return nil
}

// Curve is what labs cost as they grow.
func (r *Run) Curve(ctx context.Context) (*measure.Part, error) {
	p := &measure.Part{
		Name: "lab-curve", Title: "Labs as they grow", At: time.Now(), Machine: measure.ThisMachine(ctx),
		Text: "Peers behind NATs of RFC 4787 of their own, and a server, built and taken down again and again; all uplinks are captured. " +
			"Memory is what the kernel has more of for itself while the lab stands (slabs, stacks, page tables, per processor), which others change, too.",
	}
	var times, each = []measure.Line{{Name: "until it stands"}, {Name: "until it is taken down"}}, []measure.Line{{Name: "until it stands"}, {Name: "until it is taken down"}}
	memory := []measure.Line{{Name: "the kernel's memory"}}
	for _, n := range r.Pairs {
		lab, err := pairs(n, stateless)
		if err != nil {
			return nil, err
		}
		namespaces := float64(2*n + 2)
		at := make([]measure.Point, 5)
		for i := range at {
			at[i].X = namespaces
		}
		for round := range r.Rounds + 1 {
			before, during := uint64(0), uint64(0)
			if err := settle(ctx); err != nil {
				return nil, err
			}
			before = kernelBytes()
			built, gone, err := r.once(ctx, ours(Ours, lab), func() error { during = kernelBytes(); return nil })
			if err != nil {
				return nil, fmt.Errorf("%d peers: %w", n, err)
			}
			if round == 0 {
				continue
			}
			for i, v := range []float64{built.Seconds(), gone.Seconds(), built.Seconds() / namespaces, gone.Seconds() / namespaces, float64(during-min(before, during)) / namespaces} {
				at[i].Samples = append(at[i].Samples, v)
			}
		}
		for i, line := range []*measure.Line{&times[0], &times[1], &each[0], &each[1], &memory[0]} {
			line.Points = append(line.Points, at[i])
		}
		r.Say(fmt.Sprintf("%d namespaces", 2*n+2))
	}
	p.Curves = []measure.Curve{
		{Title: "Labs", Axis: "namespaces", Unit: "s", Lines: times},
		{Title: "A namespace's share", Axis: "namespaces", Unit: "s", Lines: each},
		{Title: "Memory of a namespace", Axis: "namespaces", Unit: "B", Lines: memory},
	}
	return p, nil
}

// kernelBytes is the memory that the kernel has for itself.
func kernelBytes() (sum uint64) {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		key, rest, _ := strings.Cut(line, ":")
		switch key {
		case "Slab", "KernelStack", "PageTables", "Percpu", "VmallocUsed":
			n, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			sum += n << 10
		}
	}
	return sum
}
