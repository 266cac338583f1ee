//go:build linux

package kernel_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// victimEnv makes the test binary a process that builds a lab, runs programs in
// it, says so, and waits to be killed.
const victimEnv = "P2PMODEL_TEST_VICTIM"

// With the value "entered" it first enters a user namespace, and ends with exit
// code 7 once SIGTERM has come.
func beVictim() {
	entered := os.Getenv(victimEnv) == "entered"
	if entered {
		if err := kernel.Enter(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	lab, err := sim.ParseLab("lab.yaml", []byte(pair))
	if err != nil {
		panic(err)
	}
	network, err := kernel.Fabric{}.Build(context.Background(), lab, sim.Options{})
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"a", "b"} {
		path, err := network.(*kernel.Network).NamespacePath(name)
		if err != nil {
			panic(err)
		}
		inode, err := os.Readlink(path)
		if err != nil {
			panic(err)
		}
		fmt.Println("namespace", inode)
		h, err := network.Host(name)
		if err != nil {
			panic(err)
		}
		// A daemon of two forks, which no parent's death reaches, and a program.
		p, err := h.Start(context.Background(), sim.Program{Path: "sh", Args: []string{"-c", "(setsid sh -c 'sleep 1000 & sleep 1000' &) ; exec sleep 1000"}})
		if err != nil {
			panic(err)
		}
		fmt.Println("process", p.PID())
	}
	terminated := make(chan os.Signal, 1)
	if entered {
		for _, r := range lab.Routers {
			router, _ := network.Router(r.Name)
			result, err := router.Certify(context.Background())
			fmt.Println("certified", r.Name, result.OK(), err)
		}
		fmt.Println("packets", len(network.Packets()), "user", os.Getuid())
		signal.Notify(terminated, syscall.SIGTERM)
	}
	fmt.Println("ready")
	<-terminated
	if err := network.Close(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(7)
}

func TestNothingIsLeftAfterKill9(t *testing.T) {
	needRoot(t)
	for round := range 8 {
		early := round%2 == 0 // while it works, rather than when the lab stands
		mark := fmt.Sprintf("%s=%d.%d", victimEnv, os.Getpid(), round)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), mark)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if early {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			_ = cmd.Process.Kill()
		}
		var namespaces []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			kind, value, _ := strings.Cut(lines.Text(), " ")
			switch {
			case kind == "namespace":
				namespaces = append(namespaces, value)
			case kind == "ready" && !early:
				soon(t, "inits, programs and daemons run", func() bool { return len(marked(t, mark)) == 1+2*5 })
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		soon(t, "no process of the dead lab is left", func() bool { return len(marked(t, mark)) == 0 })
		if held := processesIn(t, namespaces); len(held) > 0 {
			t.Errorf("the namespaces of the dead lab are held: %v", held)
		}
	}
}

// nobody makes a command run as an ordinary user.
func nobody(cmd *exec.Cmd) {
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
}

func TestAnOrdinaryUserBuildsLabs(t *testing.T) {
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		mark := fmt.Sprintf("P2PMODEL_TEST_MARK=%d.%d", os.Getpid(), end)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), victimEnv+"=entered", mark)
		nobody(cmd)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var said []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said = append(said, lines.Text())
			if lines.Text() == "ready" {
				_ = cmd.Process.Signal(end)
			}
		}
		err = cmd.Wait()
		var exit *exec.ExitError
		if text := strings.Join(said, "\n"); strings.Contains(text, kernel.ErrNoUserNamespaces.Error()) {
			t.Skip("this machine forbids user namespaces: " + text)
		}
		for _, want := range []string{"certified nat-a true <nil>", "certified nat-b true <nil>", "packets 0 user 0", "ready"} {
			if !slices.Contains(said, want) {
				t.Errorf("the user's process did not say %q, but\n%s", want, strings.Join(said, "\n"))
			}
		}
		if end == syscall.SIGTERM && (!errors.As(err, &exit) || exit.ExitCode() != 7) {
			t.Errorf("SIGTERM and the exit code were not passed on: %v", err)
		}
		soon(t, "no process of the user's lab is left", func() bool { return len(marked(t, mark)) == 0 })
	}
}

func TestDoctorFindsNothingMissingHere(t *testing.T) {
	needRoot(t)
	before := leftovers(t)
	for _, c := range kernel.Doctor() {
		t.Logf("%-22s %-8s %s %s", c.Name, c.State, c.Detail, c.Fix)
		if c.State == kernel.Missing {
			t.Errorf("%s is missing, and yet labs work here", c.Name)
		}
	}
	sameAs(t, before)
}

// marked gives the processes with a variable in their environment.
func marked(tb testing.TB, variable string) (found []string) {
	tb.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(variable+"\x00")) {
			found = append(found, f)
		}
	}
	return found
}

// processesIn gives the processes that are in a namespace or hold it open.
func processesIn(tb testing.TB, namespaces []string) []string {
	tb.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		tb.Fatal(err)
	}
	descriptors, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		tb.Fatal(err)
	}
	var found []string
	for _, l := range append(links, descriptors...) {
		to, err := os.Readlink(l)
		if err != nil {
			continue
		}
		for _, n := range namespaces {
			if to == n {
				found = append(found, l)
			}
		}
	}
	return found
}
