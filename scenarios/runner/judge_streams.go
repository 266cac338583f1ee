package runner

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// opaque reports whether one of a pair reaches servers over TLS only, as the lab is
// now: then no packet shows its payload, whatever path it takes.
func (j *judgement) opaque(pair [2]string) bool {
	streams := j.streaming(pair)
	return streams[0] || streams[1]
}

// streaming says which of a pair reach servers over TLS only.
func (j *judgement) streaming(pair [2]string) [2]bool {
	if j.s.v.scenario.TLS == 0 {
		return [2]bool{}
	}
	e, err := j.world.ask(j.s.host(pair[0]), j.s.host(pair[1]))
	if err != nil {
		return [2]bool{} // expect has said so
	}
	return e.Streams
}

// opaquePath is the path of such a pair. What arrived is the applications' word,
// and the packets' places and sizes must bear it out.
func (j *judgement) opaquePath(p *phase, pair [2]string) (observed scenarios.Path, why string) {
	size := uint64(j.s.v.settings.Size)
	ways := both(pair)
	there, back := p.heard[ways[0]], p.heard[ways[1]]
	path, why, err := witness.Opaque(j.o.run.Packets, j.scene, j.s.host(pair[0]), j.s.host(pair[1]),
		witness.Word{AToB: there * size, BToA: back * size}, p.since, p.end)
	if err != nil {
		j.against(p, "%s ↔ %s: %v", pair[0], pair[1], err) // judge has made sure that it sees both
	}
	observed = scenarios.Path(path.String())
	why = fmt.Sprintf("of what was sent after the checks settled, %d datagrams are said to have arrived at %s and %d at %s: %s", there, pair[1], back, pair[0], why)
	j.evidence(p, "%s ↔ %s: %s: %s", pair[0], pair[1], observed, why)
	if p.sender != "" || observed == scenarios.None {
		return observed, why
	}
	if there == 0 || back == 0 {
		return scenarios.Mixed, why // the way of one of them is unknown
	}
	if min(there, back) < window/2 {
		j.against(p, "%s ↔ %s: a path is read from %d datagrams each way, but %s", pair[0], pair[1], window/2, why)
	}
	return observed, why
}

// relayedOverTLS is relayed for such a pair: nothing of the one ever entered the other
// past the servers, and what was sent by UDP died where UDP is said to die.
func (j *judgement) relayedOverTLS(p *phase, from, to time.Time, pair [2]string) {
	if from.IsZero() {
		from = j.s.launched
	}
	path, why, err := witness.Opaque(j.o.run.Packets, j.scene, j.s.host(pair[0]), j.s.host(pair[1]), witness.Word{}, from, to)
	if err != nil || path == witness.Direct {
		j.against(p, "%s ↔ %s: payload may have gone direct although it must not: %s", pair[0], pair[1], why)
	}
	streams := j.streaming(pair)
	for i, way := range both(pair) {
		if !streams[i] {
			continue
		}
		j.withoutUDP(p, way[0])
		// Nobody learns a public address of one that no server has heard by UDP.
		if !streams[1-i] {
			j.tried(p, way[0], way[1])
		}
	}
}

// withoutUDP makes sure that a peer asked servers by UDP, and that none of it came
// there.
func (j *judgement) withoutUDP(p *phase, peer string) {
	const udp = 17
	host := j.s.host(peer)
	servers := slices.Concat(j.scene.Relay, j.scene.Rendezvous)
	died := map[string]int{}
	for _, t := range j.traces {
		first, last := t.First(), t.Last()
		if t.Protocol != udp || first.Point.Node != host || first.Direction != witness.Out || !slices.Contains(servers, first.Dst.Addr()) ||
			first.At.Before(j.s.launched) || first.At.Before(j.changed[host]) || first.At.After(p.end) {
			continue
		}
		switch {
		case t.Arrived:
			j.against(p, "%s of %s entered a server by UDP, which its network lets none reach", t.Summary, peer)
			return
		case last.Direction == witness.In:
			died[t.Fate()]++
		}
	}
	if len(died) == 0 {
		j.proveNothing(p, "the witness saw nothing die that %s sent to a server by UDP: nothing shows that its network lets none out", peer)
	}
	for _, fate := range slices.Sorted(maps.Keys(died)) {
		j.evidence(p, "of what %s sent to servers by UDP, %d %s", peer, died[fate], fate)
	}
}
