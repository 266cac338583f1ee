package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
)

// TestClassify asks a rendezvous on this machine's loopback, where there is no NAT:
// with its second address, without, and once it is gone.
func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		alternate bool
		status    int
		want      []string
	}{
		{true, exitOK, []string{"open: no NAT, no filter", "filtering=EIF", "hairpin is not known: there is no translation"}},
		{false, exitUnexpected, []string{"no NAT; what is filtered is not known", "mapping is not known: the STUN server names no other address"}},
	} {
		listen := serve(t, tt.alternate)
		status, out, stderr := call(t.Context(), "classify", "--server", listen.String())
		if status != tt.status {
			t.Errorf("status %d, want %d: %s", status, tt.status, stderr)
		}
		contains(t, out, append(tt.want, listen.String())...)
		status, out, _ = call(t.Context(), "classify", "--server", listen.String(), "--json")
		var r struct{ Server, Reflexive, Classic string }
		if err := json.Unmarshal([]byte(out), &r); err != nil || status != tt.status || r.Server != listen.String() {
			t.Errorf("status %d, %v: %s", status, err, out)
		}
	}
	status, out, stderr := call(t.Context(), "classify", "--server", unused(t).String())
	if status != exitUnable || out != "" {
		t.Errorf("without a server: status %d, %s", status, out)
	}
	contains(t, stderr, "no answer from the STUN server", "Is it a STUN server")
}

// unused is an address that was free a moment ago, at two addresses.
func unused(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		one, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		a := one.LocalAddr().(*net.UDPAddr).AddrPort()
		two, err := net.ListenPacket("udp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), a.Port()).String())
		_ = one.Close()
		if err == nil {
			_ = two.Close()
			return a
		}
	}
	t.Fatal("no port is free")
	return netip.AddrPort{}
}

// serve runs our rendezvous until the test ends.
func serve(t *testing.T, alternate bool) netip.AddrPort {
	t.Helper()
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg := rendezvous.ServerConfig{Listen: unused(t), Key: key, Rand: rand.Reader}
	if alternate {
		cfg.Alternate = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), unused(t).Port())
	}
	server, err := rendezvous.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{}, 1)
	loop := sansio.NewLoop(server, sansio.System(), func(_ time.Time, e sansio.Event) {
		if _, ok := e.(rendezvous.Listening); ok {
			ready <- struct{}{}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("the rendezvous ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the rendezvous does not listen")
	}
	return cfg.Listen
}
