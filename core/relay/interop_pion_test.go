package relay

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/scenarios/interop"
)

// pion/turn's client and server are a program in a module of its own, which go builds
// here.
const pionTurnModule = "../../scenarios/foreign/pion-turn"

func pionTurn(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pion-turn")
	out, err := exec.CommandContext(t.Context(), "go", "-C", pionTurnModule, "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		t.Skipf("LEFT OUT: pion-turn cannot be built, so we were not held against pion/turn: %v\n%s", err, out)
	}
	return path
}

// pionTurnVersion is like "v5.1.2".
var pionTurnVersion = sync.OnceValue(func() string {
	out, _ := exec.Command("go", "-C", pionTurnModule, "list", "-m", "-f", "{{.Version}}", "github.com/pion/turn/v5").Output()
	return strings.TrimSpace(string(out))
})

func TestPionClientThroughOurServer(t *testing.T) {
	t.Parallel()
	program := pionTurn(t)
	expired, hmac := SharedSecret("north").Credentials("carol", time.Now().Add(-time.Minute))
	good, password := SharedSecret("north").Credentials("carol", time.Now().Add(time.Hour))
	const arrived = "50 datagrams each way, none lost"
	for _, c := range []struct {
		over, tried, args string
		// refused is the code with which we refuse; empty: all arrives.
		refused string
		six     bool
	}{
		{over: "UDP", tried: "channels"},
		{over: "TCP", tried: "channels"},
		{over: "TLS", tried: "channels"},
		{over: "UDP", tried: "IPv6 relayed addresses", args: "--relay6", six: true},
		{over: "TLS", tried: "IPv6 relayed addresses", args: "--relay6", six: true},
		{over: "UDP over IPv6", tried: "channels", args: "--local ::1 --relay4", six: true},
		{over: "UDP over IPv6", tried: "IPv6 relayed addresses", args: "--local ::1", six: true},
		{over: "UDP", tried: "time-limited credentials", args: "--user " + good + " --password " + password},
		{over: "UDP", tried: "a wrong password", args: "--password guess", refused: "401"},
		{over: "TLS", tried: "a wrong password", args: "--password guess", refused: "401"},
		{over: "UDP", tried: "an unknown user", args: "--user mallory", refused: "401"},
		{over: "UDP", tried: "credentials that expired a minute ago", args: "--user " + expired + " --password " + hmac, refused: "401"},
		{over: "UDP", tried: "a third allocation of one user", args: "--more 1", refused: "486"},
		{over: "UDP", tried: "a private peer", args: "--peer 10.0.0.1:9", refused: "403"},
		{over: "UDP", tried: "a peer that the operator denies", args: "--peer 127.9.9.9:9", refused: "403"},
		{over: "TCP", tried: "connections to peers, RFC 6062", args: "--relay-tcp", refused: "442"},
	} {
		t.Run(c.over+" "+c.tried, func(t *testing.T) {
			expected := arrived
			if c.refused != "" {
				expected = "refused: " + c.refused
			}
			interop.Try(t, interop.Row{Client: "pion/turn " + pionTurnVersion(), Server: ourRelay, Over: c.over, Tried: c.tried, Expected: expected})
			if c.six {
				needsIPv6(t)
			}
			t.Parallel()
			r := startForeignRelay(t, func(cfg *ServerConfig) {
				cfg.DenyPeers = prefixes("127.9.0.0/16")
				cfg.MaxAllocationsPerUser = 2
				if c.over == "UDP over IPv6" {
					cfg.Listen = netip.AddrPortFrom(loopback6(), 0)
				}
			})
			transport, _, _ := strings.Cut(strings.ToLower(c.over), " ")
			args := append([]string{"client", "--server", r.by(c.over).String(), "--transport", transport, "--user", "alice", "--password", "secret"}, strings.Fields(c.args)...)
			out, err := run(t, time.Minute, program, args...)
			switch says := "error " + c.refused; {
			case c.refused == "" && (err != nil || !strings.Contains(out, arrived)):
				t.Errorf("it ends with %v:\n%s", err, out)
			case c.refused != "" && (err == nil || !strings.Contains(out, says)):
				t.Errorf("it ends with %v and does not say %q:\n%s", err, says, out)
			}
			if st := r.stats(); c.refused == "401" && st.Created != 0 {
				t.Errorf("%d allocations were made", st.Created)
			}
		})
	}
}
