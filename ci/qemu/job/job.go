// Package job is what is to be done in a virtual machine, and how it went: the
// words between ci/qemu and its init.
package job

import "time"

// Where both find things in the machine.
const (
	// Plan is the file of what is to be done.
	Plan = "/etc/plan.json"
	// Results is the device that results are written to, a line of JSON each.
	Results = "/dev/ttyS1"
)

// Work is what the machine does, in order.
type Work struct {
	// Modules are the files of the kernel's modules, each after those that it needs.
	Modules []string
	Jobs    []Job
}

// Job is a command that is run in the machine.
type Job struct {
	Name string
	// Args are the command and its arguments; the command is a path.
	Args []string
	Dir  string // where it runs; "": /
	// Limit is how long it may take before it is killed.
	Limit time.Duration
}

// Result is how a job went.
type Result struct {
	Name string
	// Code is its exit status; 128 plus the signal, if one ended it.
	Code int
	Took time.Duration
	// Late says that it was killed because it took too long.
	Late bool `json:",omitempty"`
	// Error is why it could not be run at all.
	Error string `json:",omitempty"`
}

// OK reports whether the job ended well.
func (r Result) OK() bool { return r.Code == 0 && !r.Late && r.Error == "" }
