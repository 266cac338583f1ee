//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"p2pmodel/sim"
)

// ample are limits that allow everything.
var ample = limits{
	files: unlimited, filesCeiling: unlimited, allFiles: unlimited,
	namespaces: unlimited, processes: unlimited, memory: unlimited,
}

func TestLimitsAreCheckedWithWhatRaisesThem(t *testing.T) {
	five := demand{nodes: 1001, nats: 500}
	with := func(change func(*limits)) limits {
		l := ample
		change(&l)
		return l
	}
	for _, tt := range []struct {
		name          string
		limits        limits
		lab, standing demand
		want          string // "": the lab is allowed
	}{
		{"nothing is limited", ample, five, demand{}, ""},
		{"just enough files", with(func(l *limits) { l.files = 256 + 12*1001 }), five, demand{}, ""},
		{"one file too few", with(func(l *limits) { l.files = 256 + 12*1001 - 1 }), five, demand{},
			"a lab of 1001 nodes needs 12268 descriptors of open files of a process, and 12267 are allowed: run `ulimit -n 12268` as root before (in a systemd unit LimitNOFILE=12268"},
		{"and fs.nr_open forbids more", with(func(l *limits) { l.files, l.filesCeiling = 4096, 8192 }), five, demand{},
			"and 4096 are allowed: run `sudo sysctl -w fs.nr_open=16384`, then `ulimit -n 12268` as root"},
		{"files for this one, not for both", with(func(l *limits) { l.files = 14000 }), five, five,
			"needs 24280 descriptors of open files of a process, and 14000 are allowed"},
		{"impaired links take some", with(func(l *limits) { l.files = 256 + 12*3 + 7 }), demand{nodes: 3, links: 2}, demand{},
			"needs 300 descriptors"},
		{"the machine's files", with(func(l *limits) { l.allFiles = 10000 }), five, demand{},
			"needs 12012 descriptors of open files of the machine, and 10000 are allowed: run `sudo sysctl -w fs.file-max=2097152`"},
		{"namespaces, one more for each NAT", with(func(l *limits) { l.namespaces = 1500 }), five, demand{},
			"needs 1501 namespaces of network namespaces, and 1500 are allowed: run `sudo sysctl -w user.max_net_namespaces=2048`"},
		{"namespaces of labs that stand", with(func(l *limits) { l.namespaces = 2000 }), five, demand{nodes: 500},
			"needs 2001 namespaces"},
		{"memory", with(func(l *limits) { l.memory = 500 << 20 }), five, demand{},
			"needs 814 MiB of memory, and 500 are allowed: run `free -m`"},
		{"labs that stand have their memory already", with(func(l *limits) { l.memory = 815 << 20 }), five, five, ""},
	} {
		err := tt.limits.allow(tt.lab, tt.standing)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %s", tt.name, err, tt.want)
		}
	}
}

func TestDemandCountsNodesNATsAndLinks(t *testing.T) {
	lab, err := sim.ParseLab("lab.yaml", []byte("lab:\n  routers: {a: {nat: symmetric}, b: {}}\n  hosts: {c: {behind: a}, d: {}}\n  links: {c: {delay: 5ms}, a: {loss: 1%}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	// The Internet and the wires are nodes, too.
	if got, want := demandOf(lab), (demand{nodes: 6, nats: 1, links: 2}); got != want {
		t.Errorf("the lab takes %+v, want %+v", got, want)
	}
}

// What is claimed by labs that stand counts until they are closed.
func TestClaimsAreReleasedOnce(t *testing.T) {
	before := claims.standing
	release, err := claim(demand{nodes: 3, nats: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := claims.standing; got != before.add(demand{nodes: 3, nats: 1}, 1) {
		t.Errorf("standing: %+v, before %+v", got, before)
	}
	release()
	release()
	if got := claims.standing; got != before {
		t.Errorf("standing afterwards: %+v, before %+v", got, before)
	}
	var limit *LimitError
	if release, err := claim(demand{nodes: 1 << 40}); release != nil || !errors.As(err, &limit) || limit.Nodes != 1<<40 || limit.Need <= limit.Have {
		t.Errorf("a lab larger than any machine: %v", err)
	}
	lab, err := sim.ParseLab("lab.yaml", []byte("lab: {hosts: {a: }}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := (Fabric{}).Fits(lab); err != nil {
		t.Errorf("the smallest lab does not fit: %v", err)
	}
	if got := claims.standing; got != before {
		t.Errorf("what was refused is claimed: %+v, before %+v", got, before)
	}
}

func TestDoctorTellsHowLargeALabMayBe(t *testing.T) {
	small := limits{files: 4096, filesCeiling: 1 << 20, allFiles: 100000, namespaces: 300, processes: 1000, memory: 256 << 20}
	for _, tt := range []struct {
		limits limits
		want   []string
	}{
		{small, []string{
			"open files limited: 4096, enough for a lab of 320 nodes (ulimit -n 12268)",
			"open files of all ok: 100000, enough for a lab of 8333 nodes ()",
			"number of namespaces limited: 300, enough for a lab of 200 nodes (sudo sysctl -w user.max_net_namespaces=65536)",
			"memory limited: 256 MiB available, enough for a lab of 256 nodes (a machine or a control group (memory.max) with more)",
			"processes limited: 1000, enough for 500 programs at once (sudo sysctl -w kernel.pid_max=4194304, ulimit -u, or pids.max of the control group)",
		}},
		{ample, []string{
			"open files ok: not limited ()", "open files of all ok: not limited ()", "number of namespaces ok: not limited ()",
			"memory ok: not limited ()", "processes ok: not limited ()",
		}},
	} {
		for i, c := range checkLimits(tt.limits) {
			if got := fmt.Sprintf("%s %s: %s (%s)", c.Name, c.State, c.Detail, c.Fix); got != tt.want[i] {
				t.Errorf("%s\nwant %s", got, tt.want[i])
			}
		}
	}
}
