package explore

import (
	"cmp"
	"slices"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// Entry is one disturbance of a schedule. It ends by itself: the network is whole
// again behind the last one. One of Event, Server and Quiet says what it is.
type Entry struct {
	// At is when it begins, from the moment at which the peers are told to connect.
	At time.Duration
	// Event is done to the lab.
	Event sim.Event
	// Server, "rendezvous" or "relay", is down for For, and then starts anew. A peer
	// (scenarios.OnPeer) does so at once.
	Server string
	// Quiet: no payload for For.
	Quiet bool
	For   time.Duration
}

// lasting is how long it takes.
func (e Entry) lasting() time.Duration {
	switch v := e.Event; v.Kind {
	case "":
		return e.For
	case sim.EventFlap:
		return time.Duration(v.Times) * (v.Down + v.Up)
	case sim.EventMove:
		return v.Gap + v.Overlap
	}
	return e.Event.For
}

// end is when it is over.
func (e Entry) end() time.Duration { return e.At + e.lasting() }

// restarted is the peer that starts anew; false: none does.
func (e Entry) restarted() (peer string, ok bool) {
	return scenarios.Action{Kind: scenarios.ActRestart, Target: e.Server}.PeerOf()
}

// serial reports whether it is an action, of which one is done at a time, and no
// event of the timeline.
func (e Entry) serial() bool { return e.Event.Kind == "" }

// Schedule are disturbances in the order of their beginning.
type Schedule []Entry

func (s Schedule) sorted() Schedule {
	out := slices.Clone(s)
	slices.SortStableFunc(out, func(a, b Entry) int { return cmp.Compare(a.At, b.At) })
	return out
}

// end is when all is over.
func (s Schedule) end() (last time.Duration) {
	for _, e := range s {
		last = max(last, e.end())
	}
	return last
}

// playable reports whether the entries do not get into each other's way: what
// gives a link other impairments for a time puts back those that it found, so that
// two of them on one link could leave it impaired; a host makes one handover at a
// time; and actions are done one after the other.
func (s Schedule) playable() bool {
	same := func(a, b Entry) bool {
		switch {
		case a.serial() || b.serial():
			return a.serial() && b.serial()
		case a.Event.Kind != b.Event.Kind:
			return false
		case a.Event.Kind == sim.EventImpair:
			return a.Event.Link == b.Event.Link
		case a.Event.Kind == sim.EventMove:
			return a.Event.Host == b.Event.Host
		}
		return false
	}
	for i, a := range s {
		for _, b := range s[i+1:] {
			if same(a, b) && a.At <= b.end() && b.At <= a.end() {
				return false
			}
		}
	}
	return true
}

// moves reports whether all moves in the schedule go somewhere: a host that
// moves to where it is does nothing.
func (s Schedule) moves(lab *sim.Lab) bool {
	active := map[string]string{}
	for _, e := range s.sorted() {
		if e.Event.Kind != sim.EventMove {
			continue
		}
		h, _ := lab.Host(e.Event.Host)
		at, moved := active[h.Name]
		if !moved {
			at = h.ActiveUplink()
		}
		if at == e.Event.Uplink {
			return false
		}
		active[h.Name] = e.Event.Uplink
	}
	return true
}
