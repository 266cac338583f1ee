//go:build linux

package netem_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/link"
)

// TestLink takes a link by netem through what a lab does to its links: each packet
// is counted once, under what became of it.
func TestLink(t *testing.T) {
	needNetem(t)
	network, l := stand(t, kernel.NetemLinks)
	from, _ := socket(t, network, "a")
	to, at := socket(t, network, "b")
	entered := uint64(0)
	// say sends packets and waits until the link has counted them as wanted.
	say := func(n int, what string, want func(up link.Counts) bool) {
		t.Helper()
		for range n {
			if _, err := from.WriteToUDPAddrPort(make([]byte, 100), at); err != nil {
				t.Fatal(err)
			}
		}
		entered += uint64(n)
		var up link.Counts
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if up, _ = l.Counts(); up.Offered == entered && want(up) {
				return
			}
		}
		t.Fatalf("%s: %+v after %d packets", what, up, entered)
	}
	impair := func(up link.Impairment) {
		t.Helper()
		if err := l.Impair(up, link.Impairment{}); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	say(10, "all arrive", func(up link.Counts) bool { return up.Delivered == 10 && up.Bytes == 1280 })
	must(l.Cut())
	say(5, "a cut takes all", func(up link.Counts) bool { return up.Delivered == 10 && up.By[link.Cut] == 5 })
	must(l.Restore())
	say(3, "they arrive again", func(up link.Counts) bool { return up.Delivered == 13 && up.By[link.Cut] == 5 })
	impair(link.Impairment{Loss: 1})
	say(7, "all are lost", func(up link.Counts) bool { return up.Delivered == 13 && up.By[link.Loss] == 7 })
	impair(link.Impairment{Burst: link.Burst{P: 1, R: 1e-9, Bad: 1, Good: 1}})
	say(4, "all are in bursts", func(up link.Counts) bool {
		return up.Delivered == 13 && up.By[link.Loss] == 7 && up.By[link.Bursty] == 4
	})
	impair(link.Impairment{Rate: 8000, Queue: 200})
	// One packet passes at once for it fits the bucket, more wait: the rest is lost.
	say(40, "a queue is full", func(up link.Counts) bool { return up.By[link.Queue] > 20 })
	impair(link.Impairment{Delay: time.Minute})
	say(2, "two are on their way", func(up link.Counts) bool { return up.By[link.Cut] <= 5 })
	before, _ := l.Counts()
	must(l.Cut())
	say(0, "a cut takes what is on its way", func(up link.Counts) bool { return up.By[link.Cut] >= before.By[link.Cut]+2 })
	must(l.Restore())
	up, _ := l.Lost()
	counts, _ := l.Counts()
	if up != counts.Lost() || counts.Delivered+counts.Lost() > counts.Offered {
		t.Errorf("lost %d of %+v", up, counts)
	}

	err := l.Impair(link.Impairment{Delay: 20 * time.Millisecond, Jitter: time.Millisecond}, link.Impairment{})
	if err == nil || !strings.Contains(err.Error(), "--links wire") {
		t.Errorf("jitter in order is refused with %v", err)
	}
	impair(link.Impairment{})
	for range 100 { // whatever was still underway
		if _, _, err := readWithin(to, time.Millisecond); err != nil {
			break
		}
	}
	if _, err := from.WriteToUDPAddrPort([]byte("last"), at); err != nil {
		t.Fatal(err)
	}
	if got, _, err := readWithin(to, 10*time.Second); err != nil || got != "last" {
		t.Errorf("after all of it %q arrived: %v", got, err)
	}
}

// TestMeasure: what a lab measures before a run is what the link does, and leaves no
// trace in its counts.
func TestMeasure(t *testing.T) {
	needNetem(t)
	network, l := stand(t, kernel.NetemLinks)
	if err := l.Impair(link.Impairment{Delay: 20 * time.Millisecond}, link.Impairment{Delay: 10 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	all, err := network.Measure(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("%d measurements of two directions", len(all))
	}
	for _, m := range all {
		t.Log(m)
		if err := m.Err(); err != nil {
			t.Error(err)
		}
	}
	if up, down := l.Counts(); up.Offered+up.Delivered+down.Offered+down.Delivered != 0 {
		t.Errorf("probes are counted: %+v, %+v", up, down)
	}
}

// TestRefusedBeforeAnythingIsBuilt: a lab with a link that netem cannot do is told
// which, and why.
func TestRefusedBeforeAnythingIsBuilt(t *testing.T) {
	l, err := sim.ParseLab("lab.yaml", []byte("lab: {hosts: {a: {}, b: {}}, links: {a: {delay: 20ms, jitter: 5ms}}}"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = kernel.Fabric{Links: kernel.NetemLinks}.Build(context.Background(), l, sim.Options{})
	if err == nil || !strings.Contains(err.Error(), "link of a up: netem has no jitter that keeps packets in order") {
		t.Errorf("refused with %v", err)
	}
}

func readWithin(c *net.UDPConn, d time.Duration) (string, netip.AddrPort, error) {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return "", netip.AddrPort{}, err
	}
	b := make([]byte, 2048)
	n, from, err := c.ReadFromUDPAddrPort(b)
	return string(b[:n]), from, err
}
