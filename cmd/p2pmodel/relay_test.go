package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRelayBadInput(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := file("users", "# ours\nalice:se:cret\n\nbob:secret\n")
	const listen, address = "--listen=127.0.0.1:0", "--relay-address=127.0.0.1"
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "--listen"},
		{"no port", []string{"--listen=127.0.0.1"}, "IP:PORT"},
		{"no relay address", []string{listen}, "--relay-address"},
		{"relay address is a name", []string{listen, "--relay-address=localhost"}, `"localhost"`},
		{"relay address is IPv6", []string{listen, "--relay-address=::1", "--credentials-file=" + users}, "IPv4"},
		{"no credentials", []string{listen, address}, "--credentials-file or --secret-file"},
		{"credentials missing", []string{listen, address, "--credentials-file=" + dir + "/none"}, "none: no such file"},
		{"credentials without colon", []string{listen, address, "--credentials-file=" + file("a", "alice:x\n\nbob\n")}, "a:3: no colon"},
		{"credentials without name", []string{listen, address, "--credentials-file=" + file("b", ":x\n")}, "b:1: the name"},
		{"credentials without password", []string{listen, address, "--credentials-file=" + file("c", "alice:\n")}, `c:1: the password of "alice"`},
		{"credentials twice", []string{listen, address, "--credentials-file=" + file("d", "alice:x\nalice:y\n")}, "d:2: \"alice\" has a password already"},
		{"credentials empty", []string{listen, address, "--credentials-file=" + file("e", "# none\n")}, "e: no credentials"},
		{"name too long", []string{listen, address, "--credentials-file=" + file("f", strings.Repeat("n", 509)+":x\n")}, "f:1: the name has 509 bytes"},
		{"secret empty", []string{listen, address, "--secret-file=" + file("g", "\n")}, "g:1: empty"},
		{"secrets with a gap", []string{listen, address, "--secret-file=" + file("h", "a\n\nb\n")}, "h:2: empty"},
		{"ports backwards", []string{listen, address, "--credentials-file=" + users, "--ports=2-1"}, "LOW-HIGH"},
		{"ports too high", []string{listen, address, "--credentials-file=" + users, "--ports=1-65536"}, "LOW-HIGH"},
		{"prefix", []string{listen, address, "--credentials-file=" + users, "--allow-peer=10.0.0.0/33"}, "--allow-peer"},
		{"IPv6 that is IPv4", []string{listen, "--relay-address6=192.0.2.1", "--credentials-file=" + users}, "--relay-address6"},
		{"quota of an address", []string{listen, address, "--credentials-file=" + users, "--max-allocations-per-address=-1"}, "--max-allocations-per-address"},
		{"rate", []string{listen, address, "--credentials-file=" + users, "--rate-per-user=-1"}, "bytes a second"},
		{"drain", []string{listen, address, "--credentials-file=" + users, "--drain-time=-1s"}, "--drain-time"},
		{"alternate", []string{listen, address, "--credentials-file=" + users, "--alternate-server=elsewhere"}, "--alternate-server"},
		{"fast path", []string{listen, address, "--credentials-file=" + users, "--fast-path=yes"}, `--fast-path "yes"`},
		{"realm", []string{listen, address, "--credentials-file=" + users, "--realm=a\tb"}, "realm"},
		{"name", []string{listen, address, "--credentials-file=" + file("i", "a\tb:x\n")}, "i:1: "},
		{"log level", []string{listen, address, "--credentials-file=" + users, "--log-level=loud"}, "debug, info, warn"},
		{"metrics", []string{listen, address, "--credentials-file=" + users, "--metrics-listen=nowhere"}, "--metrics-listen"},
		{"quota", []string{listen, address, "--credentials-file=" + users, "--max-allocations-per-user=0"}, "at least 1"},
		{"unknown flag", []string{"--lisen=x"}, "lisen"},
		{"argument", []string{listen, "x"}, `unexpected argument "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said bytes.Buffer
			root := newRootCommand()
			root.SetArgs(append([]string{"relay"}, c.args...))
			root.SetOut(io.Discard)
			root.SetErr(&said)
			if code := run(t.Context(), root); code != exitUsage || !strings.Contains(said.String(), c.want) {
				t.Errorf("exit code %d, said %q; want %d and %q", code, said.String(), exitUsage, c.want)
			}
		})
	}
}

// TestRelayListensAndStops runs the command as a program would be run: it says
// when it is ready, and ends without an error when it is told to.
func TestRelayListensAndStops(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("north\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	out, ready := io.Pipe()
	root := newRootCommand()
	root.SetArgs([]string{"relay", "--listen=127.0.0.1:0", "--relay-address=127.0.0.1", "--secret-file=" + secret, "--realm=test"})
	root.SetOut(ready)
	code := make(chan int)
	go func() { code <- run(ctx, root) }()

	line, err := bufio.NewReader(out).ReadString('\n')
	if !strings.HasPrefix(line, "relay listening on 127.0.0.1:") ||
		!strings.HasSuffix(line, " relaying from 127.0.0.1:49152-65535 realm \"test\"\n") {
		t.Errorf("it said %q (%v), not where it listens", line, err)
	}
	stop()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d after being told to stop, want 0", c)
	}
}
