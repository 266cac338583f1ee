package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"p2pmodel/ci/qemu/job"
)

// packages are those whose tests are run, each in its own folder.
var packages = []string{"nat/ruleset", "sim/kernel", "sim/kernel/wire", "sim/kernel/netem"}

// The nine mappings × filterings, and the ports that they hand out.
var (
	mappings    = []string{"EIM", "ADM", "APDM"}
	filterings  = []string{"EIF", "ADF", "APDF"}
	allocations = []string{"preserve", "sequential", "random", "block"}
)

const natlab = "/bin/natlab"

// allJobs is what is done where nothing else is said.
func allJobs() []job.Job {
	jobs := []job.Job{{Name: "doctor", Args: []string{natlab, "doctor"}, Limit: 2 * time.Minute}}
	for _, ports := range allocations {
		args := []string{natlab, "certify", "--parallel", "1"}
		for _, m := range mappings {
			for _, f := range filterings {
				args = append(args, fmt.Sprintf("mapping=%s,filtering=%s,ports=%s", m, f, ports))
			}
		}
		jobs = append(jobs, job.Job{Name: "certify-" + ports, Args: args, Limit: 5 * time.Minute})
	}
	jobs = append(jobs, job.Job{
		Name: "certify-linux", Args: []string{natlab, "certify", "--parallel", "1", "linux", "linux-early-accept", "linux-random", "linux-fully-random"}, Limit: 5 * time.Minute,
	})
	// The kernel's own links cost the one processor less than wires.
	for n := 1; n <= 7; n++ {
		id := fmt.Sprintf("TC-%02d", n)
		jobs = append(jobs, job.Job{Name: strings.ToLower(id), Args: []string{natlab, "run", "--parallel", "1", "--links", "auto", id}, Limit: 5 * time.Minute})
	}
	for _, p := range packages {
		jobs = append(jobs, job.Job{
			Name: "test-" + strings.ReplaceAll(p, "/", "-"), Dir: "/src/" + p,
			Args: []string{testOf(p), "-test.v", "-test.timeout=10m"}, Limit: 11 * time.Minute,
		})
	}
	return jobs
}

// testOf is where a package's tests are in the machine.
func testOf(pkg string) string { return "/src/" + pkg + "/" + path.Base(pkg) + ".test" }

// choose keeps the jobs whose names match one of the patterns; none: all.
func choose(jobs []job.Job, patterns []string) ([]job.Job, error) {
	if len(patterns) == 0 {
		return jobs, nil
	}
	var chosen []job.Job
	for _, p := range patterns {
		before := len(chosen)
		for _, j := range jobs {
			ok, err := path.Match(p, j.Name)
			if err != nil {
				return nil, fmt.Errorf("job %q: %w", p, err)
			}
			if ok && !slices.ContainsFunc(chosen, func(c job.Job) bool { return c.Name == j.Name }) {
				chosen = append(chosen, j)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("no job is called %q; -list lists them", p)
		}
	}
	return chosen, nil
}
