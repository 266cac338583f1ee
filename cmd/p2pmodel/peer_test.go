package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/identity"
)

func TestPeerBadInput(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	seed := strings.Repeat("07", identity.Size)
	own := identity.KeyFromSeed([identity.Size]byte(bytes.Repeat([]byte{7}, identity.Size))).ID().String()
	const rendezvous, relay = "--rendezvous=127.0.0.1:1", "--relay=127.0.0.1:2"
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "--rendezvous"},
		{"rendezvous is a name", []string{"--rendezvous=localhost:3478"}, "IP:PORT"},
		{"rendezvous without port", []string{"--rendezvous=127.0.0.1:0"}, "rendezvous"},
		{"rendezvous key", []string{rendezvous, "--rendezvous-key=x"}, "--rendezvous-key"},
		{"listen", []string{rendezvous, "--listen=5000"}, "--listen"},
		{"relay without credentials", []string{rendezvous, relay}, "--password-file or --secret-file"},
		{"relay with both credentials", []string{rendezvous, relay, "--username=u", "--password-file=x", "--secret-file=y"}, "either"},
		{"credentials without relay", []string{rendezvous, "--username=u"}, "--relay"},
		{"password without name", []string{rendezvous, relay, "--password-file=" + file("p", "x\n")}, "--username"},
		{"password missing", []string{rendezvous, relay, "--username=u", "--password-file=" + dir + "/none"}, "no such file"},
		{"password empty", []string{rendezvous, relay, "--username=u", "--password-file=" + file("e", "\n")}, "one line"},
		{"password of two lines", []string{rendezvous, relay, "--username=u", "--password-file=" + file("l", "a\nb\n")}, "one line"},
		{"ticket missing", []string{rendezvous, "--ticket-file=" + dir + "/none"}, "--ticket-file"},
		{"ticket that is none", []string{rendezvous, "--ticket-file=" + file("t", "not base64\n")}, "a ticket of at most"},
		{"ticket too long", []string{rendezvous, "--ticket-file=" + file("tt", strings.Repeat("AAAA", 100))}, "a ticket of at most"},
		{"seed too short", []string{rendezvous, "--seed=07"}, "64 hexadecimal"},
		{"seed and key file", []string{rendezvous, "--seed=" + seed, "--key-file=x"}, "exclude"},
		{"key file", []string{rendezvous, "--key-file=" + file("k", "not a key")}, "key file"},
		{"connect", []string{rendezvous, "--connect=nobody"}, "--connect"},
		{"connect to itself", []string{rendezvous, "--seed=" + seed, "--connect=" + own}, "itself"},
		{"room without name", []string{rendezvous, "--seed=" + seed, "--join="}, "--join"},
		{"count without interval", []string{rendezvous, "--count=3"}, "--send-interval"},
		{"negative interval", []string{rendezvous, "--send-interval=-1s"}, "negative"},
		{"payload too small", []string{rendezvous, "--payload-size=3"}, "--payload-size"},
		{"payload too large", []string{rendezvous, "--payload-size=2000"}, "--payload-size"},
		{"both keepalives", []string{rendezvous, "--keepalive=1s", "--no-keepalive"}, "exclude"},
		{"both consents", []string{rendezvous, "--consent=1s", "--no-consent"}, "exclude"},
		{"events", []string{rendezvous, "--events=xml"}, "text or json"},
		{"unknown flag", []string{rendezvous, "--conect=x"}, "conect"},
		{"argument", []string{rendezvous, "x"}, `unexpected argument "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var said bytes.Buffer
			root := newRootCommand()
			root.SetArgs(append([]string{"peer"}, c.args...))
			root.SetOut(io.Discard)
			root.SetErr(&said)
			if code := run(ctx, root); code != exitUsage || !strings.Contains(said.String(), c.want) {
				t.Errorf("exit code %d, said %q; want %d and %q", code, said.String(), exitUsage, c.want)
			}
		})
	}
}

// program is a command, run as a program would be run.
type program struct {
	lines chan string // what it says, closed when it ends
	code  chan int
	stop  context.CancelFunc
}

func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	out, in := io.Pipe()
	// More lines than any program here says: it never waits for the test.
	p := &program{lines: make(chan string, 10_000), code: make(chan int, 1), stop: stop}
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(in)
	root.SetErr(in)
	go func() {
		p.code <- run(ctx, root)
		in.Close()
	}()
	go func() {
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		stop()
		for range p.lines {
		}
	})
	return p
}

// until reads lines until one begins as wanted.
func (p *program) until(t *testing.T, prefix string) string {
	t.Helper()
	return p.find(t, prefix, strings.HasPrefix)
}

// says reads lines until one holds what is wanted, as lines of a log do.
func (p *program) says(t *testing.T, text string) string {
	t.Helper()
	return p.find(t, text, strings.Contains)
}

func (p *program) find(t *testing.T, want string, is func(line, want string) bool) string {
	t.Helper()
	for line := range p.lines {
		if is(line, want) {
			return line
		}
	}
	t.Fatalf("the program ended before it said %q", want)
	return ""
}

// TestPeersTalk runs all three commands: two peers connect and one answers what
// the other sends.
func TestPeersTalk(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("north\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	word := func(line string, n int) string { return strings.Fields(line)[n] }
	rv := startProgram(t, "rendezvous", "--listen=127.0.0.1:0")
	relay := startProgram(t, "relay", "--listen=127.0.0.1:0", "--relay-address=127.0.0.1", "--secret-file="+secret, "--allow-peer=127.0.0.0/8")
	common := []string{
		"--rendezvous=" + word(rv.until(t, "rendezvous listening on "), 3),
		"--relay=" + word(relay.until(t, "relay listening on "), 3),
		"--secret-file=" + secret, "--username=test",
	}
	echo := startProgram(t, append([]string{"peer", "--echo"}, common...)...)
	id := word(echo.until(t, "peer "), 1)
	sender := startProgram(t, append([]string{"peer", "--connect=" + id, "--send-interval=10ms", "--count=5", "--linger=200ms", "--events=json"}, common...)...)
	counts := map[string]int{}
	for line := range sender.lines {
		var e struct {
			Time              time.Time
			Event, Kind, Peer string
			Number            int
			RTT               *float64 `json:"rtt_ms"`
			Path              struct{ Kind, Remote string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("line %q is not JSON: %v", line, err)
		}
		if e.Time.IsZero() {
			t.Errorf("line %q has no time", line)
		}
		counts[e.Event]++
		switch e.Event {
		case "received":
			if e.Kind != "reply" || e.Peer != id || e.Number != counts["received"] || e.RTT == nil {
				t.Errorf("received %q, want reply %d of %s", line, counts["received"], id)
			}
		case "settled":
			if e.Path.Kind != "direct" || e.Path.Remote == "" {
				t.Errorf("settled with %q, want a direct path", line)
			}
		}
	}
	for event, want := range map[string]int{"ready": 1, "introduced": 1, "sent": 5, "received": 5, "stats": 1, "closed": 1} {
		if counts[event] != want {
			t.Errorf("%d events %q, want %d; all: %v", counts[event], event, want, counts)
		}
	}
	if code := <-sender.code; code != 0 {
		t.Errorf("exit code %d after all was sent, want 0", code)
	}
	echo.stop()
	if code := <-echo.code; code != 0 {
		t.Errorf("exit code %d after being told to stop, want 0", code)
	}
}
