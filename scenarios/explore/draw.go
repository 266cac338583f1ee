package explore

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

// tick is what drawn times are multiples of.
const tick = 10 * time.Millisecond

// opening is the time in which peers find each other, as a rule. Half of all
// disturbances begin in it.
const opening = 3 * time.Second

// ground is what a lab has that can be disturbed.
type ground struct {
	lab        *sim.Lab
	peers      []string     // hosts of peers
	names      []string     // of peers
	servers    []string     // "rendezvous", "relay": those that there are
	serverHost []string     // their hosts
	links      []sim.LinkID // on the way of peers and servers
	nats       []string
	behind     map[string][]string // router → hosts of peers that it knows by their own address
	mobile     []string            // hosts of peers with several uplinks
	stranger   string
}

// groundOf finds it.
func groundOf(sc *scenarios.Scenario, lab *sim.Lab, stranger string) ground {
	g := ground{lab: lab, behind: map[string][]string{}, stranger: stranger}
	link := func(node, uplink string) {
		if id, ok := lab.LinkID(node, uplink); ok && !slices.Contains(g.links, id) {
			g.links = append(g.links, id)
		}
	}
	for _, p := range sc.Peers {
		h, _ := lab.Host(p.Host)
		g.peers, g.names = append(g.peers, h.Name), append(g.names, p.Name)
		if len(h.Uplinks) > 1 {
			g.mobile = append(g.mobile, h.Name)
		}
		for _, u := range h.Uplinks {
			link(h.Name, u.Name)
			chain, _ := lab.Chain(h.Name, u.Name)
			known := true
			for _, r := range chain {
				link(r.Name, "")
				if r.NAT == nil {
					continue
				}
				if !slices.Contains(g.nats, r.Name) {
					g.nats = append(g.nats, r.Name)
				}
				if known && !slices.Contains(g.behind[r.Name], h.Name) {
					g.behind[r.Name] = append(g.behind[r.Name], h.Name)
				}
				known = false // whoever is further out sees this NAT's address
			}
		}
	}
	server := func(name, host string) {
		if host != "" {
			g.servers, g.serverHost = append(g.servers, name), append(g.serverHost, host)
			link(host, "")
		}
	}
	server(scenarios.ServerRendezvous, sc.Rendezvous)
	for _, name := range sc.RelayNames() {
		server(name, sc.RelayHost(name))
	}
	return g
}

// allows reports whether there is something that can be disturbed so.
func (g ground) allows(k scenarios.Disturbance) bool {
	switch k {
	case scenarios.DisturbFlush, scenarios.DisturbRebind, scenarios.DisturbReboot:
		return len(g.nats) > 0
	case scenarios.DisturbMove:
		return len(g.mobile) > 0
	}
	return true
}

// drawing draws one schedule.
type drawing struct {
	ground
	bounds scenarios.Bounds
	random *rand.Rand
	active map[string]string // host → uplink, after the moves so far
}

// draw draws a schedule. The same random numbers give the same schedule.
func draw(g ground, b scenarios.Bounds, random *rand.Rand) Schedule {
	d := &drawing{ground: g, bounds: b, random: random, active: map[string]string{}}
	kinds := slices.DeleteFunc(slices.Clone(b.Kinds), func(k scenarios.Disturbance) bool { return !g.allows(k) })
	if len(kinds) == 0 {
		return nil
	}
	times := make([]time.Duration, 1+random.IntN(b.Most))
	for i := range times {
		times[i] = d.at()
	}
	slices.Sort(times) // moves are drawn in the order in which they are made
	var s Schedule
	for _, at := range times {
		e := d.entry(kinds[random.IntN(len(kinds))])
		e.At = at
		// What would get into another's way is left out: the next schedule has its turn.
		if next := append(slices.Clone(s), e); next.playable() {
			s = next
			if e.Event.Kind == sim.EventMove {
				d.active[e.Event.Host] = e.Event.Uplink
			}
		}
	}
	return s
}

// at draws when a disturbance begins.
func (d *drawing) at() time.Duration {
	span := d.bounds.Last
	if d.random.IntN(2) == 0 {
		span = min(span, opening)
	}
	return time.Duration(d.random.Int64N(int64(span))).Truncate(tick)
}

// span draws how long one lasts: a short time is as likely as a long one.
func (d *drawing) span() time.Duration {
	return d.between(tick, d.bounds.Outage)
}

// between draws a time, its logarithm uniformly.
func (d *drawing) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	ratio := math.Log(float64(high) / float64(low))
	return time.Duration(float64(low) * math.Exp(d.random.Float64()*ratio)).Round(tick)
}

func pick[T any](d *drawing, list []T) T { return list[d.random.IntN(len(list))] }

// entry draws what is done.
func (d *drawing) entry(k scenarios.Disturbance) Entry {
	switch k {
	case scenarios.DisturbQuiet:
		return Entry{Quiet: true, For: d.span()}
	case scenarios.DisturbRestart:
		return Entry{Server: scenarios.OnPeer(pick(d, d.names))}
	case scenarios.DisturbStop:
		return Entry{Server: pick(d, d.servers), For: d.span()}
	}
	e := sim.Event{For: d.span()}
	switch k {
	case scenarios.DisturbCut:
		e.Kind, e.Link = sim.EventCut, pick(d, d.links)
	case scenarios.DisturbBlackhole:
		e.Kind, e.Link, e.Direction = sim.EventBlackhole, pick(d, d.links), pick(d, []sim.Direction{sim.Up, sim.Down})
	case scenarios.DisturbFlap:
		e.Times = 2 + d.random.IntN(4)
		share := max(e.For/time.Duration(2*e.Times), tick).Round(tick)
		e.Kind, e.Link, e.Down, e.Up, e.For = sim.EventFlap, pick(d, d.links), share, share, 0
	case scenarios.DisturbFlush:
		e = sim.Event{Kind: sim.EventFlush, Router: pick(d, d.nats)}
	case scenarios.DisturbRebind:
		e = sim.Event{Kind: sim.EventRebind, Router: pick(d, d.nats)}
		if hosts := d.behind[e.Router]; len(hosts) > 0 && d.random.IntN(2) == 0 {
			e.Host = pick(d, hosts)
		}
	case scenarios.DisturbReboot:
		e = sim.Event{Kind: sim.EventReboot, Router: pick(d, d.nats), NewAddress: d.random.IntN(2) == 0}
	case scenarios.DisturbMove:
		e = d.move()
	case scenarios.DisturbPartition:
		e.Kind, e.Groups = sim.EventPartition, [][]string{{pick(d, d.peers)}, {pick(d, d.serverHost)}}
	case scenarios.DisturbRestrict:
		e.Kind, e.Host, e.To = sim.EventRestrict, pick(d, d.peers), slices.Clone(d.serverHost)
	case scenarios.DisturbInject:
		e.Kind, e.Host, e.Every = sim.EventInject, d.stranger, d.between(2*time.Millisecond, 100*time.Millisecond)
		e.Seed = uint64(1 + d.random.IntN(1000))
	default:
		e.Kind, e.Link = sim.EventImpair, pick(d, d.links)
		e.Impairments = d.impairments(k, e.Link)
	}
	return Entry{Event: e}
}

// move draws a handover to an uplink that the host does not have.
func (d *drawing) move() sim.Event {
	h, _ := d.lab.Host(pick(d, d.mobile))
	at, moved := d.active[h.Name]
	if !moved {
		at = h.ActiveUplink()
	}
	var others []string
	for _, u := range h.Uplinks {
		if u.Name != at {
			others = append(others, u.Name)
		}
	}
	e := sim.Event{Kind: sim.EventMove, Host: h.Name, Uplink: pick(d, others)}
	switch d.random.IntN(3) {
	case 1:
		e.Gap = d.span()
	case 2:
		e.Overlap = d.span()
	}
	return e
}

// impairments are those that the link has, and one more, in one direction or both.
func (d *drawing) impairments(k scenarios.Disturbance, id sim.LinkID) sim.Impairments {
	now := impairmentsOf(d.lab, id)
	ways := 1 + d.random.IntN(3)
	change := d.impairment(k)
	if ways&1 != 0 {
		change(&now.Up)
	}
	if ways&2 != 0 {
		change(&now.Down)
	}
	return now
}

// impairmentsOf are those of a link as the lab declares it.
func impairmentsOf(lab *sim.Lab, id sim.LinkID) (now sim.Impairments) {
	for _, l := range lab.Links {
		if own, ok := lab.LinkID(l.Node, l.Uplink); ok && own == id {
			now.Up, now.Down = l.Up, l.Down
		}
	}
	return now
}

// percent draws a share of a half to all of most, in whole percents.
func (d *drawing) percent(most float64) float64 {
	return math.Max(1, math.Round(100*most*(0.1+0.9*d.random.Float64()))) / 100
}

// impairment draws what is done to a direction of a link.
func (d *drawing) impairment(k scenarios.Disturbance) func(*link.Impairment) {
	switch k {
	case scenarios.DisturbLoss:
		loss := d.percent(d.bounds.Loss)
		return func(i *link.Impairment) { i.Loss, i.Burst = loss, link.Burst{} }
	case scenarios.DisturbBurst:
		b := link.Burst{P: d.percent(min(d.bounds.Loss, 0.2)), R: 0.05 + math.Round(45*d.random.Float64())/100, Bad: 1}
		return func(i *link.Impairment) { i.Loss, i.Burst = 0, b }
	case scenarios.DisturbReorder:
		jitter := d.between(tick, max(d.bounds.Delay/2, tick))
		return func(i *link.Impairment) {
			i.Delay, i.Jitter, i.Reorder = max(i.Delay, jitter), jitter, true
		}
	case scenarios.DisturbDuplicate:
		share := d.percent(1)
		return func(i *link.Impairment) { i.Duplicate = share }
	case scenarios.DisturbCorrupt:
		share := d.percent(d.bounds.Loss)
		return func(i *link.Impairment) { i.Corrupt = share }
	case scenarios.DisturbRate:
		rate := uint64(float64(d.bounds.Rate)*math.Exp(d.random.Float64()*math.Log(100))) / 1000 * 1000
		return func(i *link.Impairment) { i.Rate, i.Trace = max(rate, scenarios.MinExploreRate), link.Trace{} }
	}
	delay := d.between(tick, max(d.bounds.Delay, tick))
	jitter := time.Duration(d.random.IntN(3)) * delay / 4
	return func(i *link.Impairment) {
		i.Delay += delay
		i.Jitter = max(i.Jitter, jitter.Truncate(time.Millisecond))
	}
}
