package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPeersWithoutUDP runs the programs as one would where nothing gets out but TCP:
// the addresses for UDP are nobody's. Both peers are relayed, over TLS and over TCP.
func TestPeersWithoutUDP(t *testing.T) {
	dir := t.TempDir()
	cert, key, err := keepCertificate(dir, []string{"127.0.0.1", "relay.example"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "users")
	password := filepath.Join(dir, "pw")
	for name, text := range map[string]string{users: "alice:secret\n", password: "secret\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serve := []string{"--listen", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "--tls", "127.0.0.1:0", "--cert", cert, "--key", key}
	where := func(line, what string) string {
		_, rest, found := strings.Cut(line, " "+what+" ")
		if !found {
			t.Fatalf("%q does not say %s", line, what)
		}
		at, _, _ := strings.Cut(rest, " ")
		return at
	}
	rendezvous := startProgram(t, append([]string{"rendezvous"}, serve...)...).until(t, "rendezvous listening on ")
	relay := startProgram(t, append([]string{"relay", "--relay-address", "127.0.0.1", "--allow-peer", "127.0.0.0/8",
		"--credentials-file", users}, serve...)...).until(t, "relay listening on ")

	peer := func(args ...string) *program {
		return startProgram(t, append([]string{"peer", "--rendezvous", "127.0.0.1:9", "--relay", "127.0.0.1:11", "--username", "alice",
			"--password-file", password, "--ca-file", filepath.Join(dir, "ca.crt"), "--relay-only", "--events", "json"}, args...)...)
	}
	a := peer("--echo", "--rendezvous-tls", where(rendezvous, "tls")+"/relay.example", "--relay-tls", where(relay, "tls"))
	var ready struct{ ID string }
	if err := json.Unmarshal([]byte(a.event(t, "ready")), &ready); err != nil {
		t.Fatal(err)
	}
	if e := a.event(t, "server_reached"); !strings.Contains(e, "TLS") {
		t.Errorf("not over TLS: %s", e)
	}
	if e := a.event(t, "registered"); strings.Contains(e, "reflexive\":\"") {
		t.Errorf("a stream's address is taken for one of UDP: %s", e)
	}
	b := peer("--rendezvous-tcp", where(rendezvous, "tcp"), "--relay-tcp", where(relay, "tcp"),
		"--connect", ready.ID, "--send-interval", "20ms", "--count", "20")
	if e := b.event(t, "server_reached"); !strings.Contains(e, "TCP") {
		t.Errorf("not over TCP: %s", e)
	}
	if e := b.event(t, "path_changed"); !strings.Contains(e, `"kind":"relay"`) {
		t.Errorf("the path is %s", e)
	}
	b.event(t, "received")
}

// event reads lines until one is an event of a name.
func (p *program) event(t *testing.T, name string) string {
	t.Helper()
	for line := range p.lines {
		if strings.Contains(line, `"event":"`+name+`"`) {
			return line
		}
	}
	t.Fatalf("no event %s", name)
	return ""
}

func TestStreamsBadInput(t *testing.T) {
	const listen = "--listen=127.0.0.1:0"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"rendezvous", listen, "--tls=127.0.0.1:0"}, "--cert"},
		{[]string{"rendezvous", listen, "--cert=x", "--key=y"}, "--tls"},
		{[]string{"rendezvous", listen, "--tls=127.0.0.1:0", "--cert=/none", "--key=/none"}, "no such file"},
		{[]string{"rendezvous", listen, "--tcp=443"}, "--tcp"},
		{[]string{"relay", listen, "--relay-address=127.0.0.1", "--tls=443", "--cert=x", "--key=y"}, "--tls"},
		{[]string{"peer", "--rendezvous=127.0.0.1:9", "--relay-tls=127.0.0.1:443"}, "--relay IP:PORT"},
		{[]string{"peer", "--rendezvous=127.0.0.1:9", "--rendezvous-tls=localhost"}, "--rendezvous-tls"},
		{[]string{"peer", "--rendezvous=127.0.0.1:9", "--ca-file=/none"}, "--ca-file"},
	} {
		code, said := execute(t.Context(), nil, c.args...)
		if code != exitUsage || !strings.Contains(said, c.want) {
			t.Errorf("%v: exit code %d, said %q; want %d and %q", c.args, code, said, exitUsage, c.want)
		}
	}
}
