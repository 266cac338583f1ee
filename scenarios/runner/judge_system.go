package runner

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// ofSystem judges what a phase expects of the shard structure.
func (j *judgement) ofSystem(p, before *phase, res *scenarios.PhaseResult) {
	if j.s.system == nil {
		return
	}
	j.rooms(p, before, res)
	j.agents(p, res)
	j.load(p, res)
	j.scans(p, res)
	if p.spec.Expect.OneOwner {
		j.owners(p, res)
	}
}

// rooms compares the shards of rooms with those of the phase before.
func (j *judgement) rooms(p, before *phase, res *scenarios.PhaseResult) {
	for _, room := range slices.Sorted(maps.Keys(p.spec.Expect.Rooms)) {
		want := p.spec.Expect.Rooms[room]
		now, last := j.shardsOf(room, p.end)
		if before == nil || len(now) != 1 {
			j.against(p, "room %s: its players talk to the rendezvous of %d shards (%s), expected one", room, len(now), strings.Join(now, ", "))
			continue
		}
		was, _ := j.shardsOf(room, before.end)
		fate := scenarios.RoomStayed
		if !slices.Equal(was, now) {
			fate = scenarios.RoomMoved
		}
		if fate != want {
			j.against(p, "room %s %s (%s → %s), expected that it %s", room, fate, strings.Join(was, ", "), strings.Join(now, ", "), want)
			continue
		}
		if fate == scenarios.RoomStayed {
			continue
		}
		after := last.Sub(p.changed)
		res.Facts = append(res.Facts, fmt.Sprintf("room %s moved from %s to %s: all its players had registered there after %v",
			room, strings.Join(was, ", "), now[0], after.Round(time.Millisecond)))
		if limit := p.spec.Expect.Moved; limit > 0 && after > limit {
			j.against(p, "room %s took %v to move from %s to %s, expected at most %v", room, after.Round(time.Millisecond), was, now[0], limit)
		}
	}
}

// shardsOf are the shards at whose rendezvous the players of a room were
// registered at a time, by the last one of each that answered them on the wire;
// and when the last of them got its first answer there.
func (j *judgement) shardsOf(room string, at time.Time) (shards []string, since time.Time) {
	i := slices.IndexFunc(j.s.v.scenario.Rooms, func(r scenarios.Room) bool { return r.Name == room })
	for _, player := range j.s.v.scenario.Rooms[i].Peers {
		shard, first := j.registeredAt(j.s.host(player), at)
		if shard == "" {
			continue
		}
		if !slices.Contains(shards, shard) {
			shards = append(shards, shard)
		}
		if first.After(since) {
			since = first
		}
	}
	slices.Sort(shards)
	return shards, since
}

// registeredAt is the shard whose rendezvous registered a host last, by its answers,
// and when it first did.
func (j *judgement) registeredAt(host string, at time.Time) (shard string, since time.Time) {
	for _, k := range j.o.run.Packets {
		if k.At.After(at) {
			break
		}
		if k.Point.Node != host || k.Direction != witness.In || !isRegistration(k.Payload) {
			continue
		}
		if from := j.s.system.shardAt(k.Src.Addr()); from != "" && from != shard {
			shard, since = from, k.At
		}
	}
	return shard, since
}

// isRegistration reports whether a datagram is a rendezvous' consent to a REGISTER.
func isRegistration(payload []byte) bool {
	if !pion.IsMessage(payload) {
		return false
	}
	var t pion.MessageType
	t.ReadValue(binary.BigEndian.Uint16(payload))
	return t == pion.NewType(stun.MethodRegister, pion.ClassSuccessResponse)
}

// agents makes sure that players were connected all the time, or came back in
// time with the same session.
func (j *judgement) agents(p *phase, res *scenarios.PhaseResult) {
	limit := p.spec.Expect.Resumed
	resumed, worst := 0, time.Duration(0)
	for _, player := range j.s.v.scenario.Peers {
		a := j.s.actors[player.Name]
		for _, o := range a.outages(p.begin, p.end) {
			switch {
			case limit == 0:
				j.against(p, "%s lost its Agent: %v", a.name, o)
			case o.until.IsZero():
				j.against(p, "%s lost its Agent and was not back before the end of the phase: %v", a.name, o)
			default:
				resumed++
				worst = max(worst, o.until.Sub(p.changed))
			}
		}
		if ids := a.accounts(); len(ids) != 1 {
			j.against(p, "%s had %d sessions at the Agents, expected one throughout: %s", a.name, len(ids), strings.Join(ids, ", "))
		}
	}
	if limit == 0 {
		return
	}
	if resumed == 0 {
		j.proveNothing(p, "no player lost its Agent, so none had to resume")
		return
	}
	res.Facts = append(res.Facts, fmt.Sprintf("%d players lost their Agent; the last one was back, with its session, after %v", resumed, worst.Round(time.Millisecond)))
	if worst > limit {
		j.against(p, "a player took %v to be back at an Agent, expected at most %v", worst.Round(time.Millisecond), limit)
	}
}

// load judges the requests of the phase. Those of rooms whose shard was killed
// may fail.
func (j *judgement) load(p *phase, res *scenarios.PhaseResult) {
	want, load := p.spec.Expect.Load, j.s.system.load
	if load == nil {
		return
	}
	var killed []string
	for _, d := range p.deeds {
		if d.Kind == scenarios.ActKill && d.Shard != "" {
			killed = append(killed, d.Shard)
		}
	}
	sum := load.summary(p.begin, p.end, killed)
	res.Facts = append(res.Facts, "load: "+sum.String())
	if want == nil {
		return
	}
	switch {
	case sum.answered == 0:
		j.proveNothing(p, "no request of the load was answered by a shard that lives")
	case sum.failed > want.Failed:
		j.against(p, "%d requests of the load failed, expected at most %d: %s", sum.failed, want.Failed, sum.firstFailure)
	case sum.slowest > want.Slowest:
		j.against(p, "a request of the load took %v, expected at most %v", sum.slowest.Round(time.Millisecond), want.Slowest)
	}
	for _, shard := range want.Placed {
		if sum.placed[shard] == 0 {
			j.against(p, "shard %s got none of %d new rooms", shard, sum.rooms())
		}
	}
	for _, shard := range slices.Sorted(maps.Keys(sum.placed)) {
		if want.Only && !slices.Contains(want.Placed, shard) {
			j.against(p, "shard %s got %d new rooms, expected none", shard, sum.placed[shard])
		}
	}
	if len(want.Placed) > 0 && sum.rooms() == 0 {
		j.proveNothing(p, "no new room was made")
	}
}

// shardAt is the shard whose rendezvous has an address; "" if none has.
func (y *system) shardAt(addr netip.Addr) string { return y.rendezvousAt[addr] }
