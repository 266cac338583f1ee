package scenarios

import (
	"fmt"
	"time"

	"p2pmodel/nat/certify"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// Verdict is what a run is judged to be.
type Verdict string

// The verdicts, from good to bad.
const (
	// Expected: what had to happen did, and so did it in every control.
	Expected Verdict = "expected"
	// Vacuous: what had to happen did, but a control shows that it proves
	// nothing.
	Vacuous Verdict = "vacuous"
	// Unexpected: something else happened.
	Unexpected Verdict = "unexpected"
	// Broken: the laboratory failed, so that nothing can be said of the system.
	Broken Verdict = "broken"
)

// Path is a path of payload as expected or observed.
type Path string

// The paths.
const (
	Direct Path = "direct"
	Relay  Path = "relay"
	None   Path = "none"
	Mixed  Path = "mixed"
	// NoPath is that of scenarios without peers, which have none.
	NoPath Path = ""
)

// Report is the outcome of running scenarios: what results.json holds.
type Report struct {
	Schema    int       `json:"schema"` // 1
	Fabric    string    `json:"fabric"`
	Seed      uint64    `json:"seed"`
	Version   string    `json:"version,omitempty"`
	RealTime  bool      `json:"real_time,omitempty"` // times as the files have them, unscaled
	Started   time.Time `json:"started"`
	Scenarios []*Result `json:"scenarios"`
	// Skipped were to be run with the rest, and the fabric cannot. They count for
	// nothing.
	Skipped []Skipped `json:"skipped,omitempty"`
}

// Skipped is a scenario that was not run, and why.
type Skipped struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`

	// Scenario is for the reports that people read.
	Scenario *Scenario `json:"-"`
}

// Result is the outcome of one scenario with its controls.
type Result struct {
	ID         string          `json:"id"`
	Title      string          `json:"title"`
	Seed       uint64          `json:"seed"` // with which this run is replayed
	Verdict    Verdict         `json:"verdict"`
	Reason     string          `json:"reason"` // the verdict in a sentence
	Expected   ExpectedPath    `json:"expected"`
	Observed   ObservedPath    `json:"observed"`
	Controls   []ControlResult `json:"controls"`
	NATs       []NATResult     `json:"nats"`
	Links      []LinkResult    `json:"links,omitempty"` // of the scenario's own run
	Phases     []PhaseResult   `json:"phases,omitempty"`
	Drops      *DropsResult    `json:"drops,omitempty"` // of the scenario's own run
	Pairs      []PairResult    `json:"pairs,omitempty"`
	Searches   []SearchResult  `json:"searches,omitempty"` // of the scenario's own run
	Events     []EventResult   `json:"events,omitempty"`   // of the scenario's own run
	DurationMS float64         `json:"duration_ms"`
	// Capsule is the file with everything that is known of a failure: its path, from
	// the report's folder where it is part of a report; "": there is none.
	Capsule string `json:"capsule,omitempty"`

	// Scenario and Run are for the reports that people read; they are not part
	// of results.json. Run is nil where the lab could not be built.
	Scenario *Scenario `json:"-"`
	Run      *Run      `json:"-"`
}

// ExpectedPath is the path that had to come.
type ExpectedPath struct {
	Path Path `json:"path"`
	// Oracle is what the model of the NATs says, and why.
	Oracle string `json:"oracle,omitempty"`
}

// ObservedPath is the path that the witness saw. Times count from the moment
// at which both peers had been introduced, and had something to say; -1: it never
// came.
type ObservedPath struct {
	Path              Path    `json:"path"`
	TimeToFirstByteMS float64 `json:"time_to_first_byte_ms"`
	TimeToDirectMS    float64 `json:"time_to_direct_ms"`
}

// ControlResult is the outcome of one control. Its verdict is Expected when its
// own expected outcome came.
type ControlResult struct {
	Name     string  `json:"name"`
	Why      string  `json:"why,omitempty"` // what it guards against
	Verdict  Verdict `json:"verdict"`
	Reason   string  `json:"reason"`
	Expected Path    `json:"expected"`
	Observed Path    `json:"observed"`

	Run *Run `json:"-"`
}

// NATResult is the certification of one NAT.
type NATResult struct {
	Router   string `json:"router"`
	Declared string `json:"declared"`
	Measured string `json:"measured"`

	Findings []certify.Finding `json:"-"`
}

// LinkResult is what one direction of an impaired link promises, and what was
// measured of it before the run and during it.
type LinkResult struct {
	Link      string `json:"link"`
	Direction string `json:"direction"` // up or down
	Promised  string `json:"promised"`
	// DelayMS is the median delay of Sent probes, of which Lost did not arrive, and
	// OffMS what it was more than the model had given them; negative: less.
	DelayMS float64 `json:"delay_ms"`
	OffMS   float64 `json:"off_ms"`
	Sent    int     `json:"sent"`
	Lost    int     `json:"lost"`
	// Packets passed in the run; half of them were at most LateP50MS later than the
	// model had given them, all but one in a hundred at most LateP99MS.
	Packets   uint64  `json:"packets"`
	LateP50MS float64 `json:"late_p50_ms"`
	LateP99MS float64 `json:"late_p99_ms"`
}

// PhaseResult is the outcome of one phase of a scenario that has several, or of the
// only one if there are facts to tell.
type PhaseResult struct {
	Name     string `json:"name"`
	Expected Path   `json:"expected"`
	Observed Path   `json:"observed"`
	// GapMS is the longest silence of arriving payload around the change that
	// began the phase; 0 for a phase that began with none. Time in which the machine
	// that the lab runs on let a peer not speak is not counted; of that silence it
	// was StoodMS. In virtual time there is none.
	GapMS      float64 `json:"gap_ms"`
	StoodMS    float64 `json:"stood_ms,omitempty"`
	Lost       int     `json:"lost"`       // payload datagrams sent in the phase that never arrived
	Duplicates int     `json:"duplicates"` // arrived more than once at the application
	// RecoveryMS is the time from the change to the first payload after it.
	RecoveryMS float64  `json:"recovery_ms"`
	Session    string   `json:"session,omitempty"`
	Facts      []string `json:"facts,omitempty"` // that each fault fired, and by what it was seen
}

// EventResult is something that was done to the lab.
type EventResult struct {
	// AtMS is when it was begun, from the beginning of the first phase; less than 0:
	// before it.
	AtMS  float64   `json:"at_ms"`
	Phase string    `json:"phase,omitempty"`
	Event sim.Event `json:"event"`
	Proof sim.Proof `json:"proof"`
	// Timeline says that it was done beside the phases, and is no action of one.
	Timeline bool `json:"timeline,omitempty"`
}

// PairResult is the outcome for one pair of a scenario that has several.
type PairResult struct {
	A        string `json:"a"`
	B        string `json:"b"`
	Expected Path   `json:"expected"`
	Observed Path   `json:"observed"`
}

// SearchResult is a birthday search that one peer made for a port of another's.
type SearchResult struct {
	By     string `json:"by"`
	For    string `json:"for"`
	Probes int    `json:"probes"`
	// Hit is which of the probes met a port that was open, from 1; 0: none did.
	Hit int `json:"hit"`
}

// Run is everything that was recorded of one run, for reports.
type Run struct {
	Name    string // "" for the scenario itself, else the control's name
	Lab     *sim.Lab
	Plan    *sim.Plan
	Started time.Time
	Phases  []PhaseSpan
	Events  []EventMark // by time
	Packets []witness.Packet
	// Drops are the packets that died, DropsMissing says why some may be missing, and
	// Unexplained counts those of which nothing tells why they ended.
	Drops        []witness.Drop
	DropsMissing string
	Unexplained  int
	Rules        map[string]string // router → rendered rules
	Mappings     map[string]string // router → mappings at the end
	Log          []LogLine
	Evidence     []string  // the sentences on which the verdict stands
	Pair         [2]string // the first pair's hosts, whose ladder is drawn
	Servers      []string  // hosts on which rendezvous and relay run
	Introduced   time.Time
	Programs     []ProgramRun
}

// ProgramRun is what became of a program that is not ours. What it printed is in
// the run's log.
type ProgramRun struct {
	Name, Host string
	Command    []string
	// Ended: it ended before it was asked to, with this exit status.
	Ended  bool
	Status int
}

// EventMark is when an event was begun, and what it is in a line.
type EventMark struct {
	At   time.Time
	Text string
}

// PhaseSpan is when a phase of a run began and ended.
type PhaseSpan struct {
	Name       string
	Begin, End time.Time
}

// LogLine is one line of a run's log.
type LogLine struct {
	At   time.Time
	From string // "lab", or the name of a peer or service
	Text string
}

// Restore computes what is not passed on when a run is sent to another process:
// the plan, and what is read from packets.
func (r *Run) Restore() error {
	plan, err := r.Lab.Plan()
	if err != nil {
		return fmt.Errorf("plan of the lab: %w", err)
	}
	r.Plan = plan
	for i, p := range r.Packets {
		if r.Packets[i], err = witness.Parse(p.At, p.Point, p.Direction, p.Data); err != nil {
			return fmt.Errorf("packet %d: %w", i, err)
		}
	}
	return nil
}
