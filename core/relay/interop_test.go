package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/scenarios/interop"
)

// These tests hold the relay and its client against coturn and pion/turn, which are
// other people's ideas of the same RFCs. Each of them is a row of the table that make
// interop prints.

// wholeTable has the rows tried that take seconds and differ from others in little.
var wholeTable = flag.Bool("interop", false, "try every row of the table of interoperability")

// The names of ours in the table.
const (
	ourRelay  = "p2pmodel relay"
	ourClient = "p2pmodel's client"
)

// seldom leaves a row to make interop.
func seldom(t *testing.T) {
	t.Helper()
	if !*wholeTable {
		t.Skip("LEFT OUT: make interop tries it")
	}
}

// coturn finds one of coturn's programs, or leaves the test out and says so.
func coturn(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("LEFT OUT: %s is not installed (apt-get install coturn), so we were not held against coturn", program)
	}
	return path
}

// coturnVersion is like "4.6.1"; uclient, which does not tell, comes with the server.
var coturnVersion = sync.OnceValue(func() string {
	out, _ := exec.Command("turnserver", "--version").CombinedOutput()
	return regexp.MustCompile(`\d+\.\d+\.\d+`).FindString(string(out))
})

// loopback6 is the other address of this host, or the zero value: not every machine
// has IPv6.
var loopback6 = sync.OnceValue(func() netip.Addr {
	conn, err := sansio.System().ListenPacket(context.Background(), "udp6", "[::1]:0")
	if err != nil {
		return netip.Addr{}
	}
	conn.Close()
	return netip.IPv6Loopback()
})

// needsIPv6 leaves a row out where there is none.
func needsIPv6(t *testing.T) {
	t.Helper()
	if !loopback6().IsValid() {
		t.Skip("LEFT OUT: this machine has no IPv6 on its loopback")
	}
}

// foreignRelay is our relay for others' clients: UDP, TCP and TLS, both families where
// the machine has them.
type foreignRelay struct {
	server *Server
	loop   *sansio.Loop
	at     Listening
}

func startForeignRelay(t *testing.T, change func(*ServerConfig)) *foreignRelay {
	t.Helper()
	pair, _ := loopbackCertificate(t)
	any := netip.AddrPortFrom(loopback, 0)
	cfg := ServerConfig{
		Listen: any, TCP: any, TLS: any, RelayAddress: loopback, RelayAddress6: loopback6(), Realm: "test",
		Authenticators: []Authenticator{Users{"alice": "secret"}, SharedSecret("north")},
		AllowPeers:     prefixes("127.0.0.0/8", "::1/128"), DontFragment: sansio.DontFragment, Rand: rand.Reader,
	}
	if change != nil {
		change(&cfg)
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	listening := make(chan Listening, 1)
	machine := sansio.Streams(s, sansio.StreamConfig{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
	})
	l := runLoop(t, machine, func(e sansio.Event) {
		switch e := e.(type) {
		case Listening:
			listening <- e
		case ListenFailed:
			t.Errorf("listen: %v", e.Err)
			close(listening)
		}
	})
	return &foreignRelay{s, l, await(t, listening, "the relay to listen")}
}

// by is where clients of a transport come to.
func (r *foreignRelay) by(over string) netip.AddrPort {
	switch over {
	case "TCP":
		return r.at.TCP
	case "TLS":
		return r.at.TLS
	}
	return r.at.Addr
}

func (r *foreignRelay) stats() (st Stats) {
	r.loop.Do(func(time.Time) { st = r.server.Stats() })
	return st
}

// run runs a foreign program to its end.
func run(t *testing.T, within time.Duration, program string, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	text, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	return string(text), err
}

var uclientLoss = regexp.MustCompile(`Total lost packets (\d+) `)

// uclientArgs are what all of its runs have in common.
func uclientArgs(at netip.AddrPort, clients, messages int, args ...string) []string {
	return append(args, "-p", strconv.Itoa(int(at.Port())), "-m", strconv.Itoa(clients), "-n", strconv.Itoa(messages), "-l", "171", at.Addr().String())
}

// alice is who most clients are.
var alice = []string{"-u", "alice", "-w", "secret"}

// TestCoturnClientThroughOurServer moves data between coturn's own clients through our
// relay: by channels and by indications, with RTCP connections (which ask for EVEN-PORT
// and reservations) and without.
func TestCoturnClientThroughOurServer(t *testing.T) {
	for _, c := range []struct {
		over, tried, args string
		seldom, six       bool
	}{
		{over: "UDP", tried: "channels, RTCP pairs", args: "-y"},
		{over: "UDP", tried: "channels", args: "-y -c"},
		{over: "UDP", tried: "indications", args: "-y -c -s"},
		{over: "UDP", tried: "DONT-FRAGMENT", args: "-y -c -g"},
		{over: "UDP", tried: "mobility", args: "-y -c -M"},
		{over: "UDP", tried: "extra requests", args: "-y -c -G"},
		{over: "UDP", tried: "negative tests: channels at random", args: "-y -c -N"},
		{over: "UDP", tried: "IPv4 by name", args: "-y -c -X", seldom: true},
		{over: "UDP", tried: "IPv6 relayed addresses", args: "-y -c -x", six: true},
		{over: "UDP", tried: "IPv6, RTCP pairs", args: "-y -x", six: true, seldom: true},
		{over: "UDP", tried: "IPv6 and mobility", args: "-y -c -x -M", six: true, seldom: true},
		{over: "UDP", tried: "both families", args: "-y -Z", six: true},
		{over: "UDP", tried: "both families and mobility", args: "-y -Z -M", six: true, seldom: true},
		{over: "UDP", tried: "both families, indications", args: "-y -Z -s", six: true, seldom: true},
		{over: "UDP", tried: "padded channels", args: "-y -c -D", seldom: true},
		{over: "UDP", tried: "clients that vanish", args: "-y -c -B", seldom: true},
		{over: "UDP", tried: "an ORIGIN, a BANDWIDTH", args: "-y -c -o http://example.org -a 100000", seldom: true},
		{over: "UDP", tried: "time-limited credentials", args: "-y -c -W north -u carol"},
		{over: "UDP over IPv6", tried: "channels", args: "-y -c", six: true},
		{over: "UDP over IPv6", tried: "IPv6 relayed addresses", args: "-y -c -x", six: true, seldom: true},
		{over: "TCP", tried: "channels", args: "-t -y -c"},
		{over: "TCP", tried: "indications", args: "-t -y -c -s"},
		{over: "TCP", tried: "padded channels", args: "-t -y -c -D", seldom: true},
		{over: "TCP", tried: "mobility", args: "-t -y -c -M", seldom: true},
		{over: "TLS", tried: "channels", args: "-t -S -y -c"},
		{over: "TLS", tried: "indications", args: "-t -S -y -c -s", seldom: true},
		{over: "TLS", tried: "channels, RTCP pairs", args: "-t -S -y", seldom: true},
		{over: "TLS", tried: "both families", args: "-t -S -y -Z", six: true, seldom: true},
	} {
		t.Run(c.over+" "+c.args, func(t *testing.T) {
			const clients, messages = 2, 50
			interop.Try(t, interop.Row{
				Client: "turnutils_uclient " + coturnVersion(), Server: ourRelay, Over: c.over,
				Tried: c.tried + " (" + c.args + ")", Expected: "100 datagrams, none lost",
			})
			if c.seldom {
				seldom(t)
			}
			if c.six {
				needsIPv6(t)
			}
			uclient := coturn(t, "turnutils_uclient")
			t.Parallel()
			r := startForeignRelay(t, func(cfg *ServerConfig) {
				if c.over == "UDP over IPv6" {
					cfg.Listen = netip.AddrPortFrom(loopback6(), 0)
				}
			})
			args := strings.Fields(c.args)
			if !strings.Contains(c.args, "-u ") {
				args = append(args, alice...)
			}
			out, err := run(t, time.Minute, uclient, uclientArgs(r.by(c.over), clients, messages, args...)...)
			if err != nil {
				t.Fatalf("it ends with %v:\n%s", err, out)
			}
			if lost := uclientLoss.FindStringSubmatch(out); lost == nil || lost[1] != "0" {
				t.Errorf("it lost datagrams:\n%s", out)
			}
			if st := r.stats(); st.ToPeers < clients*messages || st.ToClients < clients*messages {
				t.Errorf("%d datagrams to peers and %d to clients, want at least %d each", st.ToPeers, st.ToClients, clients*messages)
			}
		})
	}
}

// TestCoturnClientIsRefused: what we do not give, coturn's client does not get, and
// learns why. It tells nobody of a 401, by which it learns realm and nonce.
func TestCoturnClientIsRefused(t *testing.T) {
	expired, hmac := SharedSecret("north").Credentials("carol", time.Now().Add(-time.Minute))
	const gaveUp = "Cannot complete Allocation"
	for _, c := range []struct {
		over, tried string
		args        []string
		says, why   string
	}{
		{"UDP", "a wrong password", []string{"-u", "alice", "-w", "guess"}, gaveUp, "401"},
		{"TLS", "a wrong password", []string{"-t", "-S", "-u", "alice", "-w", "guess"}, gaveUp, "401"},
		{"UDP", "an unknown user", []string{"-u", "mallory", "-w", "secret"}, gaveUp, "401"},
		{"UDP", "a wrong shared secret", []string{"-W", "south", "-u", "carol"}, gaveUp, "401"},
		{"UDP", "credentials that expired a minute ago", []string{"-u", expired, "-w", hmac}, gaveUp, "401"},
		{"UDP", "more allocations than a user may have", append([]string{"-m", "5"}, alice...), "error 486", "486"},
		{"TCP", "more allocations than a user may have", append([]string{"-t", "-m", "5"}, alice...), "error 486", "486"},
		{"UDP", "a private peer", append([]string{"-e", "10.0.0.1"}, alice...), "error 403", "403"},
		{"UDP", "a peer that the operator denies", append([]string{"-e", "127.9.9.9"}, alice...), "error 403", "403"},
		{"UDP", "a private peer, by indications (-s)", append([]string{"-s", "-e", "10.0.0.1"}, alice...), "error 403", "403"},
		{"TCP", "connections to peers, RFC 6062 (-T)", append([]string{"-T"}, alice...), "error 442", "442"},
		{"TCP", "connections from peers, RFC 6062 (-P)", append([]string{"-P"}, alice...), "error 442", "442"},
	} {
		t.Run(c.over+" "+c.tried, func(t *testing.T) {
			interop.Try(t, interop.Row{
				Client: "turnutils_uclient " + coturnVersion(), Server: ourRelay, Over: c.over, Tried: c.tried, Expected: "refused: " + c.why,
			})
			uclient := coturn(t, "turnutils_uclient")
			t.Parallel()
			r := startForeignRelay(t, func(cfg *ServerConfig) {
				cfg.DenyPeers = prefixes("127.9.0.0/16")
				cfg.MaxAllocationsPerUser = 4
			})
			at := r.by(c.over)
			args := append([]string{"-c", "-n", "1", "-p", strconv.Itoa(int(at.Port()))}, c.args...)
			if !strings.Contains(strings.Join(args, " "), "-e ") {
				args = append(args, "-y")
			}
			out, err := run(t, time.Minute, uclient, append(args, at.Addr().String())...)
			if err == nil || !strings.Contains(out, c.says) {
				t.Errorf("it ends with %v and does not say %q:\n%s", err, c.says, out)
			}
			if st := r.stats(); st.ToPeers != 0 || c.why == "401" && st.Created != 0 {
				t.Errorf("%d allocations were made, %d datagrams went to peers", st.Created, st.ToPeers)
			}
		})
	}
}

// TestCoturnClientAttacks: its modes that are made to break servers. They have no
// outcome of their own; the relay has to serve the next one.
func TestCoturnClientAttacks(t *testing.T) {
	for _, c := range []struct{ over, tried, args string }{
		{"UDP", "requests mangled at random, for 3 s", "-y -c -R"},
		{"TCP", "requests mangled at random, for 3 s", "-t -y -c -R"},
		{"UDP", "requests whose answers nobody awaits", "-y -c -O"},
	} {
		t.Run(c.over+" "+c.args, func(t *testing.T) {
			interop.Try(t, interop.Row{
				Client: "turnutils_uclient " + coturnVersion(), Server: ourRelay, Over: c.over,
				Tried: c.tried + " (" + c.args + ")", Expected: "others are served",
			})
			seldom(t)
			uclient := coturn(t, "turnutils_uclient")
			t.Parallel()
			r := startForeignRelay(t, nil)
			// It ends by the time, or gives up: either is well.
			_, _ = run(t, 3*time.Second, uclient, uclientArgs(r.by(c.over), 2, 5, append(strings.Fields(c.args), alice...)...)...)
			a, b := startClient(t, r.at.Addr, "alice", "secret"), startClient(t, r.at.Addr, "alice", "secret")
			relayedA, relayedB := await(t, a.allocated, "a's allocation").Relayed, await(t, b.allocated, "b's allocation").Relayed
			a.permit(t, relayedB)
			b.permit(t, relayedA)
			exchange(t, a, b, relayedA, relayedB, 50, 171)
		})
	}
}

// startProgram starts a server of others, which ends with the test, and is heard of if
// that fails.
func startProgram(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // ends by the signal
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(program), &log)
		}
	})
}
