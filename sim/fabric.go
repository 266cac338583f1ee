package sim

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/nat"
	"p2pmodel/nat/certify"
	"p2pmodel/sim/link"
	"p2pmodel/sim/witness"
)

// Options are how a lab is built, whatever the fabric.
type Options struct {
	// Seed seeds all that is random in the fabric: losses, jitter.
	Seed uint64
	// Capture writes the lab's packets to this file as pcapng, besides keeping
	// them for the witness. Nil: not written.
	Capture io.Writer
	// Connections captures of TCP only what opens and ends connections (SYN, FIN,
	// RST): streams would fill the memory, and no verdict reads them.
	Connections bool
	// Unrecorded keeps no packets for the witness: Packets gives none. It is for
	// labs that stand for long, whose packets would fill the memory.
	Unrecorded bool
	// Log gets a line for each thing that the fabric does. Nil: none.
	Log func(at time.Time, line string)
}

// Fabric is what labs are built on.
type Fabric interface {
	// Name is "kernel" or "virtual".
	Name() string
	// Now is the time that a lab built now begins with.
	Now() time.Time
	// Build builds the lab, which has been validated. When it fails, nothing is
	// left behind.
	Build(ctx context.Context, lab *Lab, opt Options) (Network, error)
}

// Network is a built lab. Its methods are safe for concurrent use, on a virtual
// fabric by those who take turns (see Clock).
type Network interface {
	Lab() *Lab
	Plan() *Plan
	Host(name string) (RunningHost, error)
	Router(name string) (RunningRouter, error)
	Link(id LinkID) (RunningLink, error)
	// Partition loses all packets between hosts of different groups, until Heal;
	// hosts of no group speak with all. Nobody is told, as when a network splits.
	// It may be called again, to part them otherwise. When it returns, no packet
	// passes any more; when it fails, nothing has changed. Hosts behind different
	// NATs cannot be parted: neither is known by its address to the other.
	Partition(groups [][]string) error
	Heal() error
	// Partitioned counts the packets that partitions have taken so far.
	Partitioned() (uint64, error)
	Clock
	// Packets gives what was captured so far, in order of time. The slices are
	// shared and must not be changed.
	Packets() []witness.Packet
	// Drops gives what rules of nodes and links have dropped so far, as they tell it
	// themselves, not in order. With an error the list is not whole, and it says why.
	Drops() ([]witness.Drop, error)
	// Measure sends a short burst of probes through each impaired link, all at once,
	// and tells what they met. It takes a tenth of a second and the links' delays.
	// It leaves no trace: not in captures, counters, NATs or random numbers.
	Measure(ctx context.Context) ([]Measurement, error)
	// Err tells of faults of the laboratory itself so far: packets that captures
	// or links could not keep up with. No verdict stands on such a run.
	Err() error
	// Close ends all programs and machines and removes everything. It returns
	// when nothing is left; it may be called twice.
	Close() error
}

// RunningHost is a host of a built lab.
type RunningHost interface {
	sansio.Network // sockets and addresses in the host's network
	Name() string
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	// Run runs a machine on the host until ctx ends or Stop is called.
	Run(ctx context.Context, m sansio.Machine, onEvent func(at time.Time, e sansio.Event)) (RunningMachine, error)
	// Start starts a program in the host's network, in a PID namespace that
	// dies with this process.
	Start(ctx context.Context, p Program) (RunningProgram, error)
	// Bound reports whether a program on the host has a socket bound to a port of
	// "udp", or listens on one of "tcp".
	Bound(protocol string, port uint16) (bool, error)
	// Scan sends probes to ports of others and tells which of them entered a host,
	// and what came back. It ends with ctx.
	Scan(ctx context.Context, s Scan) (ScanResult, error)
	// Programs are those that were started on the host, in order, whether they
	// still run or not.
	Programs() []RunningProgram
	// Move makes another uplink the active one, break before make: Handover
	// without gap and overlap.
	Move(uplink string) error
	// Handover makes another uplink the active one. With a gap the host has none
	// for so long (break before make); with an overlap it has both for so long
	// (make before break): what chooses no address leaves by the new one, and what
	// has an address of the old one goes on by that. It returns when it is over.
	// When ctx ends before, the host is on the new uplink alone, and the error is
	// ctx's.
	Handover(ctx context.Context, h Handover) error
	// Active is the name of the active uplink.
	Active() string
	// Restrict drops all packets that the host sends, but those to the given
	// addresses. Restrict(nil) drops all; Unrestrict lifts it.
	Restrict(to []netip.Addr) error
	Unrestrict() error
	// Restricted counts the packets that restrictions have taken so far.
	Restricted() (uint64, error)
	// Firewall gives what the host's own firewall has counted since it was built.
	Firewall() (FirewallCounts, error)
	// Fingerprint and Rules are those of RunningRouter, for the host's own firewall.
	Fingerprint() (string, error)
	Rules() (string, error)
}

// Handover is how a host changes its uplink. One of Gap and Overlap at most is
// not zero.
type Handover struct {
	Uplink       string
	Gap, Overlap time.Duration
}

// String gives the handover in words, behind "moves to its uplink".
func (h Handover) String() string {
	switch {
	case h.Gap > 0:
		return fmt.Sprintf("%s after %v without any", h.Uplink, h.Gap)
	case h.Overlap > 0:
		return fmt.Sprintf("%s, with both for %v", h.Uplink, h.Overlap)
	}
	return h.Uplink
}

// RunningMachine is a machine that runs on a host.
type RunningMachine interface {
	// Do calls f between the machine's other calls, with the fabric's time, and
	// then drains the machine. It returns false if the machine has stopped.
	Do(f func(now time.Time)) bool
	// Stop ends the machine, closes its sockets and waits for both.
	Stop() error
}

// Program is a command to run on a host.
type Program struct {
	// Name is what events call it; empty: the last element of Path.
	Name string
	Path string
	Args []string // without the program's name
	Env  []string // nil: this process's
	Dir  string
	// User is the name or number of the user that it runs as, with that user's
	// groups, home and name; "": ours. Without root there is no other.
	User string
	// Hosts is what /etc/hosts says to the program, see HostsFile; other names it
	// asks its own host for, where nobody answers. Empty: what the files of this
	// machine say.
	Hosts string
	// Terminal says that Stdin is a terminal, which becomes the one that controls
	// the program, so that its keys send signals.
	Terminal       bool
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// OnLine is called with each line of both outputs, besides what they are
	// written to: one line at a time, in the order of each output.
	OnLine func(Line)
}

// Line is a line that a program has written.
type Line struct {
	At     time.Time // when it was read
	Stderr bool
	// Text is without its end. Lines of more than 64 KiB come in pieces.
	Text string
}

// RunningProgram is a program that runs on a host.
type RunningProgram interface {
	Name() string
	PID() int
	Signal(sig int) error
	// Stop asks the program to end (SIGTERM) and waits for it; when ctx ends before,
	// it is killed, and the error says so. A program that has ended already is
	// stopped.
	Stop(ctx context.Context) error
	// Kill kills the program and all that it started.
	Kill() error
	// Restart kills it and starts it anew, with the same arguments.
	Restart(ctx context.Context) error
	// Pause stops all of the program's processes, as SIGSTOP does, and returns when
	// each is seen stopped; Resume lets them go on, likewise. A paused program does
	// not end by SIGTERM before it is resumed.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	// Processes are those of the program that live, its first one first.
	Processes() ([]Process, error)
	// Wait waits for the end; the error is *exec.ExitError for a status other
	// than 0. It may be called several times.
	Wait() error
	// Done is closed when the program's present life has ended, and all of its
	// lines were given to OnLine.
	Done() <-chan struct{}
	// State tells how the program is, or how it ended.
	State() ProgramState
}

// Process is one process of a program.
type Process struct {
	PID  int    // as seen from outside
	Name string // of its executable, at most 15 bytes
	// State is the kernel's letter for it (proc(5)): R, S, D, T where it is
	// stopped, Z where it has ended and was not waited for.
	State byte
	// Stopped says that it runs no more before it is told to: its state is T; or D
	// with SIGSTOP pending, as that of a process whose child was stopped between
	// vfork and exec, for which it waits.
	Stopped bool
}

// ProgramState is how a program is, or how its last life ended.
type ProgramState struct {
	Running bool
	// Code is its exit code: 128 plus the signal, if one ended it.
	Code int
	// MaxRSS is the most memory that it has had, in bytes, and User and System the
	// processor time that it took. While it runs, and when it was killed, they are
	// of the program's first process, and times count in steps of 10 ms; when it
	// ended by itself they have what it waited for, too.
	MaxRSS       int64
	User, System time.Duration
}

// RunningRouter is a router of a built lab.
type RunningRouter interface {
	Name() string
	// Behavior is the NAT's present behaviour; false: the router has none.
	Behavior() (nat.Behavior, bool)
	// Certify measures the NAT from its own outer segment, with the link's
	// impairments lifted meanwhile, and then flushes its state and resets its
	// counters.
	Certify(ctx context.Context) (certify.Result, error)
	// Measure is Certify with options, as a report about the requirements of RFC 4787.
	Measure(ctx context.Context, opt certify.Options) (certify.Result, error)
	// Reboot loses the NAT's state; with newAddress it also takes external
	// addresses that it never had.
	Reboot(newAddress bool) error
	// FlushTable empties the NAT's table in one transaction: mappings and filters
	// are forgotten. Its rules and counters stay, those of sequential ports
	// included, and so do the firewall's flows.
	FlushTable() error
	// Rebind ends, in one transaction, the live mappings whose inside address is
	// one of those given; none given: all. Their external ports are closed at once
	// and, where the NAT's table knows ports by themselves, stay taken for the
	// idle timeout, so that the next packet from inside gets another one, also
	// where ports are preserved. Nobody is told. It returns the mappings that
	// ended, as Mappings has them.
	Rebind(inside ...netip.Addr) (ended []string, err error)
	// Swap changes the behaviour in one transaction; state is lost.
	Swap(b nat.Behavior) error
	// Changes are those of the NAT so far by which it lost state, but for those of
	// certifications.
	Changes() []Change
	// External gives the present external addresses.
	External() []netip.Addr
	// Fingerprint stands for the rules in force, those of others included, without
	// what traffic changes: while it stays, the router behaves as it did.
	Fingerprint() (string, error)
	// Firewall gives what the firewall has counted since it was built, or since
	// the last reboot or certification.
	Firewall() (FirewallCounts, error)
	// Login has a host behind the router log in at the portal of its firewall, by
	// HTTP and through whatever stands between. The login is the address's that the
	// router sees; it ends with its time, a reboot, or a certification.
	Login(ctx context.Context, host string) error
	// LoggedIn gives the addresses that are logged in, and how long they will be;
	// 0: for good.
	LoggedIn() (map[netip.Addr]time.Duration, error)
	// Rules renders the rules, Mappings the live mappings, for people.
	Rules() (string, error)
	Mappings() (string, error)
}

// RunningLink is a link of a built lab.
type RunningLink interface {
	// Cut loses all packets of both directions until Restore.
	Cut() error
	// Blackhole loses all packets of one direction until Restore, as they enter
	// the link. Two of them, one for each direction, may be there at once.
	Blackhole(d Direction) error
	// Restore ends a cut and black holes.
	Restore() error
	// Impair changes the impairments of both directions.
	Impair(up, down link.Impairment) error
	// Impairments are those in force.
	Impairments() (up, down link.Impairment)
	// Counts tells what became of the packets of both directions. Of a link that the
	// lab does not declare, only what cuts took is known.
	Counts() (up, down link.Counts)
	// Late tells how late packets left the link, after the time that the model gave
	// them, since the lab stands or Measure was called last.
	Late() (up, down link.Lateness)
	// Lost counts the packets that cuts, black holes and impairments took, by
	// direction.
	Lost() (up, down uint64)
}

// FirewallCounts are what a firewall has counted.
type FirewallCounts struct {
	// Rules are those of its lists, in the order of the lab.
	Rules []RuleCount
	// Entering, Leaving and Between are packets that it dropped: those from
	// outside, those that were to go there, and those from one host behind to
	// another. Spoofed are those whose source address is not reached where they
	// came from.
	Entering, Leaving, Between, Spoofed uint64
	// Captive are packets that it dropped because the host behind was not logged in
	// at the portal, Redirected those that the portal itself got instead.
	Captive, Redirected uint64
}

// RuleCount is a rule of a list, and the flows that it has let begin. A flow
// that was silent for so long that it was forgotten begins again.
type RuleCount struct {
	List  string // its key in files
	Rule  Rule
	Began uint64
}
