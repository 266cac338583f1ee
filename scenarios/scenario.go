// Package scenarios holds the scenarios: what a scenario file says (Scenario),
// the catalogue that ships with the project, and what a run of one comes to
// (Result). Package scenarios/runner runs them, scenarios/report writes about
// them.
package scenarios

import (
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// Scenario is one scenario file, validated.
type Scenario struct {
	ID          string
	Title       string
	Description string
	// File is where it was read from, for messages.
	File string
	// Folder is what paths in the file are relative to.
	Folder string
	// Source is the file's text as it was read, and Referred the files that it names
	// and that are a part of it, by those names: with them ParseAttached reads the
	// same scenario anywhere.
	Source   []byte
	Referred map[string][]byte

	Lab *sim.Lab
	// Rendezvous and Relay name the hosts on which the servers run. Relay may be
	// empty: no relay. Relays are the hosts of all relays where they are several;
	// Relay is the first one then.
	Rendezvous, Relay string
	Relays            []string
	// TLS is the TCP port at which rendezvous and relays also take peers over TLS,
	// whose network lets no UDP out to them; 0: they do not.
	TLS uint16
	// Peers in the order of the file; none where the scenario is about Programs
	// only.
	Peers []Peer
	// Connect lists the pairs of peers that connect; the first of each dials.
	Connect [][2]string
	// Room, where it is not empty, makes every peer join this room instead: a
	// full mesh.
	Room string
	// System, where it is not nil, is the shard structure that stands in the place
	// of Rendezvous and Relay; its peers meet in Rooms instead of Connect or Room.
	System *System
	Rooms  []Room
	// Programs are commands on hosts, in the order in which they start: servers and
	// clients of somebody else's.
	Programs []*Program
	// Load are further clients of the System; nil: none.
	Load *ClientLoad
	// Techniques pins what peers may use to reach each other.
	Techniques []string

	Settings Settings
	Phases   []Phase
	// Events are done beside the phases.
	Events   sim.Timeline
	Controls []Control
	// Explore is what an exploration may do to it; nil: DefaultBounds.
	Explore *Bounds
}

// Peer is one peer of the system under test.
type Peer struct {
	Name string
	Host string
	// Program is what stands in the place of our own peer; nil: ours does. All peers
	// of a scenario are programs, or none.
	Program *Program
}

// PlainPunching is the technique of TC-01 to TC-07: simultaneous checks from one
// socket, no port prediction.
const PlainPunching = "plain"

// The techniques beyond plain punching, which a file names beside or instead of
// it.
const (
	// SplitPaths sends to one address and receives from another.
	SplitPaths = "split"
	// Prediction probes ports that a NAT is about to give.
	Prediction = "prediction"
	// Birthday searches a port by chance, from many sockets.
	Birthday = "birthday"
)

// Techniques are all that there are.
var Techniques = []string{PlainPunching, SplitPaths, Prediction, Birthday}

// Settings are how the peers of a run behave.
type Settings struct {
	// Keepalive is the interval at which idle paths are kept alive; 0: the
	// system's own default; Off: never.
	Keepalive time.Duration
	// Interval is the time between two payload datagrams of a peer; Size their
	// payload in bytes.
	Interval time.Duration
	Size     int
	// Scale divides the times of NATs, keepalives, quiet spells and waits, so
	// that a scenario written with real timeouts takes seconds. 1: as written.
	Scale int
}

// Off is the value of a duration setting that is switched off.
const Off time.Duration = -1

// Defaults of Settings.
const (
	DefaultInterval = 20 * time.Millisecond
	DefaultSize     = 64
)

// Phase is a stretch of a run that begins with actions and ends with a
// judgement.
type Phase struct {
	Name    string
	Actions []Action
	Expect  Expect
}

// What may be expected of a peer's mapping.
const (
	MappingKept = "kept"
	MappingLost = "lost"
)

// The servers of a scenario, as actions name them.
const (
	ServerRendezvous = "rendezvous"
	ServerRelay      = "relay"
)

// Expect is what has to come of a phase.
type Expect struct {
	// Path is the path that payload must take in the end; Mixed: each pair that
	// which the oracle says.
	Path Path
	// Mapping says what must have become of the mapping of a peer's host since
	// the phase before: "kept" or "lost". A mapping counts as lost when the
	// external address or port changed on the wire.
	Mapping map[string]string
	// Reaches names a router that payload must reach, although it must not reach
	// the host behind it. Used with Path None.
	Reaches string
	// Gap bounds the longest silence of arriving payload around the phase's
	// changes; 0: no bound.
	Gap time.Duration
	// Probes bounds at how many different addresses and ports, past the servers, a
	// peer's host may have sent to since the start; 0: no bound.
	Probes int

	// What programs must come to: Exits is the status with which they end, Output a
	// regular expression that what they print in the phase matches.
	Exits  map[string]int
	Output map[string]string
	// Delivered is payload between hosts.
	Delivered []DeliveredExpect
	// Within is how long programs may take for that.
	Within time.Duration

	// The rest is about a System.

	// Rooms says what must have become of rooms since the phase before: "stayed"
	// or "moved".
	Rooms map[string]string
	// Resumed is how long players who lost their Agent may take to be back at
	// another one; 0: nobody must have lost it.
	Resumed time.Duration
	// Moved is how long the players of a room whose shard died may take to have
	// tickets of another one.
	Moved time.Duration
	Load  *LoadExpect
	Scans []ScanExpect
	// OneOwner: by the history of all servers so far, no room had two owners.
	OneOwner bool
}

// ActionKind is what an Action does.
type ActionKind string

// The actions of a phase that are no events of the lab. Those are called as the
// events are; kill and restart are events where they are about programs.
const (
	ActRestart ActionKind = "restart" // server
	ActStop    ActionKind = "stop"    // server
	ActQuiet   ActionKind = "quiet"   // duration without payload
	ActWait    ActionKind = "wait"    // duration with payload
	ActSend    ActionKind = "send"    // from, count: one-sided payload while quiet

	ActKill  ActionKind = "kill"  // host, shard or shard-of: all servers there, by SIGKILL
	ActStart ActionKind = "start" // host or shard: servers that do not run
	ActDrain ActionKind = "drain" // shard or shard-of, deadline
)

// Action is one thing that is done to the lab, the peers or the servers.
type Action struct {
	Kind ActionKind
	// Event is what is done to the lab; the zero Event where the action is about
	// peers or servers.
	Event sim.Event
	// Target is the server, the peer, or the host of servers.
	Target string
	For    time.Duration // quiet and wait; drain: the deadline
	Count  int

	// Shard names a shard, ShardOf a room whose shard is meant, whichever that is
	// at the time; Target, where both are empty, a host.
	Shard, ShardOf string
}

// EventAction is the action that does an event.
func EventAction(e sim.Event) Action { return Action{Kind: ActionKind(e.Kind), Event: e} }

// Control is the same scenario with something changed and an expectation of its
// own.
type Control struct {
	Name string
	// Why says in a sentence what the control guards against.
	Why string
	// NATs replaces the behaviours of routers; a router without NAT whose
	// firewall is to be replaced gets the NAT and loses the firewall.
	NATs map[string]NATChoice
	// Open are routers and hosts whose firewalls are taken away.
	Open []string
	// Before are actions done before the peers start.
	Before []Action
	// Events, where OwnEvents says so, replace those of the scenario.
	Events    sim.Timeline
	OwnEvents bool
	// Techniques, where not nil, replace those of the scenario.
	Techniques []string
	// Keepalive, where not 0, replaces the setting.
	Keepalive time.Duration
	// Phases, where not nil, replace those of the scenario; otherwise the
	// scenario's only phase runs with Expect.
	Phases []Phase
	Expect Expect
}

// NATChoice is a behaviour with the name it was given by.
type NATChoice struct {
	Behavior nat.Behavior
	Preset   string
}
