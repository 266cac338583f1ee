package p2pmodel_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The commands of docs/scaling.md are run as they stand there, section by section,
// in a folder of the test's own. Only addresses are others: each stands for an
// address of this machine that nobody else uses.
func TestTheCommandsOfScalingWork(t *testing.T) {
	t.Parallel()
	dir := binaries(t)
	sections := scalingSections(t)
	if len(sections) < 3 {
		t.Fatalf("docs/scaling.md has commands in %d sections", len(sections))
	}
	for _, s := range sections {
		t.Run(s.heading, func(t *testing.T) {
			r := newRunner(t, filepath.Join(dir, "p2pmodel"))
			defer r.stop()
			for _, line := range s.commands {
				r.run(line)
			}
		})
	}
}

// scalingSection is a heading with the commands below it.
type scalingSection struct {
	heading  string
	commands []string
}

func scalingSections(t *testing.T) (sections []scalingSection) {
	t.Helper()
	text, err := os.ReadFile("docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	fenced := regexp.MustCompile("(?s)```sh\n(.*?)```")
	for _, part := range strings.Split(string(text), "\n## ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		s := scalingSection{heading: heading}
		for _, m := range fenced.FindAllStringSubmatch(body, -1) {
			for _, line := range strings.Split(strings.ReplaceAll(m[1], "\\\n", " "), "\n") {
				line, _, _ = strings.Cut(line, " #")
				if line = strings.TrimSpace(line); line != "" {
					s.commands = append(s.commands, line)
				}
			}
		}
		if len(s.commands) > 0 {
			sections = append(sections, s)
		}
	}
	return sections
}

// runner runs the commands of a section.
type runner struct {
	t       *testing.T
	program string
	dir     string
	net     string // 127.x.y.
	servers []*scalingServer
}

type scalingServer struct {
	line   string
	cmd    *exec.Cmd
	out    *shared
	ready  string // URL of its readiness; empty: it says so
	isDone chan error
}

// shared is a buffer that one writes while others read.
type shared struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func newRunner(t *testing.T, program string) *runner {
	return &runner{t: t, program: program, dir: t.TempDir(), net: fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))}
}

var (
	scalingAddress = regexp.MustCompile(`\b(?:127\.0\.0|10\.0\.0|198\.51\.100)\.(\d+)\b`)
	countFlag      = regexp.MustCompile(`--(shards|agents) (\d+)\b`)
)

// run runs a line: servers stay, all else has to end well.
func (r *runner) run(line string) {
	r.t.Helper()
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "p2pmodel" {
		r.t.Fatalf("%q is no command of ours", line)
	}
	replaced := strings.NewReplacer("/etc/p2pmodel", filepath.Join(r.dir, "layout"), "/var/lib/p2pmodel", filepath.Join(r.dir, "store")).Replace(line)
	replaced = scalingAddress.ReplaceAllString(replaced, r.net+"$1")
	cmd := exec.Command(r.program, strings.Fields(replaced)[1:]...)
	cmd.Dir = r.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "P2PMODEL_ALL_LISTEN="+r.net+"1:8443")
	if words[1] == "init" && !strings.Contains(line, "--host") {
		cmd.Env = append(cmd.Env, "P2PMODEL_INIT_HOST="+r.here(line))
	}
	if slices.Contains([]string{"all", "engine", "directory", "shard", "agent"}, words[1]) {
		r.serve(line, cmd)
		return
	}
	r.awaitReady()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s%s", line, err, out, r.logs())
	}
	if bots := regexp.MustCompile(`--bots (\d+)`).FindStringSubmatch(line); bots != nil && !strings.Contains(string(out), bots[1]+" playing") {
		r.t.Errorf("%s: not all of them play\n%s", line, out)
	}
	if words[1] == "shards" {
		r.checkShards(line, string(out))
	}
}

// here says for each process of a layout without hosts that it is at this test's
// first address.
func (r *runner) here(line string) string {
	count := map[string]int{"shards": 1, "agents": 1}
	for _, m := range countFlag.FindAllStringSubmatch(line, -1) {
		count[m[1]], _ = strconv.Atoi(m[2])
	}
	hosts := []string{"engine-1=" + r.net + "1", "directory-0=" + r.net + "1"}
	for _, kind := range []string{"shards", "agents"} {
		for i := range count[kind] {
			hosts = append(hosts, fmt.Sprintf("%s-%d=%s1", strings.TrimSuffix(kind, "s"), i+1, r.net))
		}
	}
	return strings.Join(hosts, ",")
}

// serve starts a server.
func (r *runner) serve(line string, cmd *exec.Cmd) {
	r.t.Helper()
	s := &scalingServer{line: line, cmd: cmd, out: &shared{}, isDone: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = s.out, s.out
	if i := slices.Index(cmd.Args, "--config"); i > 0 {
		text, err := os.ReadFile(filepath.Join(r.dir, strings.TrimPrefix(cmd.Args[i+1], r.dir)))
		if err != nil {
			r.t.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^metrics-listen: "(.*)"$`).FindSubmatch(text)
		if m == nil {
			r.t.Fatalf("%s: no metrics-listen in its configuration", line)
		}
		s.ready = "http://" + string(m[1]) + "/readyz"
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { s.isDone <- cmd.Wait() }()
	r.servers = append(r.servers, s)
}

// awaitReady waits until all servers are.
func (r *runner) awaitReady() {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for _, s := range r.servers {
		for !s.isReady() {
			if time.Now().After(deadline) {
				r.t.Fatalf("%s is not ready\n%s", s.line, r.logs())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func (s *scalingServer) isReady() bool {
	if s.ready == "" {
		return strings.Contains(s.out.String(), "p2pmodel is ready")
	}
	response, err := http.Get(s.ready)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// checkShards compares the list of shards with those that run.
func (r *runner) checkShards(line, out string) {
	r.t.Helper()
	running := 0
	for _, s := range r.servers {
		if strings.HasPrefix(s.line, "p2pmodel shard ") {
			running++
		}
	}
	if listed := strings.Count(out, "alive") + strings.Count(out, "draining"); listed != running {
		r.t.Errorf("%s lists %d shards, %d run\n%s", line, listed, running, out)
	}
}

func (r *runner) logs() string {
	var b strings.Builder
	for _, s := range r.servers {
		fmt.Fprintf(&b, "\n%s said\n%s", s.line, s.out)
	}
	return b.String()
}

// stop stops the servers, the last one first, as somebody does who tidies up.
func (r *runner) stop() {
	for _, s := range slices.Backward(r.servers) {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			r.t.Errorf("%s: %v", s.line, err)
		}
		select {
		case err := <-s.isDone:
			if err != nil {
				r.t.Errorf("%s ended with %v\n%s", s.line, err, s.out)
			}
		case <-time.After(time.Minute):
			_ = s.cmd.Process.Kill()
			r.t.Errorf("%s does not stop\n%s", s.line, s.out)
		}
	}
}
