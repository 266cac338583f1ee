//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
)

// hintFor says what a person can do about an error of the kernel's; it is empty
// where the error speaks for itself.
func hintFor(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return " (run as root, or call kernel.Enter first to run in a user namespace; `natlab doctor` says what is missing)"
	case errors.Is(err, unix.EMFILE):
		return " (this process may open no more files: raise the limit with `ulimit -n 65536`)"
	case errors.Is(err, unix.ENFILE):
		return " (the machine may open no more files: `sysctl -w fs.file-max=1000000`)"
	case errors.Is(err, unix.ENOSPC):
		return " (the machine's limit of namespaces is reached: `sysctl -w user.max_net_namespaces=65536`)"
	case errors.Is(err, unix.EAGAIN):
		return " (this user or the machine may start no more processes: `ulimit -u`, `sysctl -w kernel.pid_max=4194304`, or pids.max of the control group)"
	}
	return ""
}

// ErrLimit is the kind of LimitError.
var ErrLimit = errors.New("the machine's limits do not allow the lab")

// LimitError says that a limit of the machine does not allow a lab. Nothing has
// been built.
type LimitError struct {
	Limit      string // what is limited, as "open files"
	Need, Have uint64 // in Unit; labs of this process that stand are part of Need
	Unit       string
	Nodes      int    // of the lab
	Fix        string // the command that raises it, or advice where no command does
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("a lab of %d nodes needs %d %s of %s, and %d are allowed: run %s", e.Nodes, e.Need, e.Unit, e.Limit, e.Have, e.Fix)
}

// Is makes a LimitError an ErrLimit.
func (e *LimitError) Is(target error) bool { return target == ErrLimit }

// What a lab takes, on Linux 6.18: 4524 descriptors, 0.37 MB of the kernel's memory
// a namespace and 30 MB of this process' stand for 500 peers behind 500 NATs.
// Certifications make another namespace a NAT. All is rounded up.
const (
	descriptorsOfProcess = 256
	descriptorsOfNode    = 12 // namespace, netlink, its log, captures, and what runs
	descriptorsOfLink    = 4  // the ends of an impaired link, until a process of wires has them
	memoryOfProcess      = 64 << 20
	memoryOfNode         = 512 << 10
	processesOfProgram   = 2 // the program, and the init of its PID namespace
)

// demand is what labs take of the machine.
type demand struct{ nodes, nats, links int }

func demandOf(lab *sim.Lab) demand {
	d := demand{nodes: 1 + len(lab.Hosts) + len(lab.Routers), links: len(lab.Links)}
	for _, r := range lab.Routers {
		if r.NAT != nil {
			d.nats++
		}
	}
	if d.links > 0 {
		d.nodes++
	}
	return d
}

func (d demand) add(other demand, sign int) demand {
	return demand{d.nodes + sign*other.nodes, d.nats + sign*other.nats, d.links + sign*other.links}
}

// descriptors, namespaces and memory (in bytes) are what stands, and what comes
// with a certification of all NATs at once.
func (d demand) descriptors() uint64 {
	return uint64(descriptorsOfNode*d.nodes + descriptorsOfLink*d.links)
}
func (d demand) namespaces() uint64 { return uint64(d.nodes + d.nats) }
func (d demand) memory() uint64     { return memoryOfNode * d.namespaces() }

// limits are what the machine allows.
type limits struct {
	files        uint64 // of this process, after it was raised as far as it may be
	filesCeiling uint64 // to which root may raise it: fs.nr_open
	allFiles     uint64 // of the machine that are left: fs.file-max
	namespaces   uint64 // user.max_net_namespaces
	processes    uint64 // the least of what bounds them
	memory       uint64 // bytes that are available
}

// unlimited stands for what cannot be read, or has no bound.
const unlimited = math.MaxUint64

// allow says whether a lab may be built beside what stands already.
func (l limits) allow(lab, standing demand) error {
	all := lab.add(standing, 1)
	refuse := func(limit, unit string, need, have uint64, fix string, args ...any) error {
		return &LimitError{Limit: limit, Unit: unit, Need: need, Have: have, Nodes: lab.nodes, Fix: fmt.Sprintf(fix, args...)}
	}
	if need := descriptorsOfProcess + all.descriptors(); need > l.files {
		if need > l.filesCeiling {
			return refuse("open files of a process", "descriptors", need, l.files, "`sudo sysctl -w fs.nr_open=%d`, then `ulimit -n %d` as root", powerAbove(need), need)
		}
		return refuse("open files of a process", "descriptors", need, l.files, "`ulimit -n %d` as root before (in a systemd unit LimitNOFILE=%d, for users hard nofile in /etc/security/limits.conf)", need, need)
	}
	if need := lab.descriptors(); need > l.allFiles {
		return refuse("open files of the machine", "descriptors", need, l.allFiles, "`sudo sysctl -w fs.file-max=%d`", powerAbove(2*need+1<<20))
	}
	if need := all.namespaces(); need > l.namespaces {
		return refuse("network namespaces", "namespaces", need, l.namespaces, "`sudo sysctl -w user.max_net_namespaces=%d`", powerAbove(need))
	}
	if need := (memoryOfProcess + lab.memory()) >> 20; need > l.memory>>20 {
		return refuse("memory", "MiB", need, l.memory>>20, "`free -m` to see who has it, and give the machine (or its control group: memory.max) more, or build a smaller lab")
	}
	return nil
}

// powerAbove is a number that a person would choose: a power of two.
func powerAbove(n uint64) uint64 {
	p := uint64(1 << 10)
	for p < n {
		p *= 2
	}
	return p
}

// claims are what the labs of this process take.
var claims struct {
	mu       sync.Mutex
	standing demand
}

// claim makes sure that the machine allows a lab, before anything is built.
func claim(d demand) (release func(), err error) {
	claims.mu.Lock()
	defer claims.mu.Unlock()
	if err := readLimits(descriptorsOfProcess+d.add(claims.standing, 1).descriptors()).allow(d, claims.standing); err != nil {
		return nil, err
	}
	claims.standing = claims.standing.add(d, 1)
	return sync.OnceFunc(func() {
		claims.mu.Lock()
		defer claims.mu.Unlock()
		claims.standing = claims.standing.add(d, -1)
	}), nil
}

// Fits says whether the machine's limits allow a lab, as Build does: nothing is
// built. The error is a LimitError.
func (Fabric) Fits(lab *sim.Lab) error {
	claims.mu.Lock()
	defer claims.mu.Unlock()
	d := demandOf(lab)
	return readLimits(descriptorsOfProcess+d.add(claims.standing, 1).descriptors()).allow(d, claims.standing)
}

// readLimits reads them. The limit of open files is raised to what is wanted, as
// far as this process may: the runtime has raised the soft limit to the hard one
// already, and root may raise that, too.
func readLimits(files uint64) limits {
	read := func(name string) uint64 { return number64(readSetting(name)) }
	l := limits{files: unlimited, allFiles: unlimited, filesCeiling: read("fs.nr_open"), namespaces: read("user.max_net_namespaces"), memory: availableMemory(), processes: mostProcesses()}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		if files > limit.Cur {
			raised := unix.Rlimit{Cur: max(files, limit.Max), Max: max(files, limit.Max)}
			if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
				limit = raised
			}
		}
		l.files = limit.Cur
	}
	// allocated, zero, most
	if f := strings.Fields(readSetting("fs.file-nr")); len(f) == 3 {
		if used, most := number64(f[0]), number64(f[2]); most >= used {
			l.allFiles = most - used
		}
	}
	return l
}

// number64 reads a limit; what is none is no limit.
func number64(text string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return unlimited
	}
	return n
}

// mostProcesses is the least of the limits of processes.
func mostProcesses() uint64 {
	most := min(number64(readSetting("kernel.pid_max")), number64(readSetting("kernel.threads-max")))
	var limit unix.Rlimit
	if os.Getuid() != 0 && unix.Getrlimit(unix.RLIMIT_NPROC, &limit) == nil {
		most = min(most, limit.Cur)
	}
	return min(most, groupLimit("pids.max"))
}

// availableMemory is what the machine, or this process' control group, has left.
func availableMemory() uint64 {
	available := uint64(unlimited)
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			if kilobytes := number64(strings.TrimSuffix(strings.TrimSpace(rest), " kB")); kilobytes != unlimited {
				available = kilobytes << 10
			}
		}
	}
	if most := groupLimit("memory.max"); most != unlimited {
		available = min(available, most-min(most, groupLimit("memory.current")))
	}
	return available
}

// groupLimit reads a file of this process' control group (version 2).
func groupLimit(file string) uint64 {
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			value, _ := os.ReadFile("/sys/fs/cgroup" + group + "/" + file)
			return number64(string(value))
		}
	}
	return unlimited
}
