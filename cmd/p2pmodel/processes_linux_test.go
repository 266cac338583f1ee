package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"p2pmodel/core/shard/client"
)

// installation is a layout whose processes run on loopback.
type installation struct {
	t       testing.TB
	binary  string
	dir     string
	address map[string]string // process → its address
	running map[string]*process
}

// process is a running p2pmodel.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   *output
	ended chan int
}

// install makes a layout, each process at a loopback address of its own, so that
// tests do not meet at ports.
func install(t testing.TB, processes []string, args ...string) *installation {
	t.Helper()
	in := &installation{t: t, binary: build(t), dir: filepath.Join(t.TempDir(), "layout"), address: map[string]string{}, running: map[string]*process{}}
	net := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))
	args = append([]string{"init", in.dir}, args...)
	for i, p := range processes {
		in.address[p] = fmt.Sprint(net, i+1)
		args = append(args, "--host", p+"="+in.address[p])
	}
	in.run(args...)
	return in
}

// build makes the program.
func build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "p2pmodel")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// spawn starts the program as a process that ends with the test at the latest.
func spawn(t testing.TB, name, binary string, args ...string) *process {
	t.Helper()
	p := &process{name: name, log: &output{}, ended: make(chan int, 1)}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		p.ended <- p.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("%s said\n%s", name, p.log)
		}
	})
	return p
}

// run runs a command to its end and gives what it prints.
func (in *installation) run(args ...string) string {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(in.t.Context(), 2*patience)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, in.binary, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		in.t.Fatalf("p2pmodel %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func (in *installation) file(names ...string) string {
	return filepath.Join(append([]string{in.dir}, names...)...)
}

// start starts processes.
func (in *installation) start(processes ...string) {
	in.t.Helper()
	for _, name := range processes {
		command, _, _ := strings.Cut(name, "-")
		in.running[name] = spawn(in.t, name, in.binary, command, "--config", in.file(name, command+".yaml"))
	}
}

// ready waits until processes are.
func (in *installation) ready(processes ...string) {
	in.t.Helper()
	for _, name := range processes {
		deadline := time.Now().Add(2 * patience)
		for {
			text, ok := in.health(name)
			if ok {
				break
			}
			if time.Now().After(deadline) {
				in.t.Fatalf("%s is not ready: %s", name, text)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func (in *installation) health(name string) (string, bool) {
	command, _, _ := strings.Cut(name, "-")
	response, err := http.Get(fmt.Sprintf("http://%s:%d/readyz", in.address[name], metricsPorts[command]))
	if err != nil {
		return err.Error(), false
	}
	defer response.Body.Close()
	var text bytes.Buffer
	_, _ = text.ReadFrom(response.Body)
	return text.String(), response.StatusCode == http.StatusOK
}

// kill ends a process as a power cut does.
func (in *installation) kill(name string) {
	in.t.Helper()
	p := in.running[name]
	if err := p.cmd.Process.Kill(); err != nil {
		in.t.Fatal(err)
	}
	<-p.ended
	delete(in.running, name)
}

// stop ends all in good order.
func (in *installation) stop() {
	in.t.Helper()
	for _, command := range []string{"agent", "shard", "rendezvous", "relay", "directory", "engine"} {
		for name, p := range in.running {
			if !strings.HasPrefix(name, command+"-") {
				continue
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				in.t.Fatal(err)
			}
			select {
			case code := <-p.ended:
				if code != 0 {
					in.t.Errorf("%s ended with %d and said\n%s", name, code, p.log)
				}
			case <-time.After(2 * patience):
				in.t.Errorf("%s does not stop; it said\n%s", name, p.log)
			}
			delete(in.running, name)
		}
	}
}

// gamer makes a player of the installation, with a login token.
func (in *installation) gamer(name string) *gamer {
	in.t.Helper()
	token := strings.TrimSpace(in.run("token", "--key-file", in.file("offline", "login.key"), "--player", name))
	return newGamer(in.t, name, trust(in.t, in.file("clients-ca.crt")), client.Token(token),
		in.address["agent-1"]+":8443", in.address["agent-2"]+":8443")
}

func TestProcessesOfALayout(t *testing.T) {
	all := []string{"engine-1", "directory-0", "shard-a", "shard-b", "rendezvous-b", "relay-b", "agent-1", "agent-2"}
	in := install(t, all, "--shards", "a,b", "--agents", "2", "--allow-peer", "127.0.0.0/8")
	in.start(all...)
	servers := slices.DeleteFunc(slices.Clone(all), func(p string) bool {
		return strings.HasPrefix(p, "rendezvous-") || strings.HasPrefix(p, "relay-")
	})
	in.ready(servers...)

	ann, bob := in.gamer("ann"), in.gamer("bob")
	meet(t, ann, bob)

	// The Agent that both came to first dies.
	in.kill("agent-1")
	for _, g := range []*gamer{ann, bob} {
		g.await(t, "the session is resumed", func(g *gamer) bool { return g.happened("Resumed") })
		if g.resumed > 5*time.Second {
			t.Errorf("%s was away for %v, want at most 5 s", g.name, g.resumed)
		}
	}
	exchange(t, ann, bob)

	// The shard that has the room dies.
	owner := in.owner()
	in.kill("shard-" + owner)
	for _, g := range []*gamer{ann, bob} {
		g.await(t, "the room is moved", func(g *gamer) bool { return g.happened("Moved") })
	}
	exchange(t, ann, bob)
	if now := in.owner(); now == owner {
		t.Errorf("the room is still at %s", now)
	}

	// It comes back and gets the room by a drain of the other.
	in.start("shard-" + owner)
	in.ready("shard-" + owner)
	other := in.owner()
	drained := in.run("drain", other, "--config", in.file("operator-admin", "operator.yaml"), "--deadline", "1s", "--wait")
	if !strings.Contains(drained, "shard "+other+" is empty") {
		t.Errorf("drain says\n%s", drained)
	}
	exchange(t, ann, bob)
	if now := in.owner(); now != owner {
		t.Errorf("the room is at %q, want %s", now, owner)
	}
	// The only engine dies: matches go on, and everything else when it is back.
	in.kill("engine-1")
	exchange(t, ann, bob)
	in.start("engine-1")
	in.ready("engine-1", "directory-0", "shard-a", "shard-b", "agent-2")
	ann.mu.Lock()
	ann.said = nil
	ann.mu.Unlock()
	said, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for bob.player.Say(said, "back again") != nil && said.Err() == nil {
		time.Sleep(100 * time.Millisecond) // sessions are resumed one after another
	}
	ann.await(t, "what bob said", func(g *gamer) bool { return len(g.said) > 0 })
	if now := in.owner(); now != owner {
		t.Errorf("the room is at %q, want %s", now, owner)
	}
	in.stop()
}

// owner is the shard that has the only room.
func (in *installation) owner() string {
	in.t.Helper()
	deadline := time.Now().Add(patience)
	var out string
	for time.Now().Before(deadline) {
		out = in.run("shards", "--config", in.file("operator-admin", "operator.yaml"))
		for line := range strings.Lines(out) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[1] != "dead" && strings.HasPrefix(fields[2], "1/") {
				return fields[0]
			}
		}
		time.Sleep(100 * time.Millisecond) // heartbeats tell how many rooms there are
	}
	in.t.Fatalf("no shard has a room:\n%s", out)
	return ""
}

func TestALayoutGrows(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	make := func(args ...string) map[string]string {
		t.Helper()
		code, out, says := executeWith(t.Context(), "", append([]string{"init", dir}, args...)...)
		if code != 0 || !strings.Contains(out, "p2pmodel agent --config "+dir+"/agent-1/agent.yaml") {
			t.Fatalf("exit %d, %s\n%s", code, says, out)
		}
		files := map[string]string{}
		err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() {
				return err
			}
			name, _ := filepath.Rel(dir, path)
			data, err := os.ReadFile(path)
			files[name] = string(data)
			secret := strings.HasSuffix(name, ".key") || strings.HasSuffix(name, ".nk") || strings.HasSuffix(name, ".secret")
			if info.Mode().Perm()&0o077 != 0 && secret {
				t.Errorf("%s can be read by others: %v", name, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	before := make()
	after := make("--shards", "2", "--agents", "2")
	for name, text := range before {
		if strings.HasSuffix(name, ".conf") || name == "shard-1/shard.yaml" { // relays share their ports with another one
			continue
		}
		if after[name] != text {
			t.Errorf("%s has changed", name)
		}
	}
	for _, name := range []string{"shard-2/ticket.key", "agent-2/user.nk", "agent-2/agent.crt"} {
		if after[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	// What each process gets, and what it does not.
	for name := range after {
		switch {
		case strings.HasPrefix(name, "agent-") && (strings.Contains(name, "ticket") || strings.Contains(name, "relay") || strings.HasSuffix(name, "login.key")):
			t.Errorf("an Agent has the secret %s", name)
		case after[name] == after["shard-1/ticket.key"] && name != "shard-1/ticket.key":
			t.Errorf("%s has the key that signs tickets", name)
		case after[name] == after["offline/login.key"] && name != "offline/login.key":
			t.Errorf("%s has the key that signs login tokens", name)
		}
	}
}

func TestInitBadInput(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "letter.txt"), []byte("dear all"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no folder":                      {[]string{}, "want one DIR"},
		"two engines":                    {[]string{dir, "--engines", "2"}, "1, 3 or 5"},
		"four directories":               {[]string{dir, "--directories", "4"}, "1, 3 or 5"},
		"no shard":                       {[]string{dir, "--shards", "0"}, "--shards"},
		"a name that is none":            {[]string{dir, "--shards", "a,B!"}, `"B!"`},
		"a shard twice":                  {[]string{dir, "--shards", "a,a"}, "twice"},
		"a host of nobody":               {[]string{dir, "--host", "agent-7=10.0.0.1"}, "agent-7"},
		"a host without an address":      {[]string{dir, "--host", "agent-1"}, "PROCESS=ADDRESS"},
		"a shard with a name as address": {[]string{dir, "--host", "shard-1=shard.example.org"}, "IP address"},
		"a folder of somebody else":      {[]string{full}, "no layout"},
		"a relative install folder":      {[]string{dir, "--install-dir", "etc"}, "begin with /"},
	} {
		code, _, says := executeWith(t.Context(), "", append([]string{"init"}, c.args...)...)
		if code != exitUsage || !strings.Contains(says, c.says) {
			t.Errorf("%s: exit %d, %q; want exit 2 and %q", name, code, says, c.says)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was made")
	}
}
