package relay

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/freeport"
)

// These tests hold the relay against coturn, which is somebody else's idea of
// the same RFCs. Debian and Ubuntu: apt-get install coturn.

// coturn finds one of coturn's programs, or leaves the test out and says so.
func coturn(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("LEFT OUT: %s is not installed (apt-get install coturn), so our relay was not held against coturn", program)
	}
	return path
}

var uclientLoss = regexp.MustCompile(`Total lost packets (\d+) `)

// TestCoturnClientThroughOurServer moves data between coturn's own clients
// through our relay: by channels and by indications, with RTCP connections
// (which ask for EVEN-PORT and reservations) and without.
func TestCoturnClientThroughOurServer(t *testing.T) {
	uclient := coturn(t, "turnutils_uclient")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"-y", []string{"-y", "-u", "alice", "-w", "secret"}},
		{"-y -c", []string{"-y", "-c", "-u", "alice", "-w", "secret"}},
		{"-y -c -s", []string{"-y", "-c", "-s", "-u", "alice", "-w", "secret"}},
		{"-y -c -g: DONT-FRAGMENT", []string{"-y", "-c", "-g", "-u", "alice", "-w", "secret"}},
		{"-y -c -M: mobility", []string{"-y", "-c", "-M", "-u", "alice", "-w", "secret"}},
		{"-y -c -G: extra requests", []string{"-y", "-c", "-G", "-u", "alice", "-w", "secret"}},
		{"-y -c -N: negative tests", []string{"-y", "-c", "-N", "-u", "alice", "-w", "secret"}},
		{"-y -c -X: IPv4 explicitly", []string{"-y", "-c", "-X", "-u", "alice", "-w", "secret"}},
		{"-y -c -D: padded channels", []string{"-y", "-c", "-D", "-u", "alice", "-w", "secret"}},
		{"-y -c -W: time-limited credentials", []string{"-y", "-c", "-W", "north", "-u", "carol"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, loop, addr := startServer(t)
			const clients, messages = 2, 50
			args := append(c.args, "-p", strconv.Itoa(int(addr.Port())), "-m", strconv.Itoa(clients),
				"-n", strconv.Itoa(messages), "-l", "170", addr.Addr().String())
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, uclient, args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s %s: %v\n%s", uclient, strings.Join(args, " "), err, out)
			}
			lost := uclientLoss.FindSubmatch(out)
			if lost == nil || string(lost[1]) != "0" {
				t.Errorf("%s %s lost packets:\n%s", uclient, strings.Join(args, " "), out)
			}
			loop.Do(func(time.Time) {
				st := server.Stats()
				if want := uint64(clients * messages); st.ToPeers < want || st.ToClients < want {
					t.Errorf("%d datagrams to peers and %d to clients, want at least %d each", st.ToPeers, st.ToClients, want)
				}
			})
		})
	}
}

// TestOurClientThroughCoturnServer is the other way round.
func TestOurClientThroughCoturnServer(t *testing.T) {
	turnserver := coturn(t, "turnserver")
	addr := freeport.Of(t)
	dir := t.TempDir()
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, turnserver, "-n", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp",
		"--listening-ip", addr.Addr().String(), "--listening-port", strconv.Itoa(int(addr.Port())),
		"--relay-ip", addr.Addr().String(), "--allow-loopback-peers",
		"--user-quota", "2", "--mobility", "--lt-cred-mech", "--user", "alice:secret", "--realm", "test", "--log-file", "stdout",
		"--userdb", filepath.Join(dir, "turndb"), "--pidfile", filepath.Join(dir, "pid"))
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
			t.Logf("coturn said:\n%s", &log)
		}
	})
	// The clients' retransmissions wait for coturn to be up.
	a, b := startClient(t, addr, "alice", "secret"), startClient(t, addr, "alice", "secret")
	relayedA, relayedB := await(t, a.allocated, "a's allocation").Relayed, await(t, b.allocated, "b's allocation").Relayed
	a.permit(t, relayedB)
	b.permit(t, relayedA)
	exchange(t, a, b, relayedA, relayedB, 500, 1000)
	t.Run("a third allocation, past the quota", func(t *testing.T) { isRefused(t, addr, "secret", "486") })
	t.Run("a wrong password", func(t *testing.T) { isRefused(t, addr, "guess", "refused the username or password") })
	for _, c := range []*runningClient{a, b} {
		bound := false
		c.loop.Do(func(now time.Time) {
			for _, p := range c.peers {
				bound = bound || p.bound
			}
			c.Close(now)
		})
		if !bound {
			t.Error("no channel was bound: all went by indications")
		}
	}
}
