package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"p2pmodel/core/freeport"
	"p2pmodel/core/sansio"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/player"
)

// noUDP is a network that lets no UDP out.
type noUDP struct{ sansio.Network }

func (n noUDP) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	c, err := n.Network.ListenPacket(ctx, network, address)
	return swallower{c}, err
}

type swallower struct{ net.PacketConn }

func (swallower) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }

// TestAPlayerWithoutUDP: one whose network lets out TCP alone plays with one who has
// everything, over the relay, by what the ticket says of TLS; and so it is by TCP.
func TestAPlayerWithoutUDP(t *testing.T) {
	for _, transport := range []string{"tls", "tcp"} {
		data := filepath.Join(t.TempDir(), "data")
		at := []string{freeport.Of(t).String(), freeport.Of(t).String()}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var out output
		ended := make(chan int, 1)
		go func() {
			code, says := execute(ctx, &out, "all", "--data-dir", data, "--listen", "127.0.0.1:0", "--udp-port", fmt.Sprint(freeport.Row(t, 2)),
				"--rendezvous-"+transport, at[0], "--relay-"+transport, at[1], "--log-level", "warn")
			if code != 0 {
				t.Errorf("%s: exit %d, it says\n%s", transport, code, says)
			}
			ended <- code
		}()
		agent := awaitText(t, &out, "  agent", ended)
		ca := trust(t, filepath.Join(data, "ca.crt"))

		behind := func(c *player.Config) {
			c.Start, c.Peer.Roots = player.OnNetwork(noUDP{sansio.System()}), ca.RootCAs
		}
		ann := newGamerBy(t, "ann", ca, client.Account("ann", "any"), behind, agent)
		bob := newGamer(t, "bob", ca, client.Account("bob", "any"), agent)
		meet(t, ann, bob)
		exchange(t, ann, bob)
		ann.client.Close()
		bob.client.Close()
		stop()
		<-ended
	}
}
