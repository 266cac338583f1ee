//go:build linux

package runner_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim/kernel"
)

// actEnv has this binary be a program of a scenario instead of a test.
const actEnv = "P2PMODEL_TEST_ACT"

// acts are what programs of the tests do, by name.
var acts = map[string]func(args []string) error{
	// PROTOCOL ADDRESS: binds the port late.
	"listen": func(args []string) error {
		time.Sleep(100 * time.Millisecond)
		if args[0] == "udp4" {
			if _, err := net.ListenPacket(args[0], args[1]); err != nil {
				return err
			}
		} else if _, err := net.Listen(args[0], args[1]); err != nil {
			return err
		}
		select {}
	},
	// ADDRESS: once.
	"dial": func(args []string) error {
		_, err := net.Dial("tcp4", args[0])
		return err
	},
	// :PORT ADDRESS: sends datagrams that are like no others.
	"talk": func(args []string) error {
		conn, err := net.ListenPacket("udp4", args[0])
		if err != nil {
			return err
		}
		to, err := net.ResolveUDPAddr("udp4", args[1])
		if err != nil {
			return err
		}
		for n := 0; ; n++ {
			fmt.Fprintf(os.Stderr, "%d\n", n)
			if _, err := conn.WriteTo(fmt.Appendf(nil, "%s says %d", os.Getenv(scenarios.VarName), n), to); err != nil {
				return err
			}
			time.Sleep(5 * time.Millisecond)
		}
	},
}

// be runs one of the acts and ends this process.
func be(act string) {
	if err := acts[act](os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// program reads a scenario with two public hosts. SELF stands for this binary.
func program(t *testing.T, text string) *scenarios.Scenario {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	head := "id: PROGRAM\ntitle: a program\nlab: {routers: {home: {nat: full-cone}}, hosts: {a: {behind: home}, b: {}}}\n"
	sc, err := scenarios.Parse(filepath.Join(t.TempDir(), "program.yaml"), []byte(head+strings.ReplaceAll(text, "SELF", self)))
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// Each row is a scenario, what has to be said of it, and why.
func TestPrograms(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       scenarios.Verdict
		words      string // part of the reason, or of the facts
	}{
		{"ready by a TCP port", `
programs:
  server: {host: b, run: 'SELF tcp4 :7000', env: {P2PMODEL_TEST_ACT: listen}, ready: {port: tcp/7000}}
  client: {host: a, run: 'SELF $LAB_ADDR_B:7000', env: {P2PMODEL_TEST_ACT: dial}}
expect: {exits: {client: 0}}`, scenarios.Expected, "client ended with status 0"},
		{"names of the lab", `
programs:
  server: {host: b, run: 'SELF tcp4 :7000', env: {P2PMODEL_TEST_ACT: listen}, ready: {port: tcp/7000}}
  client: {host: a, run: 'SELF b:7000', env: {P2PMODEL_TEST_ACT: dial}}
expect: {exits: {client: 0}}`, scenarios.Expected, "client ended with status 0"},
		{"ready by a UDP port", `
programs:
  server: {host: b, run: 'SELF udp4 :7000', env: {P2PMODEL_TEST_ACT: listen}, ready: {port: udp/7000}}
  client: {host: b, run: 'SELF udp4 :7000', env: {P2PMODEL_TEST_ACT: listen}}
expect: {exits: {client: 1}, output: {client: address already in use}}`, scenarios.Expected, "address already in use"},
		{"ready by a line", `
programs:
  server: {host: b, run: [sh, -c, 'sleep 0.1; touch up; echo listening on 7; exec sleep 100'], ready: {line: 'listening on \d'}}
  client: {host: a, run: test -f up}
expect: {exits: {client: 0}}`, scenarios.Expected, ""},
		{"ready by a file", `
programs:
  server: {host: b, run: [sh, -c, 'sleep 0.1; echo x > up; exec sleep 100'], ready: {file: $LAB_DIR/up}}
  client: {host: a, run: test -f up}
expect: {exits: {client: 0}}`, scenarios.Expected, ""},
		{"ready by what an adapter says", `
programs:
  server: {host: b, run: [sh, -c, 'sleep 0.1; touch up; echo ''{"event":"ready"}''; exec sleep 100'], adapter: json}
  client: {host: a, run: test -f up}
expect: {exits: {client: 0}}`, scenarios.Expected, ""},
		{"never ready", `
programs: {server: {host: b, run: [sh, -c, 'echo working on it; exec sleep 100'], ready: {line: done, within: 200ms}}}
expect: {exits: {server: 0}}`, scenarios.Broken, `server on host b was not ready within 200ms: no line matches "done"; it printed last: working on it`},
		{"ended before it was ready", `
programs: {server: {host: b, run: [sh, -c, 'echo no room >&2; exit 3'], ready: {port: udp/9}}}
expect: {exits: {server: 3}}`, scenarios.Broken, "ended with status 3 before it was ready (nothing is bound to udp/9); it printed last: no room"},
		{"as another user", `
programs: {p: {host: b, run: [sh, -c, 'echo $(id -un) $HOME; echo > written && echo done'], user: nobody}}
expect: {output: {p: '(?m)^nobody /nonexistent$\n^done$'}}`, scenarios.Expected, ""},
		{"as a user that is not there", `
programs: {p: {host: b, run: 'true', user: no-such-user}}
expect: {exits: {p: 0}}`, scenarios.Broken, "program p: host b: start"},
		{"the lab's addresses", `
programs: {p: {host: a, run: [sh, -c, 'echo $WORD $LAB_NAME@$LAB_HOST ${LAB_ADDR_HOME}'], env: {WORD: 'to ${LAB_ADDR_B}'}}}
expect: {output: {p: '^to 198\.18\.0\.3 p@a 198\.18\.0\.2\n$'}}`, scenarios.Expected, ""},
		{"another status", `
programs: {p: {host: b, run: [sh, -c, 'echo sorry; exit 3']}}
expect: {exits: {p: 0}}`, scenarios.Unexpected, "p ended with status 3, expected 0; it printed last: sorry"},
		{"a signal", `
programs: {p: {host: b, run: [sh, -c, 'kill -9 $$']}}
expect: {exits: {p: 137}}`, scenarios.Expected, "p ended with status 137"},
		{"an end that nobody expects", `
programs:
  p: {host: b, run: [sh, -c, 'exit 4']}
  q: {host: a, run: sleep 0.3}
expect: {exits: {q: 0}}`, scenarios.Unexpected, "the program p on host b ended with status 4, which nobody expects"},
		{"no end", `
programs: {p: {host: b, run: sleep 100}}
expect: {exits: {p: 0}, within: 200ms}`, scenarios.Unexpected, "p still ran after 200ms"},
		{"other output", `
programs: {p: {host: b, run: echo one}}
expect: {output: {p: two}}`, scenarios.Unexpected, `nothing that p printed matches "two"`},
		{"payload", `
programs: {p: {host: a, run: 'SELF :7000 $LAB_ADDR_B:7000', env: {P2PMODEL_TEST_ACT: talk}}}
expect: {delivered: [{from: a, to: b, bytes: 200, over: direct}]}`, scenarios.Expected, "bytes arrived direct"},
		{"payload that must not be", `
programs: {p: {host: a, run: 'SELF :7000 $LAB_ADDR_B:7000', env: {P2PMODEL_TEST_ACT: talk}}}
expect: {delivered: [{from: a, to: b, bytes: 0}], within: 200ms}`, scenarios.Unexpected, "expected that nothing arrives"},
		{"nothing was tried", `
programs: {p: {host: a, run: sleep 0.2}}
expect: {exits: {p: 0}, delivered: [{from: a, to: b, bytes: 0}]}`, scenarios.Vacuous, "neither a nor b sent a packet"},
		{"what peers say is no evidence", `
peers:
  a: {host: a, run: [sh, -c, 'echo ''{"event":"ready"}''; echo ''{"event":"settled","peer":"b","path":"direct"}''; exec SELF :7000 198.18.77.7:9'], adapter: json, env: {P2PMODEL_TEST_ACT: talk}}
  b: {host: b, run: [sh, -c, 'echo ''{"event":"ready"}''; echo ''{"event":"settled","peer":"a","path":"direct"}''; exec SELF :7000 198.18.77.7:9'], adapter: json, env: {P2PMODEL_TEST_ACT: talk}}
connect: [[a, b]]
expect: {path: direct}`, scenarios.Unexpected, "expected direct, observed none"},
		{"killed on purpose, and restarted", `
programs:
  p: {host: b, run: [sh, -c, 'echo $$ begins; exec sleep 100'], ready: {line: begins}}
  q: {host: b, run: sleep 100}
phases:
  - {name: one, expect: {output: {p: begins}}}
  - {name: two, do: [{kill: p}], expect: {exits: {p: 137}}}
  - {name: three, do: [{restart: {program: p}}, {kill: {program: q}}], expect: {output: {p: begins}}}`, scenarios.Expected, "p ended with status 137"},
		{"peers without an adapter", `
peers:
  a: {host: a, run: 'SELF :7000 $LAB_ADDR_B:7000', env: {P2PMODEL_TEST_ACT: talk}}
  b: {host: b, run: 'SELF :7000 $LAB_ADDR_HOME:7000', env: {P2PMODEL_TEST_ACT: talk}}
connect: [[a, b]]
expect: {path: direct}`, scenarios.Expected, "payload took the expected path: direct"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			res := runScenario(t, program(t, c.text), runner.Sabotage{}, true)
			want(t, res, c.want)
			said := []string{res.Reason}
			for _, p := range res.Phases {
				said = append(said, p.Facts...)
			}
			if !strings.Contains(strings.Join(said, "\n"), c.words) {
				t.Errorf("said %q, want %q among it", said, c.words)
			}
		})
	}
}

// What a program prints is in the log; one that does not end is killed, and nobody
// waits longer for it than was said.
func TestProgramsAreStopped(t *testing.T) {
	t.Parallel()
	sc := program(t, `
programs:
  polite: {host: b, run: [sh, -c, 'trap "echo bye; exit 0" INT; echo up; while :; do sleep 0.01; done'], stop: {signal: int}, ready: {line: up}}
  deaf: {host: b, run: [sh, -c, 'trap "" TERM; echo up; while :; do sleep 0.01; done'], stop: {within: 100ms}, ready: {line: up}}
expect: {output: {polite: up}}`)
	res := runScenario(t, sc, runner.Sabotage{}, true)
	want(t, res, scenarios.Expected)
	var log []string
	for _, l := range res.Run.Log {
		log = append(log, l.From+": "+l.Text)
	}
	for _, line := range []string{"polite: bye", "deaf: killed, as it did not end within 100ms of signal term"} {
		if !slices.Contains(log, line) {
			t.Errorf("the log lacks %q:\n%s", line, strings.Join(log, "\n"))
		}
	}
}

func TestMissingPrograms(t *testing.T) {
	sc := program(t, `
programs: {p: {host: b, run: no-such-command, needs: [sh, nor-this-one]}}
expect: {exits: {p: 0}}`)
	err := runner.Missing(sc, nil)
	var missing *runner.MissingError
	if !errors.As(err, &missing) || !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "PROGRAM runs nor-this-one, which is not installed") {
		t.Errorf("missing: %v", err)
	}
	want(t, runScenario(t, sc, runner.Sabotage{}, true), scenarios.Broken)
	for command, remedy := range map[string]string{"/usr/bin/turnutils_uclient": "apt-get install coturn", "iperf3": "apt-get install iperf3", "pion-ice": "make examples", "x": ""} {
		if got := (&runner.MissingError{Command: command}).Remedy(); got != remedy {
			t.Errorf("%s: %q, want %q", command, got, remedy)
		}
	}
}

// A run that is called off leaves no program, and no folder.
func TestCalledOffRunsLeaveNoProgram(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // other tests have folders, too
	sc := program(t, `
programs: {p: {host: b, run: [sh, -c, 'echo $LAB_DIR; exec sleep 1000']}}
expect: {exits: {p: 0}}`)
	ctx, cancel := context.WithCancel(t.Context())
	stands := make(chan struct{})
	r := &runner.Runner{Fabric: kernel.Fabric{}, Seed: 1, SkipControls: true, Progress: func(p runner.Progress) {
		if strings.HasPrefix(p.Stage, "phase ") {
			close(stands)
		}
	}}
	folders := func() []string {
		all, _ := filepath.Glob(filepath.Join(os.TempDir(), "p2pmodel-lab-*"))
		return all
	}
	before := folders()
	go func() {
		<-stands
		cancel()
	}()
	if _, err := r.Run(ctx, sc); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	for _, f := range folders() {
		if !slices.Contains(before, f) {
			t.Errorf("the folder %s is left", f)
		}
	}
	mine := fmt.Sprint(os.Getpid())
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		stat, _ := os.ReadFile(p + "/stat")
		command, _ := os.ReadFile(p + "/cmdline")
		if fields := strings.Fields(string(stat)); len(fields) > 3 && fields[3] == mine && strings.Contains(string(command), "sleep") {
			t.Errorf("process %s is left: %q", p, command)
		}
	}
}
