//go:build linux

package kernel_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// many is a lab of peers behind NATs of their own.
func many(peers int) string {
	var b strings.Builder
	b.WriteString("lab:\n  routers:\n")
	for i := range peers {
		fmt.Fprintf(&b, "    nat-%d: {nat: port-restricted-cone}\n", i)
	}
	b.WriteString("  hosts:\n")
	for i := range peers {
		fmt.Fprintf(&b, "    peer-%d: {behind: nat-%d}\n", i, i)
	}
	return b.String()
}

// mapped asks an echo for the address that a host has outside. Datagrams may be
// lost where so many come at once, as to any server: it asks again.
func mapped(n *kernel.Network, name string, server netip.AddrPort) (netip.AddrPort, error) {
	h, err := n.Host(name)
	if err != nil {
		return netip.AddrPort{}, err
	}
	conn, err := h.ListenPacket(context.Background(), "udp4", ":5000")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer func() { _ = conn.Close() }()
	b := make([]byte, 64)
	for range 20 {
		if _, err = conn.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(server)); err != nil {
			return netip.AddrPort{}, err
		}
		if err = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			return netip.AddrPort{}, err
		}
		var size int
		if size, _, err = conn.ReadFrom(b); err == nil {
			seen, _, _ := strings.Cut(string(b[:size]), " ")
			return netip.ParseAddrPort(seen)
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%s got no answer: %w", name, err)
}

// 500 peers behind 500 NATs stand in one lab, and each learns the address that its
// own NAT gives it. Nothing is left of them.
func TestFiveHundredPeersBehindFiveHundredNATs(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out 1001 namespaces")
	}
	needRoot(t)
	const peers = 500
	began, worked := time.Now(), processorTime(t)
	n := stand(t, many(peers)+"    server: {}\n")
	t.Logf("stands after %v, %v of processor time, %d MB resident", time.Since(began), processorTime(t)-worked, procBytes(t, "/proc/self/status", "VmRSS")/1e6)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	began = time.Now()
	var asking sync.WaitGroup
	atOnce := make(chan struct{}, 50)
	for i := range peers {
		asking.Go(func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			got, err := mapped(n, fmt.Sprintf("peer-%d", i), server)
			r, unknown := n.Router(fmt.Sprintf("nat-%d", i))
			if err != nil || unknown != nil {
				t.Errorf("peer %d: %v %v", i, err, unknown)
				return
			}
			// The NAT preserves ports.
			if want := netip.AddrPortFrom(r.External()[0], 5000); got != want {
				t.Errorf("peer %d is %v outside, want %v", i, got, want)
			}
		})
	}
	asking.Wait()
	t.Logf("all know where they are after %v", time.Since(began))
	if err := n.Err(); err != nil {
		t.Error(err)
	}
}

// 60 labs of 6 namespaces are built at once, and in each both peers learn their
// addresses, which are the same in all.
func TestSixtyLabsAtOnce(t *testing.T) {
	needRoot(t)
	labs := 60
	if testing.Short() {
		labs = 6
	}
	before := leftovers(t)
	lab := parse(t, many(2)+"    server: {}\n")
	var all []*kernel.Network
	var mu sync.Mutex
	var building sync.WaitGroup
	began := time.Now()
	for range labs {
		building.Go(func() {
			n, err := kernel.Fabric{}.Build(t.Context(), lab, sim.Options{Seed: 1})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, n.(*kernel.Network))
		})
	}
	building.Wait()
	t.Logf("%d labs stand after %v", len(all), time.Since(began))
	began = time.Now()
	var asking sync.WaitGroup
	for _, n := range all {
		server := echo(t, host(t, n, "server"), addressOf(n, "server"))
		for i := range 2 {
			asking.Go(func() {
				got, err := mapped(n, fmt.Sprintf("peer-%d", i), server)
				if want := netip.AddrPortFrom(router(t, n, fmt.Sprintf("nat-%d", i)).External()[0], 5000); err != nil || got != want {
					t.Errorf("peer %d is %v outside, want %v: %v", i, got, want, err)
				}
			})
		}
	}
	asking.Wait()
	t.Logf("all know where they are after %v", time.Since(began))
	began = time.Now()
	var closing sync.WaitGroup
	for _, n := range all {
		closing.Go(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closing.Wait()
	t.Logf("gone after %v", time.Since(began))
	sameAs(t, before)
}

func BenchmarkBuildPair(b *testing.B) { benchmarkBuild(b, pair) }
func BenchmarkBuild100(b *testing.B)  { benchmarkBuild(b, many(100)) }
func BenchmarkBuild500(b *testing.B)  { benchmarkBuild(b, many(500)) }

// afterCleanup waits until the kernel, which takes namespaces down in order, has
// finished with those that were given up before.
func afterCleanup(b *testing.B) {
	n, err := kernel.Fabric{}.Build(b.Context(), parse(b, lone), sim.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := n.Close(); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
}

// benchmarkBuild measures Build alone, and what teardown and its wait take as
// another figure. Processor time and memory are told besides: the former does not
// depend on what else the machine does.
func benchmarkBuild(b *testing.B, yaml string) {
	needRoot(b)
	lab := parse(b, yaml)
	var took, closed, worked []time.Duration
	var kernelMemory, resident uint64
	for b.Loop() {
		before, idle := processorTime(b), kernelBytes(b)
		began := time.Now()
		n, err := kernel.Fabric{}.Build(b.Context(), lab, sim.Options{})
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		b.StopTimer()
		worked = append(worked, processorTime(b)-before)
		if now := kernelBytes(b); now > idle {
			kernelMemory = max(kernelMemory, now-idle)
		}
		resident = max(resident, procBytes(b, "/proc/self/status", "VmRSS"))
		began = time.Now()
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
		closed = append(closed, time.Since(began))
		afterCleanup(b)
		b.StartTimer()
	}
	b.ReportMetric(milliseconds(took), "ms-median")
	b.ReportMetric(milliseconds(worked), "cpu-ms")
	b.ReportMetric(milliseconds(closed), "ms-close")
	b.ReportMetric(float64(kernelMemory)/1e6, "MB-kernel")
	b.ReportMetric(float64(resident)/1e6, "MB-resident")
}

// milliseconds is the median.
func milliseconds(of []time.Duration) float64 {
	slices.Sort(of)
	return float64(of[len(of)/2].Microseconds()) / 1000
}

// processorTime is what this process has used.
func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// kernelBytes is the memory that the kernel has for itself: what a namespace costs
// is there, and so is what everybody else's cost.
func kernelBytes(tb testing.TB) uint64 {
	tb.Helper()
	var sum uint64
	for _, name := range []string{"Slab", "KernelStack", "PageTables", "Percpu", "VmallocUsed"} {
		sum += procBytes(tb, "/proc/meminfo", name)
	}
	return sum
}

// procBytes reads a line "name: 123 kB".
func procBytes(tb testing.TB, file, name string) uint64 {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if key, rest, ok := strings.Cut(line, ":"); ok && key == name {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return n << 10
		}
	}
	tb.Fatalf("%s says nothing of %s", file, name)
	return 0
}
