//go:build linux

package foreign_test

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/classify"
)

// TestClassifyWithCoturn has natlab classify's machine talk to a server that
// others wrote.
func TestClassifyWithCoturn(t *testing.T) {
	court.call(t, "turnserver")
	behaviors := map[string]string{
		"a": "full-cone,hairpin=external,timeout=2s",
		"b": "restricted-cone,ports=random,timeout=2s",
		"c": "symmetric,timeout=2s",
		"d": "mapping=ADM,filtering=APDF,ports=random,timeout=2s",
	}
	yaml := "lab:\n  hosts:\n    rendezvous: {addresses: 2}\n"
	routers := "  routers:\n"
	for name, b := range behaviors {
		yaml += "    " + name + ": {behind: nat-" + name + "}\n"
		routers += "    nat-" + name + `: {nat: "` + b + "\"}\n"
	}
	l := stand(t, yaml+routers)
	server := l.turnserver("rendezvous")
	var group sync.WaitGroup
	for name, text := range behaviors {
		group.Go(func() {
			declared, err := nat.ParseBehavior(text)
			if err != nil {
				t.Error(err)
				return
			}
			host, err := l.Host(name)
			if err != nil {
				t.Error(err)
				return
			}
			r, err := classify.Run(t.Context(), classify.Config{
				Server: server, Local: l.address(name, 0), Rand: rand.Reader, Lifetime: 4 * time.Second, RTO: 200 * time.Millisecond,
			}, func(ctx context.Context, local netip.AddrPort) (net.PacketConn, error) {
				return host.ListenPacket(ctx, "udp4", local.String())
			})
			if err != nil || !r.Complete() {
				t.Errorf("%s: %+v, %v", text, r, err)
				return
			}
			for _, f := range r.Findings {
				if f.Axis == nat.AxisTimeout {
					if d, err := time.ParseDuration(f.Measured); err == nil && (d-declared.Timeout).Abs() <= 100*time.Millisecond {
						continue
					}
				}
				if want := declared.Get(f.Axis); f.Measured != want {
					t.Errorf("%s: %s is told as %s, want %s\n  %s", text, f.Axis, f.Measured, want, strings.Join(f.Evidence, "\n  "))
				}
			}
			t.Logf("%s: %s (%s), untold %v", text, r.Behavior, r.Classic, r.Untold)
		})
	}
	group.Wait()
}
