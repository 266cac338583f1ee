package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"p2pmodel/scenarios"
)

// serversWords says which servers an action is about.
func serversWords(a scenarios.Action) string {
	switch {
	case a.ShardOf != "":
		return "the shard of room " + a.ShardOf
	case a.Shard != "":
		return "shard " + a.Shard
	}
	return "the servers of " + a.Target
}

// systemActionWords says what an action about servers does.
func systemActionWords(a scenarios.Action) string {
	switch a.Kind {
	case scenarios.ActKill:
		return "kill -9 of " + serversWords(a)
	case scenarios.ActStart:
		return serversWords(a) + " starts"
	case scenarios.ActDrain:
		if a.For == 0 {
			return serversWords(a) + " drains"
		}
		return fmt.Sprintf("%s drains, and hands over after %v", serversWords(a), a.For)
	}
	return string(a.Kind)
}

// systemExpectWords says what a phase expects of a system.
func systemExpectWords(e scenarios.Expect) (text string) {
	for _, room := range slices.Sorted(maps.Keys(e.Rooms)) {
		text += fmt.Sprintf(", room %s %s", room, e.Rooms[room])
	}
	if e.Moved > 0 {
		text += fmt.Sprintf(" within %v", e.Moved)
	}
	if e.Resumed > 0 {
		text += fmt.Sprintf(", players back at another Agent within %v", e.Resumed)
	}
	if l := e.Load; l != nil {
		text += fmt.Sprintf(", of the load %s fails and none takes longer than %v", atMost(l.Failed), l.Slowest)
		if len(l.Placed) > 0 {
			text += ", new rooms on " + strings.Join(l.Placed, " and ")
			if l.Only {
				text += " only"
			}
		}
	}
	for _, s := range e.Scans {
		var open []string
		for _, host := range slices.Sorted(maps.Keys(s.Open)) {
			for _, p := range s.Open[host] {
				open = append(open, host+" "+p.String())
			}
		}
		text += fmt.Sprintf(", a scan from %s finds %s and nothing more", s.From, strings.Join(open, ", "))
	}
	if e.OneOwner {
		text += ", no room with two owners"
	}
	return text
}

func atMost(n int) string {
	if n == 0 {
		return "nothing"
	}
	return fmt.Sprintf("at most %d", n)
}

// system lists the servers, the rooms and the load.
func (d description) system(sc *scenarios.Scenario) {
	s := sc.System
	d.item("engines on " + strings.Join(s.Engines, ", ") + "; directories on " + strings.Join(s.Directories, ", "))
	d.item("agents on " + strings.Join(s.Agents, ", "))
	for _, k := range s.Shards {
		text := fmt.Sprintf("shard %s: Lobby and Game on %s, rendezvous on %s, relay on %s", k.Name, k.Host, k.Rendezvous, k.Relay)
		if k.Later {
			text += "; it does not run from the start"
		}
		d.item(text)
	}
	for _, p := range sc.Peers {
		if p.Name != p.Host {
			d.item(fmt.Sprintf("player %s on host %s", p.Name, p.Host))
		}
	}
	for _, r := range sc.Rooms {
		d.item(fmt.Sprintf("%s play in room %s: each is connected to each", strings.Join(r.Peers, ", "), r.Name))
	}
	if l := sc.Load; l != nil {
		text := fmt.Sprintf("load from %s: %s of two clients, each of which asks every %v", l.Host, plural(l.Rooms, "room", "rooms"), l.Every)
		if l.Fresh > 0 {
			text += fmt.Sprintf("; a new room every %v", l.Fresh)
		}
		d.item(text)
	}
}
