package relay

import (
	"strings"
	"testing"
	"time"

	"p2pmodel/core/sansio/siege"
)

// TestCoturnClientThroughTheKernel: coturn's clients send each other data through our relay, from
// channel to channel, and most of it never gets to a socket of the relay's.
func TestCoturnClientThroughTheKernel(t *testing.T) {
	if err := siege.Ready(); err != nil {
		t.Skipf("LEFT OUT: %v", err)
	}
	for args, rare := range map[string]bool{"-y -c": false, "-y -c -M": false, "-y": true, "-y -c -D": true} {
		t.Run(args, func(t *testing.T) {
			if rare {
				seldom(t)
			}
			uclient := coturn(t, "turnutils_uclient")
			t.Parallel()
			fast, shut := hasten(t)
			t.Cleanup(shut)
			r := startForeignRelay(t, func(cfg *ServerConfig) { cfg.FastPath = fast })
			const clients, messages = 2, 50
			out, err := run(t, time.Minute, uclient, uclientArgs(r.at.Addr, clients, messages, append(strings.Fields(args), alice...)...)...)
			if err != nil {
				t.Fatalf("it ends with %v:\n%s", err, out)
			}
			if lost := uclientLoss.FindStringSubmatch(out); lost == nil || lost[1] != "0" {
				t.Errorf("it lost datagrams:\n%s", out)
			}
			if st := r.stats(); st.ToPeers < clients*messages || st.ToClients < clients*messages || 2*st.Passed.ToPeers < st.ToPeers || 2*st.Passed.ToClients < st.ToClients {
				t.Errorf("%+v, want at least %d datagrams each way, and most of them passed on by the kernel", st, clients*messages)
			}
		})
	}
}
