package agent_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"golang.org/x/net/http2"

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
	TLS       bool // and then nothing
	HTTP2     bool // over TLS, and then nothing but answers to pings
}

func attack(text string) {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Println("order:", err)
		return
	}
	var held []net.Conn // or the collector would close them
	opened := 0
	for i := range o.Count {
		from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i%o.Addresses>>8), byte(i%o.Addresses)+1)}
		c, err := (&net.Dialer{LocalAddr: from, Timeout: time.Minute}).Dial("tcp", o.Endpoint)
		if err != nil {
			continue
		}
		if o.TLS || o.HTTP2 {
			secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			if secure.Handshake() != nil {
				c.Close()
				continue
			}
			c = secure
		}
		held = append(held, c)
		if o.HTTP2 {
			go answerPings(c)
		}
		opened++
	}
	fmt.Println(opened)
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(held)
}

// answerPings speaks just as much HTTP/2 as keeps a connection.
func answerPings(c net.Conn) {
	f := http2.NewFramer(c, c)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil || f.WriteSettings() != nil {
		return
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		if ping, is := frame.(*http2.PingFrame); is && f.WritePing(true, ping.Data) != nil {
			return
		}
	}
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

	ran, waited time.Duration // of the process, when it began
}

func (w *world) honest(t *testing.T, a *running) *honest {
	t.Helper()
	h := &honest{t: t, client: w.player("honest", a), done: make(chan struct{})}
	room, err := h.client.CreateRoom(t.Context(), settings())
	if err != nil {
		t.Fatal(err)
	}
	h.ran, h.waited = processor(t)
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
			if err != nil && connect.CodeOf(err) != connect.CodeDeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
				h.fails = append(h.fails, err) // or it took too long, which is known already
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

// fared ends the asking; nothing may have failed, and nothing taken long. What else
// the machine did with its processors, the attackers' process among it, is no fault
// of the Agent's: if that made all last three times as long, honest requests may.
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
	ran, waited := processor(h.t)
	slower := 1 + float64(waited-h.waited)/float64(max(ran-h.ran, time.Millisecond))
	h.t.Logf("%d honest requests: median %v, worst %v; for want of a processor all lasted %.1f times as long", len(h.took), median, worst, slower)
	if float64(median) > slower*float64(250*time.Millisecond) || float64(worst) > slower*float64(4*time.Second) {
		h.t.Errorf("honest requests took %v, the worst %v; for want of a processor all lasted %.1f times as long", median, worst, slower)
	}
}

// processor tells for how long this process's threads ran so far, and for how long
// they waited for a processor; nothing where the system does not say.
func processor(t *testing.T) (ran, waited time.Duration) {
	t.Helper()
	threads, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		var r, w time.Duration
		if text, err := os.ReadFile(thread); err == nil { // or it has just ended
			if _, err := fmt.Sscan(string(text), &r, &w); err != nil {
				t.Fatalf("%s: %q: %v", thread, text, err)
			}
		}
		ran, waited = ran+r, waited+w
	}
	return ran, waited
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

// patience is for what comes soon, and on a busy machine later.
const patience = time.Minute

func TestTenThousandConnections(t *testing.T) {
	for _, row := range []struct {
		name   string
		o      order
		limits agent.Limits
		held   int // at most, at a time
		each   int // bytes, at most
	}{
		{
			name: "from many addresses, silent", o: order{Count: 10000, Addresses: 500},
			held: 10000, each: 16 << 10,
		},
		{
			name: "from one address", o: order{Count: 10000, Addresses: 1},
			limits: agent.Limits{ConnectionRate: 1e6, ConnectionBurst: 1e6}, held: 512,
		},
		{
			name: "beyond the limit of all", o: order{Count: 10000, Addresses: 500},
			limits: agent.Limits{Connections: 1000}, held: 1000,
		},
		{
			name: "with HTTP/2, then silent", o: order{Count: 1000, Addresses: 50, HTTP2: true},
			held: 1000, each: 64 << 10,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.run("agent-1", func(c *agent.Config) {
				c.Limits = row.limits
				// Nobody is cut off for having been silent, however long it takes to open them all.
				c.Limits.HandshakeTimeout, c.Limits.HeaderTimeout, c.Limits.IdleTimeout = 5*time.Minute, 5*time.Minute, 5*time.Minute
			})
			h := w.honest(t, a)
			before, goroutines := inUse(), runtime.NumGoroutine()
			row.o.Endpoint = a.endpoint
			opened, stop := attacker(t, row.o)
			// Those that are still being turned away count for a moment.
			eventually(t, "as many are held as may be", patience, func() bool { return a.Connections()-1 >= row.held*95/100 })
			eventually(t, "no more are held than may be", patience, func() bool { return a.Connections()-1 <= row.held })
			held, during := a.Connections()-1, inUse()
			t.Logf("the attacker opened %d, the Agent holds %d, and %d KiB more than before", opened, held, (during-before)>>10)
			if each := (during - before) / max(held, 1); row.each > 0 && each > row.each {
				t.Errorf("a connection costs %d bytes, at most %d", each, row.each)
			}
			stop()
			eventually(t, "all are gone", patience, func() bool { return a.Connections() <= 1 })
			h.fared()
			eventually(t, "goroutines have ended", patience, func() bool { return runtime.NumGoroutine() <= goroutines+8 })
			if after := inUse(); after > before+8*mib {
				t.Errorf("%d MiB are left in use, %d were before", after/mib, before/mib)
			}
		})
	}
}

func TestSilentConnectionsAreClosedByThemselves(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			w := newWorld(t)
			a := w.run("agent-1", func(c *agent.Config) { c.Limits.HandshakeTimeout = 2 * time.Second })
			_, _ = attacker(t, order{Endpoint: a.endpoint, Count: 500, Addresses: 10, TLS: secure})
			eventually(t, "the silent are gone while they hold on", patience, func() bool { return a.Connections() == 0 })
		})
	}
}

// Slow lorises send a little at a time.
func TestSlowRequests(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", func(c *agent.Config) {
		// The header's is the time for a handshake, too.
		c.Limits.HeaderTimeout, c.Limits.BodyTimeout = 2*time.Second, 2*time.Second
	})
	h := w.honest(t, a)
	head := "POST /p2pmodel.agent.v1.AgentService/Login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n"
	for name, row := range map[string]struct{ atOnce, slowly string }{
		"header": {"", head + strings.Repeat("X: y\r\n", 500)},
		"body":   {head + "\r\n", strings.Repeat(" ", 3999)},
	} {
		t.Run(name, func(t *testing.T) {
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					began := time.Now()
					for time.Since(began) < patience {
						c, err := tls.Dial("tcp", a.endpoint, &tls.Config{RootCAs: w.trust})
						if err != nil {
							continue // this machine had no time for the handshake
						}
						defer c.Close()
						if slowly(c, row.atOnce, row.slowly) {
							return
						}
						break
					}
					t.Errorf("nobody cut it off in %v", time.Since(began))
				})
			}
			all.Wait()
		})
	}
	h.fared()
}

// slowly sends some bytes at once and others one by one, and tells whether it was cut
// off meanwhile.
func slowly(c net.Conn, atOnce, text string) bool {
	if _, err := io.WriteString(c, atOnce); err != nil {
		return true
	}
	go io.Copy(io.Discard, c)
	for end := time.Now().Add(patience); time.Now().Before(end) && text != ""; text = text[1:] {
		if _, err := io.WriteString(c, text[:1]); err != nil {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}
