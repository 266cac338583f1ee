//go:build linux

package foreign_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/witness"
)

// patience bounds the wait for what is going to happen, on a busy machine.
const patience = 30 * time.Second

// lab is a network that stands, with programs on its hosts.
type lab struct {
	sim.Network
	tb       testing.TB
	overflow uint64 // when it was built
}

// stand builds a lab. When the test fails, the state of all NATs is printed.
func stand(tb testing.TB, yaml string) *lab {
	tb.Helper()
	if court.closed != nil {
		leaveOut(tb, "no lab can be built: %v", court.closed)
	}
	before := overflow(tb)
	plan, err := sim.ParseLab("lab.yaml", []byte(yaml))
	if err != nil {
		tb.Fatal(err)
	}
	// Programs outlive tb.Context, so that cleanups can still end them in order.
	network, err := kernel.Fabric{}.Build(context.Background(), plan, sim.Options{Seed: 1})
	if err != nil {
		tb.Fatal(err)
	}
	l := &lab{network, tb, before}
	tb.Cleanup(func() {
		if tb.Failed() {
			l.describe()
		}
		if err := network.Close(); err != nil {
			tb.Errorf("close the lab: %v", err)
		}
	})
	return l
}

// describe logs what the NATs hold, and what became of packets that did not
// arrive.
func (l *lab) describe() {
	if err := l.Err(); err != nil {
		l.tb.Logf("a fault of the laboratory itself: %v", err)
	}
	if n := overflow(l.tb) - l.overflow; n > 0 {
		l.tb.Logf("meanwhile the kernel lost %d packets of this machine, whosever, because a processor was too far behind (softnet_stat)", n)
	}
	l.describeLost()
	for _, r := range l.Lab().Routers {
		running, err := l.Router(r.Name)
		if err != nil {
			continue
		}
		if text, err := running.Mappings(); err == nil {
			l.tb.Logf("router %s, external %v:\n%s", r.Name, running.External(), text)
		}
	}
}

// overflow counts the packets that the kernel has lost because a processor was
// more than net.core.netdev_max_backlog packets behind: those of all namespaces
// share that queue, and nothing in a lab tells of it.
func overflow(tb testing.TB) (n uint64) {
	tb.Helper()
	stat, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(stat)) {
		var processed, dropped uint64
		if _, err := fmt.Sscanf(line, "%x %x", &processed, &dropped); err != nil {
			tb.Fatalf("/proc/net/softnet_stat: %q: %v", line, err)
		}
		n += dropped
	}
	return n
}

// manyLost is how many lost packets are worth reading.
const manyLost = 40

// describeLost logs which packets died, where, and why.
func (l *lab) describeLost() {
	traces := witness.Traces(l.Packets(), l.scene())
	drops, err := l.Drops()
	if err != nil {
		l.tb.Logf("the list of drops is not whole: %v", err)
	}
	witness.Attribute(traces, drops, nil)
	lost := 0
	for _, t := range traces {
		if t.Arrived {
			continue
		}
		if lost++; lost <= manyLost {
			l.tb.Logf("%s lost: %v", t.First().At.UTC().Format("15:04:05.000000"), t)
		}
	}
	if lost > manyLost {
		l.tb.Logf("… and %d more were lost", lost-manyLost)
	}
}

// address is the n-th address of a host.
func (l *lab) address(host string, n int) netip.Addr {
	return l.Plan().Addresses(host, sim.DefaultUplink)[n]
}

// program runs on a host of a lab.
type program struct {
	sim.RunningProgram
	tb   testing.TB
	host string
	name string // for people: host and command line
	out  *transcript
	read int // how far await has read in out
}

// start starts a program on a host, of which the lab's test hears.
func (l *lab) start(host string, p sim.Program) *program {
	l.tb.Helper()
	running := l.launch(host, p)
	running.answersTo(l.tb)
	return running
}

// launch starts a program on a host, and leaves it to the caller which test is to
// hear of it.
func (l *lab) launch(host string, p sim.Program) *program {
	l.tb.Helper()
	h, err := l.Host(host)
	if err != nil {
		l.tb.Fatal(err)
	}
	out := newTranscript()
	p.Stdout, p.Stderr = out, out
	running, err := h.Start(context.Background(), p)
	if err != nil {
		l.tb.Fatal(err)
	}
	name := fmt.Sprintf("%s$ %s", host, strings.Join(append([]string{p.Path}, p.Args...), " "))
	return &program{RunningProgram: running, tb: l.tb, host: host, name: name, out: out}
}

// answersTo has a test hear of the program: when it fails, what the program said
// is printed.
func (p *program) answersTo(tb testing.TB) {
	p.tb = tb
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("%s\n%s", p.name, p.out.digest())
		}
	})
}

// finish waits for a program that ends by itself and gives its exit code.
func (p *program) finish() int {
	p.tb.Helper()
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		if err != nil {
			p.tb.Fatalf("%s: %v", p.name, err)
		}
		return 0
	case <-time.After(patience):
		p.tb.Fatalf("%s: still running after %v", p.name, patience)
		return -1
	}
}

// terminate asks a program to end, which has to exit with 0.
func (p *program) terminate() {
	p.tb.Helper()
	if err := p.Signal(int(syscall.SIGTERM)); err != nil {
		p.tb.Errorf("%s: SIGTERM: %v", p.name, err)
		return
	}
	if code := p.finish(); code != 0 {
		p.tb.Errorf("%s: exit code %d after SIGTERM, want 0", p.name, code)
	}
}

// await waits until the program says something, n times, after what it said
// before that was waited for. It gives the groups of the last match.
func (p *program) await(pattern string, n int) []string {
	p.tb.Helper()
	return p.awaitWithin(pattern, n, patience)
}

// awaitWithin is await with another bound.
func (p *program) awaitWithin(pattern string, n int, bound time.Duration) []string {
	p.tb.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(bound)
	for {
		text, more := p.out.sofar()
		for at := re.FindStringSubmatchIndex(text[p.read:]); at != nil; at = re.FindStringSubmatchIndex(text[p.read:]) {
			var groups []string
			for i := 0; i < len(at); i += 2 {
				groups = append(groups, text[p.read+at[i]:p.read+at[i+1]])
			}
			p.read += at[1]
			if n--; n == 0 {
				return groups
			}
		}
		select {
		case <-more:
		case <-deadline:
			p.tb.Fatalf("%s: did not say %s, %d times more, within %v", p.name, pattern, n, bound)
		}
	}
}

// skip has await look at what is said from now on only.
func (p *program) skip() {
	text, _ := p.out.sofar()
	p.read = len(text)
}

// bound waits until there is a UDP socket on a port of the program's host: not
// every program says when it is ready.
func (p *program) bound(port uint16) {
	p.tb.Helper()
	socket := fmt.Sprintf(":%04X ", port)
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		sockets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", p.PID()))
		if err != nil {
			p.tb.Fatalf("%s: %v", p.name, err)
		}
		if strings.Contains(string(sockets), socket) {
			return
		}
		if time.Now().After(end) {
			p.tb.Fatalf("%s: no socket on port %d within %v", p.name, port, patience)
		}
	}
}

// transcript is what a program said.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // closed and replaced with each write
}

func newTranscript() *transcript { return &transcript{more: make(chan struct{})} }

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.more)
	t.more = make(chan struct{})
	return t.text.Write(p)
}

// sofar gives what was said so far, and a channel that is closed with the next
// word.
func (t *transcript) sofar() (string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String(), t.more
}

// digest is what was said, without the lines of each single datagram.
func (t *transcript) digest() string {
	var b strings.Builder
	left := 0
	for line := range strings.Lines(t.String()) {
		if strings.Contains(line, `"event":"sent"`) || strings.Contains(line, `"event":"received"`) {
			left++
			continue
		}
		if left > 0 {
			fmt.Fprintf(&b, "… %d datagrams sent and received\n", left)
			left = 0
		}
		b.WriteString(line)
	}
	return b.String()
}

func (t *transcript) String() string { text, _ := t.sofar(); return text }

// rendezvous starts ours on a host with two addresses and gives what clients
// have to know: its first address.
func (l *lab) rendezvous(host string, args ...string) (*program, netip.AddrPort) {
	l.tb.Helper()
	first, second := netip.AddrPortFrom(l.address(host, 0), 3478), netip.AddrPortFrom(l.address(host, 1), 3479)
	p := l.start(host, sim.Program{Path: p2pmodel, Args: append([]string{
		"rendezvous", "--listen", first.String(), "--alternate", second.String(), "--advance"}, args...)})
	p.await(`(?m)^rendezvous listening on `+regexp.QuoteMeta(first.String())+` alternate `+regexp.QuoteMeta(second.String())+` key \S+$`, 1)
	return p, first
}
