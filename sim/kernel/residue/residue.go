//go:build linux

// Package residue finds what a lab could leave in this process and its network
// namespace, for tests: descriptors of namespaces and sockets, interfaces, child
// processes, threads that are in another namespace.
package residue

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Snapshot is what is there at a moment: what it is, and where.
type Snapshot map[string]string

// Look takes a Snapshot. The descriptor of this process' own namespace, which
// package kernel keeps for good, is always in it.
func Look() (Snapshot, error) {
	found := make(Snapshot)
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("look for residue: %w", err)
	}
	found["descriptor of "+home] = ""
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("look for residue: %w", err)
	}
	for _, d := range descriptors {
		// A descriptor that is gone again was that of the directory.
		if to, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && (strings.HasPrefix(to, "net:") || strings.HasPrefix(to, "socket:")) {
			found["descriptor of "+to] = d.Name()
		}
	}
	interfaces, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return nil, fmt.Errorf("look for residue: %w", err)
	}
	for _, i := range interfaces {
		found["interface "+i.Name()] = ""
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, fmt.Errorf("look for residue: %w", err)
	}
	for _, t := range threads {
		// A thread may have ended meanwhile.
		children, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for _, c := range strings.Fields(string(children)) {
			found["child process "+c] = ""
		}
		if ns, err := os.Readlink("/proc/self/task/" + t.Name() + "/ns/net"); err == nil {
			found["a thread in "+ns] = t.Name()
		}
	}
	return found, nil
}

// Since says what is there that was not there before, in order.
func (s Snapshot) Since(before Snapshot) (left []string) {
	for _, what := range slices.Sorted(maps.Keys(s)) {
		if _, ok := before[what]; !ok {
			left = append(left, strings.TrimSpace(what+" "+s[what]))
		}
	}
	return left
}
