// Package search finds a port by chance. A NAT that gives each destination a port
// drawn at random hides it from everybody; but it gives one for each socket. So one
// side opens many sockets and sends from each to the other, which makes as many
// mappings; the other side probes ports of the first one's address at random, all of
// them from one socket. They meet as two of a party share a birthday: with K of N
// ports open, P probes to different ports miss all of them with the probability
// ∏ (N−K−i)/(N−i), i from 0 to P−1. Of 64,512 ports, 256 sockets: 174 probes hit in
// half of all cases, 1024 in 98.35 %, 2048 in 99.97 %.
//
// It takes that one side's socket has one port for everybody: where both NATs draw at
// random, each probe would have to guess two ports at once, which takes 170,000 probes a
// side for 99.9 %. Nobody should; the relay is there.
//
// What it costs is bounded by constants: an Opener sends at most one datagram each
// OpenEvery, a Prober one each ProbeEvery and Probes in all; who is late catches up, ten
// at once at most. Both are plans only: who owns
// sockets does as they say, and stops at the first hit. They have no I/O and no clock.
package search

import "time"

const (
	// Sockets is how many the one side opens, Probes how many ports the other
	// probes at most.
	Sockets = 256
	Probes  = 2048
	// FirstPort is the lowest port that NATs draw: they leave out the well-known
	// ones (RFC 4787 section 4.2.1). Ports is how many there are from there.
	FirstPort = 1024
	Ports     = 65536 - FirstPort

	// ProbeEvery is the pace of probes: 200 a second, as close as ICE lets checks
	// be (RFC 8445 section 14.2). They are half as many packets as a game server
	// sends to one player and a quarter of what home routers begin to take for a
	// flood. A search takes 0.9 s in half of all cases, and 10.3 s at most.
	ProbeEvery = 5 * time.Millisecond
	// OpenEvery is the pace at which sockets are opened: half a second for all.
	// Their datagrams go to one open port of a peer that waits for them.
	OpenEvery = 2 * time.Millisecond
	// OpenAgain is when each socket sends again, before a NAT forgets a mapping
	// that nothing has come back to (10 s, MikroTik's for one-way traffic).
	OpenAgain = 8 * time.Second
	// mostBehind is how many datagrams may follow at once because whoever drives the plan
	// came late: on a busy machine 5 ms become 20, and a search that would not catch up
	// would be over after a quarter of its probes.
	mostBehind = 10
	// Longest bounds a search: its probes, and a while for the last ones to be
	// answered.
	Longest = Probes*ProbeEvery + 2*time.Second
)

// paced is when the datagram after one that was due at due, and leaves now, is due.
func paced(due, now time.Time, every time.Duration) time.Time {
	if oldest := now.Add(-mostBehind * every); due.Before(oldest) {
		due = oldest
	}
	return due.Add(every)
}

// Chance is the probability that at least one of so many probes, each to another
// port, meets one of so many open ones.
func Chance(sockets, probes, ports int) float64 {
	miss := 1.0
	for i := range probes {
		miss *= float64(ports-sockets-i) / float64(ports-i)
		if miss <= 0 {
			return 1
		}
	}
	return 1 - miss
}
