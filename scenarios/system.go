package scenarios

import (
	"slices"
	"time"
)

// System is the shard structure as the system under test: its servers run as
// processes of p2pmodel on hosts of the lab, and the peers of the scenario are
// players, who log in at an Agent.
type System struct {
	// Engines, Directories and Agents are the hosts on which these run. An engine
	// and a directory may share a host.
	Engines, Directories, Agents []string
	Shards                       []Shard
}

// Shard is one shard: Lobby and Game on one host, and its UDP servers.
type Shard struct {
	Name                    string
	Host, Rendezvous, Relay string
	// Later: it does not run from the start; an action starts it.
	Later bool
}

// Hosts are the hosts of all parts of the shard.
func (s Shard) Hosts() []string { return []string{s.Host, s.Rendezvous, s.Relay} }

// Room is a room of the system, and who plays in it: each is connected to each.
type Room struct {
	Name  string
	Peers []string
}

// ClientLoad are further clients, all on one host, that keep asking: each room of
// theirs has two, of which each asks once every interval.
type ClientLoad struct {
	Host  string
	Rooms int
	// Every is the time between two requests of a client.
	Every time.Duration
	// Fresh is the time between two new rooms that they make besides, each of which
	// is left soon; 0: none.
	Fresh time.Duration
}

// Shard gives the shard of this name.
func (s *System) Shard(name string) (Shard, bool) {
	i := slices.IndexFunc(s.Shards, func(k Shard) bool { return k.Name == name })
	if i < 0 {
		return Shard{}, false
	}
	return s.Shards[i], true
}

// Hosts are all hosts on which servers of the system run, each once.
func (s *System) Hosts() []string {
	all := slices.Concat(s.Engines, s.Directories, s.Agents)
	for _, k := range s.Shards {
		all = append(all, k.Hosts()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// RendezvousHosts are the hosts on which a rendezvous runs.
func (sc *Scenario) RendezvousHosts() []string {
	if sc.System == nil {
		if sc.Rendezvous == "" {
			return nil
		}
		return []string{sc.Rendezvous}
	}
	var hosts []string
	for _, k := range sc.System.Shards {
		hosts = append(hosts, k.Rendezvous)
	}
	return hosts
}

// RelayHosts are the hosts on which a relay runs; none where there is no relay.
func (sc *Scenario) RelayHosts() []string {
	if sc.System == nil {
		if sc.Relay == "" || len(sc.Relays) > 0 {
			return sc.Relays
		}
		return []string{sc.Relay}
	}
	var hosts []string
	for _, k := range sc.System.Shards {
		hosts = append(hosts, k.Relay)
	}
	return hosts
}

// Pairs are the pairs of peers that have to be connected.
func (sc *Scenario) Pairs() [][2]string {
	if sc.Room == "" && sc.System == nil {
		return sc.Connect
	}
	var out [][2]string
	for _, members := range sc.Groups() {
		for i, a := range members {
			for _, b := range members[i+1:] {
				out = append(out, [2]string{a, b})
			}
		}
	}
	return out
}

// Groups are the peers that form a full mesh with each other: those of each room.
// There are none where pairs connect.
func (sc *Scenario) Groups() [][]string {
	var out [][]string
	for _, r := range sc.Rooms {
		out = append(out, r.Peers)
	}
	if sc.Room != "" {
		var all []string
		for _, p := range sc.Peers {
			all = append(all, p.Name)
		}
		out = append(out, all)
	}
	return out
}

// What may have become of a room since the phase before.
const (
	RoomStayed = "stayed" // the same shard has it
	RoomMoved  = "moved"  // another shard has it
)

// LoadExpect is what has to come of the load in a phase.
type LoadExpect struct {
	// Failed is the most requests that may fail, Slowest the longest that one may
	// take; of rooms whose shard was not killed in the phase.
	Failed  int
	Slowest time.Duration
	// Placed are shards that must have got new rooms; with Only, no others may.
	Placed []string
	Only   bool
}

// ScanExpect is what a scan of all ports of all servers has to find.
type ScanExpect struct {
	// From is the host that scans.
	From string
	// Open is what it finds, by host: "tcp/443", "udp/3478-3479".
	Open map[string][]PortRange
}

// PortRange is ports of a protocol.
type PortRange struct {
	Protocol  string // "tcp" or "udp"
	Low, High uint16
}
