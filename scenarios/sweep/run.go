package sweep

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"p2pmodel/scenarios/grid"
	"p2pmodel/scenarios/wilson"
	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

const (
	// MaxSteps bounds the offsets of a sweep.
	MaxSteps = 201
	// lead is the time between the preparation of a trial and its first probe.
	lead = 200 * time.Millisecond
	// precision is how far a trial's offset may be from what it was to be: Go's timers
	// and a busy machine. Trials that are further off are played again.
	precision = 5 * time.Millisecond
	// tries is how often a trial is played at most until its offset is precise.
	tries = 20
	// gap is the time between the probes of one side, as a multiple of the RTT: the
	// second must not save what the first one lost.
	gap = 2
)

// Sweep is what is to be run.
type Sweep struct {
	// Pairs are the NATs in front of the two hosts.
	Pairs [][2]grid.Side
	RTT   time.Duration
	// Steps is how many offsets from −RTT to +RTT there are, both ends included.
	Steps int
	// Trials is how many trials each offset has; Probes how many probes each side
	// sends.
	Trials, Probes int
	Seed           uint64
	Fabric         sim.Fabric
	// Done is told of each point that is complete; calls do not overlap. Nil: nobody
	// is.
	Done func(pair int, p Point)
}

// Run runs all pairs, one lab each.
func (s *Sweep) Run(ctx context.Context) (*Result, error) {
	began := time.Now()
	res := &Result{
		Schema: 1, Fabric: s.Fabric.Name(), RTTMS: milliseconds(s.RTT), Probes: s.Probes, Seed: s.Seed, Started: began,
	}
	for i, pair := range s.Pairs {
		series, err := s.pair(ctx, i, pair)
		if err != nil {
			return nil, fmt.Errorf("%s ↔ %s: %w", pair[0].Name, pair[1].Name, err)
		}
		res.Series = append(res.Series, series)
	}
	res.DurationMS = milliseconds(time.Since(began).Round(time.Millisecond))
	return res, nil
}

// stage is a lab with two hosts behind their NATs, and a server that says where
// packets come from.
type stage struct {
	sweep  *Sweep
	net    sim.Network
	hosts  [2]sim.RunningHost
	server netip.AddrPort
}

func (s *Sweep) pair(ctx context.Context, number int, pair [2]grid.Side) (series Series, err error) {
	series = Series{NameA: pair[0].Name, NameB: pair[1].Name, A: pair[0].Text(), B: pair[1].Text()}
	lab := s.lab(pair)
	if err := lab.Validate(); err != nil {
		return series, err
	}
	network, err := s.Fabric.Build(ctx, lab, sim.Options{Seed: s.Seed})
	if err != nil {
		return series, err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	for _, name := range []string{"nat-a", "nat-b"} {
		if err := certify(ctx, network, name); err != nil {
			return series, err
		}
	}
	st := &stage{sweep: s, net: network}
	for i, name := range []string{"a", "b"} {
		if st.hosts[i], err = network.Host(name); err != nil {
			return series, err
		}
	}
	host, err := network.Host("server")
	if err != nil {
		return series, err
	}
	conn, err := host.ListenPacket(ctx, "udp4", ":3478")
	if err != nil {
		return series, err
	}
	var server sync.WaitGroup
	server.Go(func() { serve(conn) })
	defer server.Wait()
	defer conn.Close()
	st.server = netip.AddrPortFrom(network.Plan().Addresses("server", sim.DefaultUplink)[0], 3478)
	series.Points, err = st.points(ctx, number, pair)
	return series, errors.Join(err, network.Err())
}

// lab is the network: the RTT lies on the routers' uplinks.
func (s *Sweep) lab(pair [2]grid.Side) *sim.Lab {
	quarter := link.Impairment{Delay: s.RTT / 4}
	lab := &sim.Lab{Hosts: []sim.Host{{Name: "server", Uplinks: []sim.Uplink{{Name: sim.DefaultUplink}}}}}
	for i, name := range []string{"a", "b"} {
		behavior := pair[i].Behavior
		r := sim.Router{Name: "nat-" + name, NAT: &behavior}
		lab.Routers = append(lab.Routers, r)
		lab.Hosts = append(lab.Hosts, sim.Host{Name: name, Uplinks: []sim.Uplink{{Name: sim.DefaultUplink, Behind: r.Name}}})
		lab.Links = append(lab.Links, sim.Link{Node: r.Name, Up: quarter, Down: quarter})
	}
	return lab
}

func certify(ctx context.Context, network sim.Network, name string) error {
	r, err := network.Router(name)
	if err != nil {
		return err
	}
	res, err := r.Certify(ctx)
	switch {
	case err != nil:
		return err
	case res.Err != nil:
		return res.Err
	case !res.OK():
		return fmt.Errorf("router %s is not what it claims: declared %s, measured %s", name, res.Declared, res.Measured)
	}
	return nil
}

// points plays all trials of a pair: all offsets at once, one round after another.
func (st *stage) points(ctx context.Context, number int, pair [2]grid.Side) ([]Point, error) {
	s := st.sweep
	points, actual := make([]Point, s.Steps), make([][]float64, s.Steps)
	for i := range points {
		offset := -s.RTT + 2*s.RTT*time.Duration(i)/time.Duration(max(s.Steps-1, 1))
		p := &points[i]
		p.OffsetMS = milliseconds(offset)
		var err error
		if p.Expected, p.Sharp, err = s.expect(pair, offset); err != nil {
			return nil, err
		}
	}
	random := rand.New(rand.NewPCG(s.Seed, uint64(number)))
	for range s.Trials {
		var round sync.WaitGroup
		results, errs := make([]trialResult, s.Steps), make([]error, s.Steps)
		for i := range points {
			id := random.Uint64()
			round.Go(func() {
				offset := time.Duration(points[i].OffsetMS * float64(time.Millisecond))
				results[i], errs[i] = st.precisely(ctx, offset, id)
			})
		}
		round.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		for i, r := range results {
			points[i].Trials++
			if r.direct {
				points[i].Direct++
			}
			actual[i] = append(actual[i], milliseconds(r.offset))
		}
	}
	for i := range points {
		slices.Sort(actual[i])
		points[i].ActualMS = actual[i][len(actual[i])/2]
		points[i].Interval = wilson.Of(points[i].Direct, points[i].Trials)
		if s.Done != nil {
			s.Done(number, points[i])
		}
	}
	return points, nil
}

// expect asks the model, also a little before and after the offset.
func (s *Sweep) expect(pair [2]grid.Side, offset time.Duration) (direct, sharp bool, err error) {
	var outcomes [3]bool
	for i, off := range []time.Duration{offset - 2*precision, offset, offset + 2*precision} {
		outcomes[i], err = predict(pair[0].Behavior, pair[1].Behavior, s.RTT, off, gap*s.RTT, s.Probes, s.Seed)
		if err != nil {
			return false, false, err
		}
	}
	return outcomes[1], outcomes[0] == outcomes[1] && outcomes[1] == outcomes[2], nil
}

type trialResult struct {
	direct bool
	offset time.Duration
}

// precisely plays a trial until its offset is what it was to be, each time with new
// sockets and so with new mappings.
func (st *stage) precisely(ctx context.Context, offset time.Duration, id uint64) (trialResult, error) {
	for n := range uint64(tries) {
		r, err := st.trial(ctx, offset, id+n)
		if err != nil {
			return r, err
		}
		if d := r.offset - offset; -precision <= d && d <= precision {
			return r, nil
		}
	}
	return trialResult{}, fmt.Errorf("an offset of %v could not be kept to %v in %d trials: the machine is too busy", offset, precision, tries)
}

func (st *stage) trial(ctx context.Context, offset time.Duration, id uint64) (res trialResult, err error) {
	var sides [2]side
	var seen [2]netip.AddrPort
	for i, h := range st.hosts {
		conn, err := h.ListenPacket(ctx, "udp4", ":0")
		if err != nil {
			return res, err
		}
		defer conn.Close()
		sides[i] = side{conn, id}
	}
	var asking sync.WaitGroup
	var failed [2]error
	for i := range sides {
		asking.Go(func() { seen[i], failed[i] = sides[i].discover(ctx, st.server) })
	}
	asking.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		return res, err
	}
	s := st.sweep
	start := time.Now().Add(lead)
	first := [2]time.Time{start, start}
	if offset > 0 {
		first[1] = start.Add(offset)
	} else {
		first[0] = start.Add(-offset)
	}
	// All probes have been sent by then, and what they brought about is over.
	until := start.Add(s.RTT + time.Duration(s.Probes-1)*gap*s.RTT + 3*s.RTT + lead)
	var out [2]outcome
	var playing sync.WaitGroup
	for i := range sides {
		playing.Go(func() { out[i] = sides[i].play(first[i], until, gap*s.RTT, s.Probes, seen[1-i]) })
	}
	playing.Wait()
	res.offset = out[1].left.Sub(out[0].left)
	res.direct = (out[0].heard || out[0].answered) && (out[1].heard || out[1].answered)
	return res, errors.Join(out[0].err, out[1].err, ctx.Err())
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
