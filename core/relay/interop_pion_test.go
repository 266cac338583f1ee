package relay

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/freeport"
	"p2pmodel/core/sansio"
)

// These tests hold the relay against pion/turn: its client and its server are a
// program in a module of its own, which go builds here.
const pionTurnModule = "../../scenarios/foreign/pion-turn"

func pionTurn(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pion-turn")
	out, err := exec.CommandContext(t.Context(), "go", "-C", pionTurnModule, "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		t.Skipf("LEFT OUT: pion-turn cannot be built, so our relay was not held against pion/turn: %v\n%s", err, out)
	}
	return path
}

func TestPionClientThroughOurServer(t *testing.T) {
	program := pionTurn(t)
	run := func(t *testing.T, args ...string) (string, error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, program, append([]string{"client"}, args...)...).CombinedOutput()
		return string(out), err
	}
	server, loop, at, _ := startStreamServer(t)
	for _, c := range []struct{ transport, addr string }{
		{"udp", at.Addr.String()}, {"tcp", at.TCP.String()}, {"tls", at.TLS.String()},
	} {
		t.Run(c.transport, func(t *testing.T) {
			out, err := run(t, "--server", c.addr, "--transport", c.transport, "--user", "alice", "--password", "secret")
			if err != nil || !strings.Contains(out, "50 datagrams each way, none lost") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"a wrong password":        {[]string{"--user", "alice", "--password", "guess"}, "error 401"},
		"an unknown user":         {[]string{"--user", "mallory", "--password", "secret"}, "error 401"},
		"IPv6, which we have not": {[]string{"--user", "alice", "--password", "secret", "--relay6"}, "error 440"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, append(c.args, "--server", at.Addr.String())...)
			if err == nil || !strings.Contains(out, c.says) {
				t.Errorf("%v, want %s:\n%s", err, c.says, out)
			}
		})
	}
	loop.Do(func(time.Time) {
		if st := server.Stats(); st.Created != 6 {
			t.Errorf("%d allocations were made, want two by each transport", st.Created)
		}
	})
}

func TestOurClientThroughPionServer(t *testing.T) {
	addr := startPionServer(t, pionTurn(t))
	a, b := startClient(t, addr, "alice", "secret"), startClient(t, addr, "alice", "secret")
	relayedA, relayedB := await(t, a.allocated, "a's allocation").Relayed, await(t, b.allocated, "b's allocation").Relayed
	a.permit(t, relayedB)
	b.permit(t, relayedA)
	exchange(t, a, b, relayedA, relayedB, 200, 1000)
	t.Run("a third allocation, past the quota", func(t *testing.T) { isRefused(t, addr, "secret", "486") })
	t.Run("a wrong password", func(t *testing.T) { isRefused(t, addr, "guess", "400") })
	for _, c := range []*runningClient{a, b} {
		c.loop.Do(func(now time.Time) { c.Close(now) })
	}
}

// isRefused has a client ask in vain; says is in its error.
func isRefused(t *testing.T, addr netip.AddrPort, password, says string) {
	t.Helper()
	result := make(chan sansio.Event, 8)
	runLoop(t, newClientMachine(addr, "alice", password), func(e sansio.Event) { result <- e })
	failed, ok := await(t, result, "the refusal").(AllocateFailed)
	if !ok || !strings.Contains(failed.Err.Error(), says) {
		t.Errorf("%+v, want a failure that says %q", failed, says)
	}
}

func startPionServer(t *testing.T, program string) netip.AddrPort {
	t.Helper()
	addr := freeport.Of(t)
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "server", "--listen", addr.String(), "--user", "alice", "--password", "secret", "--quota", "2")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // ends by the signal
		if t.Failed() {
			t.Logf("pion-turn said:\n%s", &log)
		}
	})
	return addr
}
