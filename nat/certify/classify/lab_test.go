//go:build linux

package classify_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/identity"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/nat"
	"p2pmodel/nat/certify/classify"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

func TestMain(m *testing.M) {
	kernel.Init()
	goleak.VerifyTestMain(m)
}

// TestAllPairsBehindTheKernelsNATs classifies every mapping and filtering from a
// host behind it, with our own rendezvous as the server.
func TestAllPairsBehindTheKernelsNATs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces: run `sudo make test`")
	}
	lab := &sim.Lab{Hosts: []sim.Host{{Name: "server", Addresses: 2, Uplinks: []sim.Uplink{{Name: sim.DefaultUplink}}}}}
	ports := []nat.Allocation{nat.Preserve, nat.Sequential, nat.Random}
	hairpins := []nat.Hairpin{nat.HairpinNone, nat.HairpinExternal, nat.HairpinInternal}
	var all []nat.Behavior
	for m := nat.EndpointIndependent; m <= nat.AddressAndPortDependent; m++ {
		for f := nat.EndpointIndependent; f <= nat.AddressAndPortDependent; f++ {
			i := len(all)
			b := nat.Behavior{Mapping: m, Filtering: f, Ports: ports[(i+i/3)%3], Hairpin: hairpins[i%3], Timeout: 2 * time.Second}
			all = append(all, b)
			router := fmt.Sprintf("nat-%d", i)
			lab.Routers = append(lab.Routers, sim.Router{Name: router, NAT: &b})
			lab.Hosts = append(lab.Hosts, sim.Host{Name: fmt.Sprintf("host-%d", i), Uplinks: []sim.Uplink{{Name: sim.DefaultUplink, Behind: router}}})
		}
	}
	if err := lab.Validate(); err != nil {
		t.Fatal(err)
	}
	network, err := kernel.Fabric{}.Build(t.Context(), lab, sim.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	}()
	server := serve(t, network)
	var group sync.WaitGroup
	for i, b := range all {
		group.Go(func() {
			name := fmt.Sprintf("host-%d", i)
			host, err := network.Host(name)
			if err != nil {
				t.Error(err)
				return
			}
			r, err := classify.Run(t.Context(), classify.Config{
				Server: server, Local: network.Plan().Addresses(name, sim.DefaultUplink)[0], Rand: rand.Reader, Lifetime: 5 * time.Second,
				RTO: 100 * time.Millisecond,
			}, func(ctx context.Context, local netip.AddrPort) (net.PacketConn, error) {
				return host.ListenPacket(ctx, "udp4", local.String())
			})
			if err != nil {
				t.Errorf("%s: %v", b, err)
				return
			}
			for _, f := range r.Findings {
				want := b.Get(f.Axis)
				if f.Axis == nat.AxisTimeout {
					if d, err := time.ParseDuration(f.Measured); err == nil && (d-b.Timeout).Abs() <= 60*time.Millisecond {
						continue
					}
				}
				if f.Measured != want {
					t.Errorf("%s: %s is told as %s\n  %s", b, f.Axis, f.Measured, strings.Join(f.Evidence, "\n  "))
				}
			}
			for _, axis := range []nat.Axis{nat.AxisMapping, nat.AxisFiltering, nat.AxisPorts, nat.AxisTimeout} {
				if r.Measured(axis) == "" {
					t.Errorf("%s: %s was not told: %s", b, axis, why(r, axis))
				}
			}
			if tellable := b.Hairpin == nat.HairpinExternal && (b.Mapping == nat.EndpointIndependent || b.Filtering == nat.EndpointIndependent); tellable && r.Measured(nat.AxisHairpin) == "" {
				t.Errorf("%s: hairpin was not told", b)
			}
		})
	}
	group.Wait()
}

// serve runs our rendezvous on the host with two addresses.
func serve(t *testing.T, network sim.Network) netip.AddrPort {
	t.Helper()
	host, err := network.Host("server")
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	addresses := network.Plan().Addresses("server", sim.DefaultUplink)
	listen := netip.AddrPortFrom(addresses[0], 3478)
	machine, err := rendezvous.NewServer(rendezvous.ServerConfig{
		Listen: listen, Alternate: netip.AddrPortFrom(addresses[1], 3479), Key: key, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	running, err := host.Run(context.Background(), machine, func(_ time.Time, e sansio.Event) {
		if _, ok := e.(rendezvous.Listening); ok {
			close(ready)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = running.Stop() })
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("the rendezvous does not listen")
	}
	return listen
}
