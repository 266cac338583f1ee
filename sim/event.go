package sim

import (
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim/link"
)

// EventKind is what an Event does.
type EventKind string

// The kinds of events. In brackets: the key that a value without a key is for.
const (
	EventReboot     EventKind = "reboot"     // [router], new-address
	EventFlush      EventKind = "flush"      // [router]
	EventSwap       EventKind = "swap"       // router, nat
	EventRebind     EventKind = "rebind"     // [router], host
	EventMove       EventKind = "move"       // host, uplink, gap or overlap
	EventCut        EventKind = "cut"        // [link], for
	EventRestore    EventKind = "restore"    // [link]
	EventFlap       EventKind = "flap"       // link, down, times and up, or every and for
	EventBlackhole  EventKind = "blackhole"  // link, direction, for
	EventImpair     EventKind = "impair"     // link, the keys of a link, for
	EventPartition  EventKind = "partition"  // [groups], for
	EventHeal       EventKind = "heal"       // nothing
	EventRestrict   EventKind = "restrict"   // host, to, for
	EventUnrestrict EventKind = "unrestrict" // [host]
	EventLogin      EventKind = "login"      // [host], router
	EventInject     EventKind = "inject"     // host, for, every, seed
	EventKill       EventKind = "kill"       // [program], host
	EventPause      EventKind = "pause"      // [program], host, for
	EventResume     EventKind = "resume"     // [program], host
	EventRestart    EventKind = "restart"    // [program], host
	EventWait       EventKind = "wait"       // [for]
)

// Event is something that is done to a lab while it stands. It is a value: the
// same from a file, from Go and from a command line. Which fields count is the
// kind's; the others are zero.
type Event struct {
	Kind EventKind

	// Router is whose NAT or firewall reboots, whose NAT is flushed, swapped or
	// rebound, or at whose portal a host logs in; empty there: at all in front of it.
	Router string
	// NewAddress has a rebooted router come back with external addresses that it
	// never had.
	NewAddress bool
	// NAT is the behaviour that is swapped in; Preset the name that it was given
	// by, for people, and may be empty.
	NAT    nat.Behavior
	Preset string

	// Host is who moves, is restricted, logs in or injects; with rebind, whose mappings; with the
	// programs' kinds, whose programs, where it is not empty.
	Host string
	// Uplink is where the host moves to. Gap is how long it has no uplink at all
	// (break before make); Overlap how long it has both (make before break). One
	// of them at most.
	Uplink       string
	Gap, Overlap time.Duration
	// To are the hosts that a restricted one may still send to.
	To []string
	// Groups are hosts that a partition keeps from those of the other groups.
	Groups [][]string

	// Link is what is cut, restored, flapping, a black hole, or impaired.
	Link LinkID
	// Direction is the way that a black hole swallows.
	Direction Direction
	// Down is how long a flapping link is cut each time. It is cut Times times,
	// with Up between; or each Every, for as long as For.
	Times    int
	Down, Up time.Duration
	Every    time.Duration
	// Seed draws what is injected, a datagram each Every for as long as For.
	Seed uint64
	// Impairments are what the link is to do from now on.
	Impairments Impairments

	// Program names the program; empty: all of the host.
	Program string

	// For is how long a fault lasts, after which it ends by itself; 0: until it
	// is ended. Of a wait it is all there is.
	For time.Duration
}

// Impairments are what a link does to packets in both directions.
type Impairments struct {
	Up   link.Impairment // towards the Internet
	Down link.Impairment // away from it
}

// Direction is a way of a link.
type Direction string

// The directions of a link; the zero value is no direction.
const (
	Up   Direction = "up"   // from the node towards the Internet
	Down Direction = "down" // from the Internet to the node
)

// EventKinds are all kinds, in the order in which they are explained.
func EventKinds() []EventKind {
	var all []EventKind
	for _, f := range eventForms {
		all = append(all, f.kind)
	}
	return all
}

// eventForm is what an event of a kind looks like in files and on the command
// line.
type eventForm struct {
	kind EventKind
	keys []string // in the order in which people write them
	// alone is the key that a value without keys is for.
	alone string
	help  string
}

// Keys of events.
const (
	keyRouter     = "router"
	keyNewAddress = "new-address"
	keyNAT        = "nat"
	keyHost       = "host"
	keyUplink     = "uplink"
	keyGap        = "gap"
	keyOverlap    = "overlap"
	keyTo         = "to"
	keyGroups     = "groups"
	keyLink       = "link"
	keyDirection  = "direction"
	keyTimes      = "times"
	keyDown       = "down"
	keyUp         = "up"
	keyEvery      = "every"
	keyFor        = "for"
	keyProgram    = "program"
	keySeed       = "seed"
)

var eventForms = []eventForm{
	{EventReboot, []string{keyRouter, keyNewAddress}, keyRouter,
		"A router loses the state of its NAT and firewall; with new-address also its external addresses, for ones that it never had."},
	{EventFlush, []string{keyRouter}, keyRouter,
		"A NAT forgets its mappings and filters; unlike with a reboot, its counters and the firewall's flows stay."},
	{EventSwap, []string{keyRouter, keyNAT}, "",
		"A router's NAT becomes another one; its state is lost."},
	{EventRebind, []string{keyRouter, keyHost}, keyRouter,
		"Silently, the live mappings of a router, or of one host behind it, end, and the next packet of each gets another external port."},
	{EventMove, []string{keyHost, keyUplink, keyGap, keyOverlap}, "",
		"A host goes to another of its uplinks: at once, after a gap without any, or with both for a while."},
	{EventCut, []string{keyLink, keyFor}, keyLink,
		"A link loses everything, both ways, and nobody is told."},
	{EventRestore, []string{keyLink}, keyLink,
		"A link that was cut or a black hole works again."},
	{EventFlap, []string{keyLink, keyTimes, keyDown, keyUp, keyEvery, keyFor}, "",
		"A link fails again and again: times times, for down with up between; or for down each every, for so long."},
	{EventBlackhole, []string{keyLink, keyDirection, keyFor}, "",
		"A link loses everything of one direction, and nobody is told."},
	{EventImpair, []string{keyLink, keyFor}, "",
		"A link gets these impairments instead of those that it has."},
	{EventPartition, []string{keyGroups, keyFor}, keyGroups,
		"Hosts of different groups cannot reach each other; with all others they can."},
	{EventHeal, nil, "", "The partition ends."},
	{EventRestrict, []string{keyHost, keyTo, keyFor}, "",
		"A host can send to these hosts only."},
	{EventUnrestrict, []string{keyHost}, keyHost, "A host may send anywhere again."},
	{EventLogin, []string{keyHost, keyRouter}, keyHost,
		"A host logs in at the captive portal in front of it, or at that of this router."},
	{EventInject, []string{keyHost, keyFor, keyEvery, keySeed}, "",
		"A host sends datagrams that are not its own: captured ones again, such with flipped bits, garbage, and STUN requests of nobody."},
	{EventKill, []string{keyProgram, keyHost}, keyProgram, "Programs get SIGKILL, with all that they started."},
	{EventPause, []string{keyProgram, keyHost, keyFor}, keyProgram, "All processes of programs are stopped (SIGSTOP)."},
	{EventResume, []string{keyProgram, keyHost}, keyProgram, "Programs that were paused go on."},
	{EventRestart, []string{keyProgram, keyHost}, keyProgram, "Programs are killed and started anew, with the same arguments."},
	{EventWait, []string{keyFor}, keyFor, "Nothing is done for so long."},
}

// formOf gives the form of a kind.
func formOf(kind EventKind) (eventForm, bool) {
	for _, f := range eventForms {
		if f.kind == kind {
			return f, true
		}
	}
	return eventForm{}, false
}

// allKeys are the keys of the form, with those of a link where it has them.
func (f eventForm) allKeys() []string {
	if f.kind != EventImpair {
		return f.keys
	}
	return append([]string{keyLink, keyFor}, linkKeys...)
}

// Scaled divides the times of the event, the timeouts of its NAT included: for
// runs in which all times are shorter.
func (e Event) Scaled(by int) Event {
	d := time.Duration(max(by, 1))
	e.Gap /= d
	e.Overlap /= d
	e.Down /= d
	e.Up /= d
	e.Every /= d
	e.For /= d
	e.NAT = e.NAT.Scaled(max(by, 1))
	return e
}

// Ending gives the event that ends what e begins and ends by itself after a time;
// false: e begins nothing that lasts, or does not end it.
func (e Event) Ending() (Event, bool) {
	if e.For == 0 {
		return Event{}, false
	}
	switch e.Kind {
	case EventCut, EventBlackhole:
		return Event{Kind: EventRestore, Link: e.Link}, true
	case EventRestrict:
		return Event{Kind: EventUnrestrict, Host: e.Host}, true
	case EventPartition:
		return Event{Kind: EventHeal}, true
	}
	return Event{}, false
}
