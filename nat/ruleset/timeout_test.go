//go:build linux

package ruleset_test

import (
	"testing"
	"time"

	"p2pmodel/nat"
)

// precision of the kernel's timeouts: they count ticks, of 4 ms at
// 250 Hz, and a refresh falls somewhere within one.
const precision = 10 * time.Millisecond

// lifetime probes a mapping from outside until it is dead, and checks that it
// lived as long as it should. The bounds hold however late this process is
// scheduled: they are on when a probe was sent, before or after.
func lifetime(t *testing.T, refreshed, after time.Time, timeout time.Duration, alive func() bool) {
	t.Helper()
	for {
		before := time.Now()
		passed := alive()
		sent := time.Now()
		if passed && before.After(after.Add(timeout+precision)) {
			t.Fatalf("alive %v after the last packet that counts, timeout is %v", before.Sub(after), timeout)
		}
		if !passed {
			if sent.Before(refreshed.Add(timeout - precision)) {
				t.Fatalf("dead %v after the last packet that counts, timeout is %v", sent.Sub(refreshed), timeout)
			}
			return
		}
		<-time.After(time.Millisecond)
	}
}

// A mapping lives for the timeout, and inbound packets do not prolong it where
// only outbound ones count. Timeouts below a second work as well.
func TestTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{nat.MinTimeout, 400 * time.Millisecond, 2 * time.Second} {
		for _, scope := range []nat.Scope{nat.ScopeMapping, nat.ScopeEndpoint} {
			b := nat.Behavior{Filtering: nat.AddressAndPortDependent, Scope: scope, Timeout: timeout}
			t.Run(b.String(), func(t *testing.T) {
				t.Parallel()
				n := behind(t, b, 1)
				inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
				before := time.Now()
				ext := mapped(inside, server)
				lifetime(t, before, time.Now(), timeout, func() bool { return reaches(server, ext, inside) })
			})
		}
	}
}

// Outbound packets keep the mapping beyond its timeout, to whomever they go; but
// each keeps only its own destination in the filter.
func TestRefreshOutbound(t *testing.T) {
	t.Parallel()
	b := nat.Behavior{Filtering: nat.AddressAndPortDependent, Timeout: 600 * time.Millisecond}
	n := behind(t, b, 1)
	inside := n.hosts[0].udp(hostAddr(0) + ":5000")
	kept, left := n.outside.udp(outsideA+":3478"), n.outside.udp(outsideB+":3478")
	ext := mapped(inside, left)
	for end := time.Now().Add(2 * b.Timeout); time.Now().Before(end); <-time.After(b.Timeout / 8) {
		if got := mapped(inside, kept); got != ext {
			t.Fatalf("mapped to %v, and to %v under steady traffic", ext, got)
		}
	}
	if reaches(left, ext, inside) {
		t.Error("a destination that was left alone for two timeouts may still send")
	}
	if !reaches(kept, ext, inside) {
		t.Error("the other destination may not")
	}
}

// With refresh in both directions, inbound packets keep all that they go by: the
// mapping, the filter's entry, and the claim to the port.
func TestRefreshBoth(t *testing.T) {
	for _, mapping := range dependences {
		for _, scope := range []nat.Scope{nat.ScopeMapping, nat.ScopeEndpoint} {
			for _, filtering := range []nat.Dependence{nat.EndpointIndependent, nat.AddressAndPortDependent} {
				b := nat.Behavior{
					Mapping: mapping, Filtering: filtering, Scope: scope,
					Refresh: nat.RefreshBoth, Timeout: 600 * time.Millisecond,
				}
				t.Run(b.String(), func(t *testing.T) {
					t.Parallel()
					refreshBoth(t, b)
				})
			}
		}
	}
}

func refreshBoth(t *testing.T, b nat.Behavior) {
	n := behind(t, b, 2)
	inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
	ext := mapped(inside, server)
	for end := time.Now().Add(2 * b.Timeout); time.Now().Before(end); <-time.After(b.Timeout / 8) {
		if !reaches(server, ext, inside) {
			t.Fatalf("dead under steady inbound traffic\n%s", n.dump())
		}
	}
	// The port is still taken, and the mapping still ours.
	rival := n.hosts[1].udp(hostAddr(1) + ":5000")
	if got := mapped(rival, server); got == ext {
		t.Fatalf("%v went to another host while it was in use", ext)
	}
	if got := mapped(inside, server); got != ext {
		t.Fatalf("mapped to %v, now to %v", ext, got)
	}
}
