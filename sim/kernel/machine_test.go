//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/link"
)

// caller is a machine that calls a server whenever the host's addresses change,
// and tells the answers.
type caller struct {
	sansio.Outbox
	server netip.AddrPort
	opened bool
}

func (c *caller) HandleInterfaces(time.Time, []netip.Addr) {
	if c.opened {
		c.Send(1, c.server, []byte("again"))
		return
	}
	c.Bind(1, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
}

func (c *caller) HandleBound(_ time.Time, _ sansio.Socket, _ netip.AddrPort, err error) {
	if err != nil {
		c.Emit(err)
		return
	}
	c.opened = true
	c.Send(1, c.server, []byte("first"))
}

func (c *caller) HandleDatagram(_ time.Time, d sansio.Datagram) { c.Emit(string(d.Payload)) }
func (c *caller) HandleTimeout(time.Time)                       {}
func (c *caller) PollTimeout() time.Time                        { return time.Time{} }

func TestMachinesRunOnHostsAndHearOfMoves(t *testing.T) {
	n := stand(t, roaming)
	phone := host(t, n, "phone")
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	events := make(chan sansio.Event, 100)
	running, err := phone.Run(t.Context(), &caller{server: server}, func(_ time.Time, e sansio.Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	heard := func(word string, router *kernel.Router) {
		t.Helper()
		deadline := time.After(patient)
		for {
			select {
			case e := <-events:
				from, what, _ := strings.Cut(e.(string), " ")
				if addr, err := netip.ParseAddrPort(from); err == nil && what == word && addr.Addr() == router.External()[0] {
					return
				}
			case <-deadline:
				t.Fatalf("the server did not hear %q from %v", word, router.External())
			}
		}
	}
	heard("first", router(t, n, "carrier"))
	if err := phone.Move("wifi"); err != nil {
		t.Fatal(err)
	}
	heard("again", router(t, n, "home"))
	if !running.Do(func(time.Time) {}) {
		t.Error("Do says that the machine has stopped")
	}
	if err := running.Stop(); err != nil {
		t.Error(err)
	}
	if running.Do(func(time.Time) {}) {
		t.Error("Do called a machine that was stopped")
	}
	if _, err := phone.Run(context.Background(), &caller{server: server}, nil); err != nil {
		t.Error(err) // this one is ended by the lab
	}
}

func TestEverythingAtOnce(t *testing.T) {
	n := stand(t, roaming)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	phone, desk := host(t, n, "phone"), host(t, n, "desk")
	behaviors := []nat.Behavior{{}, {Mapping: nat.AddressAndPortDependent, Ports: nat.Random}}
	actions := []func(r *rand.Rand) error{
		func(r *rand.Rand) error { return phone.Move([]string{"4g", "wifi"}[r.IntN(2)]) },
		func(r *rand.Rand) error { return router(t, n, "carrier").Reboot(r.IntN(2) == 0) },
		func(r *rand.Rand) error { return router(t, n, "home").Swap(behaviors[r.IntN(2)]) },
		func(*rand.Rand) error { return linkOf(t, n, "desk", "").Cut() },
		func(*rand.Rand) error { return linkOf(t, n, "desk", "").Restore() },
		func(*rand.Rand) error { return linkOf(t, n, "phone", "4g").Cut() },
		func(*rand.Rand) error { return linkOf(t, n, "phone", "4g").Restore() },
		func(*rand.Rand) error {
			return linkOf(t, n, "phone", "4g").Impair(link.Impairment{Loss: 0.5}, link.Impairment{Delay: time.Millisecond})
		},
		func(*rand.Rand) error { return desk.Restrict([]netip.Addr{server.Addr()}) },
		func(*rand.Rand) error { return desk.Unrestrict() },
		func(*rand.Rand) error { _, err := phone.Addresses(); return err },
		func(*rand.Rand) error { _, err := router(t, n, "cell").Mappings(); return err },
		func(*rand.Rand) error { _, err := router(t, n, "cell").Rules(); return err },
		func(*rand.Rand) error { n.Packets(); return n.Err() },
		func(*rand.Rand) error {
			p, err := desk.Start(context.Background(), sim.Program{Path: "true"})
			if err != nil {
				return err
			}
			return p.Wait()
		},
		func(*rand.Rand) error {
			conn, err := phone.ListenPacket(context.Background(), "udp4", ":0")
			if err != nil {
				return err
			}
			_, _ = conn.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(server)) // it may have no uplink just now
			return conn.Close()
		},
	}
	end := time.Now().Add(2 * time.Second)
	var group sync.WaitGroup
	for i, act := range actions {
		group.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for time.Now().Before(end) {
				if err := act(r); err != nil {
					t.Errorf("action %d: %v", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(desk.Unrestrict(), linkOf(t, n, "desk", "").Restore(), linkOf(t, n, "phone", "4g").Restore(),
		linkOf(t, n, "phone", "4g").Impair(link.Impairment{}, link.Impairment{})); err != nil {
		t.Fatal(err)
	}
	for _, uplink := range []string{"4g", "wifi"} {
		if err := phone.Move(uplink); err != nil {
			t.Fatal(err)
		}
		seenFrom(t, bind(t, phone), server)
	}
	seenFrom(t, bind(t, desk), server)
}

func TestCloseInTheMiddleOfEverything(t *testing.T) {
	n := stand(t, roaming)
	phone := host(t, n, "phone")
	acts := []func() error{
		func() error { return phone.Move(map[string]string{"4g": "wifi", "wifi": "4g"}[phone.Active()]) },
		func() error { return router(t, n, "carrier").Reboot(true) },
		func() error { _, err := phone.ListenPacket(context.Background(), "udp4", ":0"); return err },
		func() error { _, err := phone.Dial(context.Background(), "tcp4", "198.18.99.99:1"); return err },
		func() error { _, err := phone.Start(context.Background(), sim.Program{Path: "true"}); return err },
		func() error { _, err := phone.Run(context.Background(), &caller{}, nil); return err },
		func() error { _, err := router(t, n, "home").Certify(context.Background()); return err },
		func() error { return linkOf(t, n, "desk", "").Cut() },
	}
	var group sync.WaitGroup
	for _, act := range acts {
		group.Go(func() {
			for range 200 {
				if err := act(); err != nil && strings.Contains(err.Error(), "the lab is closed") {
					return
				}
			}
		})
	}
	time.Sleep(200 * time.Millisecond) // any moment will do
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	group.Wait()
}

func TestAHundredPeersAllReachTheServer(t *testing.T) {
	n := stand(t, many(100)+"    server: {}\n")
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	var seen []netip.Addr
	for _, h := range n.Lab().Hosts {
		if h.Name != "server" {
			seen = append(seen, seenFrom(t, bind(t, host(t, n, h.Name)), server).Addr())
		}
	}
	slices.SortFunc(seen, netip.Addr.Compare)
	if len(slices.Compact(seen)) != 100 {
		t.Errorf("the server saw %d addresses, want 100", len(slices.Compact(seen)))
	}
}
