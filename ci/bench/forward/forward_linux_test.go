package forward_test

import (
	"context"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/ci/bench/forward"
	"p2pmodel/ci/bench/load"
	"p2pmodel/ci/bench/network"
	"p2pmodel/ci/bench/packet"
)

// namespaces makes a load's and a system's for the test.
func namespaces(t *testing.T) *network.Pair {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("LEFT OUT: network namespaces take root")
	}
	pair, err := network.New(0, runtime.NumCPU()-1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pair.Close)
	return pair
}

// TestForwardersForward: what a load sends comes out of each forwarder, all of it.
func TestForwardersForward(t *testing.T) {
	pair := namespaces(t)
	to, at := netip.AddrPortFrom(network.Peers, 9000), netip.AddrPortFrom(network.System, 3478)
	for _, manner := range []forward.Manner{forward.Plain, forward.Batched, forward.Offloaded} {
		for _, sockets := range []string{"each", "one", "one, with ports"} {
			one, ports := sockets != "each", sockets == "one, with ports"
			if ports && manner == forward.Plain {
				continue // it marks nothing
			}
			ctx, stop := context.WithCancel(t.Context())
			ready, ended := make(chan struct{}), make(chan error, 1)
			var running sync.WaitGroup
			running.Go(func() {
				// The forwarder's sockets are made as they are needed, so all of it is there.
				ended <- pair.System.Do(func() error {
					if ports {
						remove, err := forward.Rules()
						if err != nil {
							return err
						}
						defer remove()
					}
					f := forward.Forwarder{Manner: manner, Listen: at, To: to, Relayed: network.System, OneSocket: one, Ports: ports}
					return f.Run(ctx, func() { close(ready) })
				})
			})
			select {
			case <-ready:
			case err := <-ended:
				t.Fatalf("%s: %v", manner, err)
			}
			l := load.Load{Size: 120, Burst: 4, Skip: 0}
			err := pair.Load.Do(func() error {
				out, err := packet.Listen(to, true)
				if err != nil {
					return err
				}
				l.Out = []int{out}
				for range 4 {
					fd, err := packet.Listen(netip.AddrPortFrom(network.Clients, 0), false)
					if err != nil {
						return err
					}
					l.Flows = append(l.Flows, load.Flow{Socket: fd, Header: []byte{0x40, 0, 0, 120}})
					if err := packet.Connect(fd, at); err != nil {
						return err
					}
				}
				return l.Prepare()
			})
			if err != nil {
				t.Fatal(err)
			}
			// On a busy machine datagrams come later than a load waits for them.
			r := l.Paced(20*time.Millisecond, 2000)
			for deadline := time.Now().Add(20 * time.Second); r.Lost != 0 && time.Now().Before(deadline); {
				r = l.Paced(20*time.Millisecond, 2000)
			}
			if r.Sent == 0 || r.Lost != 0 || r.Latency.Quantile(0.5) <= 0 {
				t.Errorf("%s, sockets %s: %d of %d datagrams lost, median latency %v", manner, sockets, r.Lost, r.Sent, r.Latency.Quantile(0.5))
			}
			if r := l.Saturate(50*time.Millisecond, 256); r.Received > r.Sent {
				t.Errorf("%s, sockets %s: saturated, %d of %d came out", manner, sockets, r.Received, r.Sent)
			}
			stop()
			running.Wait()
			for _, f := range l.Flows {
				_ = unix.Close(f.Socket)
			}
			_ = unix.Close(l.Out[0])
		}
	}
}

// TestPortsTakeOneSocket: who cannot mark says so before anything is opened.
func TestPortsTakeOneSocket(t *testing.T) {
	for _, f := range []forward.Forwarder{{Manner: forward.Offloaded, Ports: true}, {Manner: forward.Plain, OneSocket: true, Ports: true}} {
		if err := f.Run(t.Context(), func() { t.Error("it listens") }); err == nil {
			t.Errorf("%s, one socket %v: no error", f.Manner, f.OneSocket)
		}
	}
}
