package scenarios

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"p2pmodel/sim"
)

// Program is a command that runs on a host of the lab: a server or client of
// somebody else's, or what stands in a peer's place.
type Program struct {
	Name, Host string
	// Run is the command and its arguments, Needs further commands that it starts
	// itself. In Run, Env, Dir and the file of Ready, $LAB_NAME and ${LAB_NAME} stand
	// for values of the lab's (see ProgramVariables).
	Run, Needs []string
	// User is the name or number of the user that it runs as; "": ours.
	User string
	// Env are further variables, NAME=VALUE.
	Env []string
	// Dir is where it runs, relative to the scenario file; "": a folder that all
	// programs of the run share, and that is removed with it.
	Dir   string
	Ready Ready
	// Adapter: each line of its standard output that is a JSON object is an event
	// (package scenarios/adapter).
	Adapter bool
	Stop    Stop
}

// Ready says when a program counts as ready. Without any, it is ready once it
// runs; with an adapter, once it says so.
type Ready struct {
	Port PortRange // of one port; Protocol "": none
	Line string    // a regular expression that a line of its output matches
	File string    // a file that it has written, relative to its folder
	// Within is how long it may take.
	Within time.Duration
}

// Any reports whether there is something to wait for.
func (r Ready) Any() bool { return r.Port.Protocol != "" || r.Line != "" || r.File != "" }

// Stop says how a program is ended.
type Stop struct {
	Signal string // a key of StopSignals
	// Within is how long it may take; then it is killed.
	Within time.Duration
}

// StopSignals are the signals that end programs, by name.
var StopSignals = map[string]int{"hup": 1, "int": 2, "quit": 3, "kill": 9, "usr1": 10, "usr2": 12, "term": 15}

// Defaults of programs.
const (
	DefaultReadyWithin = 10 * time.Second
	DefaultStopSignal  = "term"
	DefaultStopWithin  = 2 * time.Second
	// DefaultProgramsWithin is how long programs may take for what a phase expects
	// of them.
	DefaultProgramsWithin = 20 * time.Second
)

// Foreign reports whether the peers are programs of somebody else's.
func (sc *Scenario) Foreign() bool {
	return len(sc.Peers) > 0 && sc.Peers[0].Program != nil
}

// AllPrograms are the programs, and then those of peers.
func (sc *Scenario) AllPrograms() []*Program {
	all := slices.Clone(sc.Programs)
	for _, p := range sc.Peers {
		if p.Program != nil {
			all = append(all, p.Program)
		}
	}
	return all
}

// ServedBy is the program that is the rendezvous or a relay (ServerRendezvous, one
// of RelayNames) because it runs on that host; nil: there is none.
func (sc *Scenario) ServedBy(server string) *Program {
	host := sc.Rendezvous
	if server != ServerRendezvous {
		host = sc.RelayHost(server)
	}
	i := slices.IndexFunc(sc.Programs, func(p *Program) bool { return p.Host == host })
	if host == "" || i < 0 {
		return nil
	}
	return sc.Programs[i]
}

// DeliveredExpect is payload that has to come from one host to another.
type DeliveredExpect struct {
	From, To string // hosts
	// Bytes is how much at least, of UDP and TCP payload; 0: none may arrive.
	Bytes int
	// Over is the path that it takes, Direct or Relay, and all of it; "": any.
	Over Path
}

// Variables of programs, beside those of sim.Environ.
const (
	VarRendezvous    = "LAB_RENDEZVOUS"     // IP:PORT
	VarRelay         = "LAB_RELAY"          // IP:PORT
	VarRelayUser     = "LAB_RELAY_USER"     // of our relay
	VarRelayPassword = "LAB_RELAY_PASSWORD" // of our relay
	VarRelayRealm    = "LAB_RELAY_REALM"    // of our relay
	VarDir           = "LAB_DIR"            // the folder that all programs of the run share
	VarHost          = "LAB_HOST"           // the program's host
	VarName          = "LAB_NAME"           // the program's or the peer's name
	VarPeer          = "LAB_PEER"           // of a peer that connects to one other: that one's name
	VarDials         = "LAB_DIALS"          // of the same: 1 for the first of the pair, else 0
)

// ProgramVariables are the names of all variables that programs of the scenario
// have of the lab.
func (sc *Scenario) ProgramVariables() []string {
	names := []string{VarDir, VarHost, VarName, VarPeer, VarDials}
	if sc.Rendezvous != "" {
		names = append(names, VarRendezvous)
	}
	if sc.Relay != "" {
		names = append(names, VarRelay, VarRelayUser, VarRelayPassword, VarRelayRealm)
	}
	if plan, err := sc.Lab.Plan(); err == nil {
		for _, v := range sim.Environ(sc.Lab, plan) {
			name, _, _ := strings.Cut(v, "=")
			names = append(names, name)
		}
	}
	return names
}

var labVariable = regexp.MustCompile(`\$(\{LAB_[A-Z0-9_]+\}|LAB_[A-Z0-9_]+)`)

// LabVariables are the names of the lab's variables that a text uses.
func LabVariables(text string) (names []string) {
	for _, v := range labVariable.FindAllString(text, -1) {
		names = append(names, strings.Trim(v, "${}"))
	}
	return names
}

// ExpandLab replaces the lab's variables in a text. Others, and those that value
// gives nothing for, stay: a shell may know them.
func ExpandLab(text string, value func(name string) (string, bool)) string {
	return labVariable.ReplaceAllStringFunc(text, func(v string) string {
		if to, known := value(strings.Trim(v, "${}")); known {
			return to
		}
		return v
	})
}
