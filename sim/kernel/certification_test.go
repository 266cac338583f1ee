//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// nested has NATs of several kinds, one behind another, one with a slow uplink
// and one with a firewall.
const nested = `
lab:
  routers:
    carrier: {nat: symmetric, addresses: 2}
    home: {behind: carrier, nat: "mapping=EIM,filtering=ADF,ports=sequential"}
    far: {nat: "mapping=ADM,filtering=APDF,ports=random"}
    guarded: {nat: full-cone, firewall: {inbound: replies, udp: [3478]}}
  hosts:
    a: {behind: home}
    b: {behind: far}
    c: {behind: guarded}
    server: {}
  links:
    far: {delay: 300ms, loss: 50%}
`

func TestAllNATsOfALabAreCertifiedAtOnce(t *testing.T) {
	n := stand(t, nested)
	var group sync.WaitGroup
	for _, r := range n.Lab().Routers {
		group.Go(func() {
			result, err := router(t, n, r.Name).Certify(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if !result.OK() {
				t.Errorf("router %s\ndeclared %s\nmeasured %s\n%+v", r.Name, result.Declared, result.Measured, result.Findings)
			}
		})
	}
	group.Wait()
	if packets := n.Packets(); len(packets) > 0 {
		t.Errorf("certification left %d packets in the captures, the first from %s to %s at %s", len(packets), packets[0].Src, packets[0].Dst, packets[0].Point)
	}
	for _, r := range n.Lab().Routers {
		if text, err := router(t, n, r.Name).Mappings(); err != nil || strings.Contains(text, "198.19.255.") || strings.Contains(text, "192.168.255.") {
			t.Errorf("certification left mappings at %s: %v\n%s", r.Name, err, text)
		}
	}
	// Impairments and firewalls are in force again.
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	if answer := ask(t, bind(t, host(t, n, "c")), server, brief); answer != "" {
		t.Errorf("the firewall let %q through to port 7", answer)
	}
	far := bind(t, host(t, n, "b"))
	for range 100 {
		began := time.Now()
		if ask(t, far, server, 2*time.Second) == "" {
			continue // half of them are lost, each way
		}
		if took := time.Since(began); took < 600*time.Millisecond {
			t.Errorf("a round trip over 300 ms each way took %v", took)
		}
		return
	}
	t.Error("no answer over the far link")
}

func TestCertifyFollowsASwapAndCatchesOneBehindItsBack(t *testing.T) {
	n := stand(t, pair)
	r := router(t, n, "nat-a")
	symmetric := nat.Behavior{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Sequential}
	if err := r.Swap(symmetric); err != nil {
		t.Fatal(err)
	}
	if now, ok := r.Behavior(); !ok || now != symmetric {
		t.Errorf("after the swap Behavior says %v", now)
	}
	result, err := r.Certify(t.Context())
	if err != nil || !result.OK() || !strings.Contains(result.Measured, "mapping=APDM") {
		t.Errorf("after a swap: declared %s, measured %s, %v", result.Declared, result.Measured, err)
	}

	// Somebody else changes the rules.
	path, err := n.NamespacePath("nat-b")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	conn, err := nftables.New(nftables.WithNetNSFd(fd))
	if err != nil {
		t.Fatal(err)
	}
	b := router(t, n, "nat-b")
	if err := ruleset.Install(conn, ruleset.Config{Behavior: symmetric, Outside: sim.DefaultUplink, External: b.External()}); err != nil {
		t.Fatal(err)
	}
	result, err = b.Certify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if result.OK() || !strings.Contains(result.Measured, "mapping=APDM") {
		t.Errorf("a NAT that is none of what it claims passed: declared %s, measured %s", result.Declared, result.Measured)
	}
	// The certification ended with a fresh NAT as declared.
	if result, err = b.Certify(t.Context()); err != nil || !result.OK() {
		t.Errorf("afterwards: declared %s, measured %s, %v", result.Declared, result.Measured, err)
	}
}

func TestACertificationThatIsCancelledRemovesWhatItMade(t *testing.T) {
	n := stand(t, pair)
	r := router(t, n, "nat-b")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Certify(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "router nat-b: certify: ") {
		t.Errorf("error %v, want that the time is over", err)
	}
	if result, err := r.Certify(t.Context()); err != nil || !result.OK() {
		t.Errorf("the next certification: %+v, %v", result, err)
	}
}

func TestCloseEndsACertification(t *testing.T) {
	n := stand(t, pair)
	done := make(chan error, 1)
	go func() {
		_, err := router(t, n, "nat-b").Certify(context.Background())
		done <- err
	}()
	time.Sleep(30 * time.Millisecond) // any moment will do
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("error %v, want that the lab is closed", err)
	}
}

// punch opens a path between two peers by hand: each sends to where the other
// is seen, until something arrives.
func punch(tb testing.TB, n *kernel.Network, tries int) bool {
	tb.Helper()
	server := echo(tb, host(tb, n, "server"), addressOf(n, "server"))
	a, b := bind(tb, host(tb, n, "a")), bind(tb, host(tb, n, "b"))
	atA, atB := seenFrom(tb, a, server), seenFrom(tb, b, server)
	for range tries {
		// What the first one sends opens its own NAT and may be dropped.
		_ = ask(tb, a, atB, 20*time.Millisecond)
		if ask(tb, b, atA, 20*time.Millisecond) != "" || ask(tb, a, atB, 20*time.Millisecond) != "" {
			return true
		}
	}
	return false
}

func TestPunchingByHand(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		open bool
	}{
		{"full-cone", "full-cone", true},
		{"restricted-cone", "port-restricted-cone", true},
		{"port-restricted-cone", "port-restricted-cone", true},
		{"symmetric", "port-restricted-cone", false},
		{"symmetric", "symmetric", false},
		{"symmetric", "full-cone", true},
	} {
		t.Run(tt.a+" with "+tt.b, func(t *testing.T) {
			n := stand(t, fmt.Sprintf(`
lab:
  routers:
    nat-a: {nat: %s}
    carrier: {nat: full-cone}
    nat-b: {behind: carrier, nat: %s}
  hosts:
    a: {behind: nat-a}
    b: {behind: nat-b}
    server: {}
`, tt.a, tt.b))
			tries := 3
			if tt.open {
				tries = 100 // on a busy machine; one will do
			}
			if open := punch(t, n, tries); open != tt.open {
				t.Errorf("a path was opened: %v, want %v", open, tt.open)
			}
		})
	}
}
