//go:build unix

package agent_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/client"
)

// What BenchmarkClients does once all clients are there.
const (
	clientsRate = 1000 // requests a second, of all together
	clientsTime = 5 * time.Second
	clientsIdle = 5 * time.Second
)

// BenchmarkClients gives what requests and sessions cost with so many clients of a whole
// shard, each with a connection and a stream of events of its own. All of it runs in
// this process. CLIENTS=5000 is another number besides.
func BenchmarkClients(b *testing.B) {
	counts := []int{100, 500}
	if n, err := strconv.Atoi(os.Getenv("CLIENTS")); err == nil && !slices.Contains(counts, n) {
		counts = append(counts, n)
	}
	for _, n := range counts {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				manyClients(b, n)
			}
		})
	}
}

func manyClients(b *testing.B, n int) {
	s := newStack(b)
	a, _ := s.agent("agent-1", func(c *agent.Config) {
		c.Limits.ConnectionRate, c.Limits.ConnectionBurst, c.Limits.ConnectionsPerAddress = 1e5, 1e5, 1e5
	})
	host := s.player("host", a)
	room, err := host.CreateRoom(b.Context(), settings())
	if err != nil {
		b.Fatal(err)
	}
	before := inUse()
	clients := make([]*client.Client, n)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := i; j < n; j += 8 {
				clients[j] = s.player(fmt.Sprint("player-", j), a)
			}
		})
	}
	all.Wait()
	eventually(b, "all have their streams", time.Minute, func() bool { return a.Streams() == n+1 })
	b.ReportMetric(float64(inUse()-before)/float64(n)/1024, "KiB/session")
	used := cpuTime(b)
	time.Sleep(clientsIdle)
	idle := (cpuTime(b) - used).Seconds() / clientsIdle.Seconds()
	b.ReportMetric(idle/float64(n)*1e6, "µs-cpu/session/s")
	used = cpuTime(b)
	began := time.Now()
	report(b, clientsRate, clientsTime, func(ctx context.Context, i int) error {
		_, err := clients[i%n].GetRoom(ctx, room.Id)
		return err
	})
	busy := (cpuTime(b) - used).Seconds() - idle*time.Since(began).Seconds()
	b.ReportMetric(busy/(clientsRate*clientsTime.Seconds())*1e6, "µs-cpu/request")
}

// cpuTime is what this process has used of all processors.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
