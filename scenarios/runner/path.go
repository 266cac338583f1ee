package runner

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// window gives the datagrams that a pair's path is read from: the last that were
// sent after the checks settled, and long enough before the end of the phase to
// have arrived. They are half each way, so that a peer that stutters is still
// among them; where one peer speaks alone they are all its own.
func (j *judgement) window(p *phase, pair [2]string) []witness.Delivery {
	all := sentIn(j.deliveries[pair], p.since, p.end.Add(-j.s.grace()))
	if p.sender != "" {
		return all[max(0, len(all)-window):]
	}
	var chosen []witness.Delivery
	left := map[string]int{}
	for i := len(all) - 1; i >= 0; i-- {
		if from := all[i].From; left[from] < window/2 {
			left[from]++
			chosen = append(chosen, all[i])
		}
	}
	return chosen
}

func sentIn(all []witness.Delivery, from, to time.Time) []witness.Delivery {
	var out []witness.Delivery
	for _, d := range all {
		if !d.Sent.Before(from) && d.Sent.Before(to) {
			out = append(out, d)
		}
	}
	return out
}

// path is the observed path of a pair in a phase: of payload in both directions,
// unless one peer speaks alone. why is what was counted.
func (j *judgement) path(p *phase, pair [2]string) (observed scenarios.Path, why string) {
	if j.opaque(pair) {
		return j.opaquePath(p, pair)
	}
	list := j.window(p, pair)
	counts := witness.Tally(list, p.since, 0)
	observed, why = scenarios.Path(counts.Path().String()), counts.String()
	j.evidence(p, "%s ↔ %s: %s: of the last %d datagrams after the checks settled, %s", pair[0], pair[1], observed, len(list), counts)
	if p.sender != "" || observed == scenarios.None {
		return observed, why
	}
	if len(counts) < 2 {
		return scenarios.Mixed, why // one peer never spoke, so its way is unknown
	}
	if len(list) < window {
		j.against(p, "%s ↔ %s: only %d datagrams were sent after the checks settled; a path is read from %d (%s)",
			pair[0], pair[1], len(list), window, counts)
	}
	return observed, why
}

// common is the path that all pairs share.
func common(paths []scenarios.Path) scenarios.Path {
	for _, p := range paths {
		if p != paths[0] {
			return scenarios.Mixed
		}
	}
	return paths[0]
}

// relayed looks for what a relayed path needs beside payload on the relay: no
// payload ever went direct, and each side's checks to the other's public address
// died. Without the latter the direct path was not tried, and the result says
// nothing of the NATs.
func (j *judgement) relayed(p, before *phase, pair [2]string) {
	// What was sent before the network had changed may still have gone the former
	// way; where that was the relay, too, it may not.
	from := p.done
	switch {
	case before == nil:
		from = time.Time{}
	case before.spec.Expect.Path == scenarios.Relay || !p.disrupted:
		from = before.end
	}
	to := p.end
	if p == j.last {
		to = time.Time{}
	}
	if j.opaque(pair) {
		j.relayedOverTLS(p, from, to, pair)
		return
	}
	if d, ever := witness.EverDirect(j.deliveries[pair], from, to); ever {
		j.against(p, "%s ↔ %s: payload went direct although it must not: %v", pair[0], pair[1], d)
	}
	for _, way := range both(pair) {
		j.tried(p, way[0], way[1])
	}
}

// tried makes sure that one peer sent checks to another which died in a router.
// Checks to private addresses, which the Internet drops anyway, and those that a
// lossy link took, prove nothing. They may be of an earlier phase: peers look for
// a direct path when the network changes, and need not later. Where paths are split
// nothing dies: there checks have to enter.
func (j *judgement) tried(p *phase, from, to string) {
	a, b := j.s.host(from), j.s.host(to)
	public := j.public(b)
	entered, died := 0, map[string]int{}
	for _, c := range j.attempts.Checks(a, b) {
		if !(c.STUN || j.s.v.foreign()) || c.At.Before(j.changed[a]) || c.At.Before(j.changed[b]) || c.At.After(p.end) || !slices.Contains(public, c.Dst.Addr()) {
			continue
		}
		switch {
		case c.Entered:
			entered++
		case c.Trace.Last().Direction == witness.In, !j.world.maySend(a, b):
			died[c.Trace.Fate()]++
		}
	}
	e, err := j.world.ask(a, b)
	switch {
	case len(died) == 0 && entered > 0 && err == nil && e.Outcome == oracle.Split:
		j.evidence(p, "%d checks from %s entered %s, whose answers come from other ports than were probed: without split paths they prove nothing", entered, from, to)
	case len(died) == 0:
		j.proveNothing(p, "the witness saw no check from %s to the public address of %s die: the direct path was not tried", from, to)
	case entered > 0 && !j.world.maySend(b, a) && j.world.filters(b):
		j.against(p, "%d checks from %s entered %s, which had sent nothing: its NAT does not filter", entered, from, to)
	default:
		for _, fate := range slices.Sorted(maps.Keys(died)) {
			j.evidence(p, "of the checks from %s to %s, %d %s", from, to, died[fate], fate)
		}
	}
}

// reached makes sure that what the only speaker sent came to the router and went
// no further.
func (j *judgement) reached(p *phase, router string) {
	sent, reached, last := 0, 0, ""
	for _, pair := range j.s.pairs() {
		for _, d := range j.window(p, pair) {
			sent++
			for _, t := range j.traces {
				end := t.Last()
				if !t.Arrived && end.Point.Node == router && end.Direction == witness.In && !end.At.Before(d.Sent) && t.Carries(d.Payload) {
					reached++
					last = t.Summary + ", " + end.Addresses.String()
					break
				}
			}
		}
	}
	if reached == 0 {
		j.against(p, "of %d datagrams none reached router %s, so it cannot be said that they died there", sent, router)
		return
	}
	j.evidence(p, "%d of %d datagrams reached router %s and went no further (%s)", reached, sent, router, last)
}

// public are the addresses under which a host is found on the Internet now: its
// own, or those of the outermost NAT in front of it, former ones included.
func (j *judgement) public(host string) []netip.Addr {
	chain, _ := j.s.v.lab.Chain(host, j.world.active[host]) // the world has asked before
	for _, r := range slices.Backward(chain) {
		if r.NAT != nil {
			return j.s.seals[r.Name].addresses
		}
	}
	return j.s.net.Plan().Addresses(host, j.world.active[host])
}
