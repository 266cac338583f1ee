package agent_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/client"
)

// The attackers of this suite run in a process of their own where their memory
// must not be taken for the Agent's.

const attackerEnv = "P2PMODEL_TEST_ATTACKER"

func TestMain(m *testing.M) {
	if order := os.Getenv(attackerEnv); order != "" {
		attack(order)
		return
	}
	goleak.VerifyTestMain(m)
}

// order is what an attacker does: open connections, from so many addresses of
// 127.1.0.0/16, and hold them until its input ends.
type order struct {
	Endpoint  string
	Count     int
	Addresses int
	TLS       bool
}

func attack(text string) {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Println("order:", err)
		return
	}
	var held []net.Conn // or the collector would close them
	for i := range o.Count {
		from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i%o.Addresses>>8), byte(i%o.Addresses)+1)}
		c, err := (&net.Dialer{LocalAddr: from, Timeout: 5 * time.Second}).Dial("tcp", o.Endpoint)
		if err != nil {
			continue
		}
		if o.TLS {
			c.SetDeadline(time.Now().Add(10 * time.Second))
			if tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).Handshake() != nil {
				c.Close()
				continue
			}
		}
		held = append(held, c)
	}
	fmt.Println(len(held))
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(held)
}

// attacker starts an attack and gives how many connections it thinks it opened.
func attacker(t *testing.T, o order) (opened int, stop func()) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), attackerEnv+"="+string(text))
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		in.Close()
		child.Wait()
	})
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the attacker did not report: %v", err)
	}
	if _, err := fmt.Sscan(strings.TrimSpace(line), &opened); err != nil {
		t.Fatalf("the attacker said %q", line)
	}
	return opened, stop
}

// honest asks for its room all the time, and finds out how long that takes.
type honest struct {
	t      *testing.T
	client *client.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	took  []time.Duration
	fails []error
}

func (w *world) honest(t *testing.T, a *running) *honest {
	t.Helper()
	h := &honest{t: t, client: w.player("honest", a), done: make(chan struct{})}
	room, err := h.client.CreateRoom(t.Context(), settings())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() {
		defer close(h.done)
		for ctx.Err() == nil {
			began := time.Now()
			_, err := h.client.GetRoom(ctx, room.Id)
			if ctx.Err() != nil {
				return
			}
			h.mu.Lock()
			h.took = append(h.took, time.Since(began))
			if err != nil {
				h.fails = append(h.fails, err)
			}
			h.mu.Unlock()
			time.Sleep(60 * time.Millisecond) // below the rate of a session
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-h.done
	})
	return h
}

// fared ends the asking; nothing may have failed, and nothing taken long.
func (h *honest) fared() {
	h.t.Helper()
	h.cancel()
	<-h.done
	slices.Sort(h.took)
	if len(h.fails) > 0 {
		h.t.Errorf("%d of %d honest requests failed, the first with %v", len(h.fails), len(h.took), h.fails[0])
	}
	if len(h.took) == 0 {
		h.t.Fatal("no honest request came through at all")
	}
	median, worst := h.took[len(h.took)/2], h.took[len(h.took)-1]
	h.t.Logf("%d honest requests: median %v, worst %v", len(h.took), median, worst)
	if median > 250*time.Millisecond || worst > 4*time.Second {
		h.t.Errorf("honest requests took %v, the worst %v", median, worst)
	}
}

// inUse is what the process uses, garbage left out.
func inUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

const mib = 1 << 20

func TestTenThousandConnections(t *testing.T) {
	for _, row := range []struct {
		name      string
		o         order
		limits    agent.Limits
		held      int // at most, at a time
		each      int // bytes, at most
		untilGone time.Duration
	}{
		{
			// They are held until the handshake's time is over.
			name: "from many addresses, silent", o: order{Count: 10000, Addresses: 500},
			limits: agent.Limits{HandshakeTimeout: 15 * time.Second}, held: 10000, each: 16 << 10, untilGone: 30 * time.Second,
		},
		{
			name: "from one address", o: order{Count: 10000, Addresses: 1},
			limits: agent.Limits{ConnectionRate: 1e6, ConnectionBurst: 1e6}, held: 512, each: 0, untilGone: 10 * time.Second,
		},
		{
			name: "beyond the limit of all", o: order{Count: 10000, Addresses: 500},
			limits: agent.Limits{Connections: 1000}, held: 1000, each: 0, untilGone: 10 * time.Second,
		},
		{
			name: "with TLS, then silent", o: order{Count: 1000, Addresses: 50, TLS: true},
			limits: agent.Limits{HandshakeTimeout: 30 * time.Second}, held: 1000, each: 64 << 10, untilGone: 60 * time.Second,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.run("agent-1", func(c *agent.Config) {
				c.Limits = row.limits
			})
			h := w.honest(t, a)
			before, goroutines := inUse(), runtime.NumGoroutine()
			row.o.Endpoint = a.endpoint
			opened, stop := attacker(t, row.o)
			// Those that are still being turned away count for a moment.
			eventually(t, "as many are held as may be", 10*time.Second, func() bool { return a.Connections()-1 >= row.held*95/100 })
			eventually(t, "no more are held than may be", 10*time.Second, func() bool { return a.Connections()-1 <= row.held })
			held, during := a.Connections()-1, inUse()
			t.Logf("the attacker opened %d, the Agent holds %d, and %d KiB more than before", opened, held, (during-before)>>10)
			if each := (during - before) / max(held, 1); row.each > 0 && each > row.each {
				t.Errorf("a connection costs %d bytes, at most %d", each, row.each)
			}
			stop()
			eventually(t, "all are gone", row.untilGone, func() bool { return a.Connections() <= 1 })
			h.fared()
			eventually(t, "goroutines have ended", 10*time.Second, func() bool { return runtime.NumGoroutine() <= goroutines+8 })
			if after := inUse(); after > before+8*mib {
				t.Errorf("%d MiB are left in use, %d were before", after/mib, before/mib)
			}
		})
	}
}

func TestSilentConnectionsAreClosedByThemselves(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", func(c *agent.Config) { c.Limits.HandshakeTimeout = 2 * time.Second })
	_, _ = attacker(t, order{Endpoint: a.endpoint, Count: 500, Addresses: 10})
	eventually(t, "the silent are gone while they hold on", 20*time.Second, func() bool { return a.Connections() == 0 })
}

// Slow lorises send a little at a time.
func TestSlowRequests(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", func(c *agent.Config) {
		c.Limits.HeaderTimeout, c.Limits.BodyTimeout, c.Limits.IdleTimeout = 500*time.Millisecond, 500*time.Millisecond, 700*time.Millisecond
	})
	h := w.honest(t, a)
	head := "POST /p2pmodel.agent.v1.AgentService/Login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
	for name, text := range map[string]string{"header": head[:len(head)-4] + strings.Repeat("\r\nX: y", 50), "body": head + strings.Repeat(" ", 99)} {
		t.Run(name, func(t *testing.T) {
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					c, err := tls.Dial("tcp", a.endpoint, &tls.Config{RootCAs: w.trust})
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					at := 0
					if name == "body" {
						at = len(head)
						c.Write([]byte(head))
					}
					began := time.Now()
					go io.Copy(io.Discard, c)
					for ; at < len(text); at++ {
						if _, err := c.Write([]byte{text[at]}); err != nil {
							return // cut off, as it has to be
						}
						if time.Since(began) > 10*time.Second {
							break
						}
						time.Sleep(50 * time.Millisecond)
					}
					t.Errorf("nobody cut it off in %v", time.Since(began))
				})
			}
			all.Wait()
		})
	}
	h.fared()
}
