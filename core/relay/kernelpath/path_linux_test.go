package kernelpath

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"p2pmodel/core/relay"
)

// child has the test be the process that is killed.
const child = "P2PMODEL_TEST_KERNELPATH_CHILD"

// attached counts the programs at the loopback's ingress.
func attached(t *testing.T) int {
	t.Helper()
	q, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Fatal(err)
	}
	return len(q.Programs)
}

// flow is one over the loopback.
func flow(now time.Time) relay.Flow {
	return relay.Flow{
		Listen: listen, Client: clients[0], Relayed: netip.AddrPortFrom(listen.Addr(), 50000), Peer: peer, Channel: 0x4000,
		ToPeer: now.Add(time.Minute), ToClient: now.Add(time.Minute),
	}
}

// TestNothingStays: of a process that has shut its fast path nothing is left, nor of
// one that is killed.
func TestNothingStays(t *testing.T) {
	p := open(t)
	now := time.Now()
	p.Open(now, flow(now))
	if os.Getenv(child) != "" {
		os.Stdout.WriteString("attached\n")
		time.Sleep(time.Hour)
	}
	if n := attached(t); n != 1 {
		t.Fatalf("%d programs at the loopback, want 1", n)
	}
	c := exec.Command("/proc/self/exe", "-test.run", "^TestNothingStays$")
	c.Env = append(os.Environ(), child+"=1")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "attached\n" || attached(t) != 2 {
		rest, _ := io.ReadAll(out)
		t.Errorf("the other process says %q%q (%v), and %d programs are at the loopback, want 2", line, rest, err, attached(t))
	}
	_ = c.Process.Kill()
	_ = c.Wait() // it was killed
	for deadline := time.Now().Add(20 * time.Second); attached(t) != 1 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := attached(t); n != 1 {
		t.Errorf("%d programs at the loopback after the other process was killed, want 1", n)
	}
	p.Close(flow(now))
	p.Close(flow(now)) // of which it knows nothing any more
	if n := attached(t); n != 1 {
		t.Errorf("%d programs at the loopback without a flow, want 1 until the end", n)
	}
}

// TestWhatIsNotIPv4IsTheServers: of other flows nothing is in the kernel.
func TestWhatIsNotIPv4IsTheServers(t *testing.T) {
	p := open(t)
	now := time.Now()
	for name, change := range map[string]func(*relay.Flow){
		"a client by IPv6": func(f *relay.Flow) { f.Client = netip.MustParseAddrPort("[2001:db8::1]:1") },
		"a peer by IPv6": func(f *relay.Flow) {
			f.Peer, f.Relayed = netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:1")
		},
		"a relay of all its addresses": func(f *relay.Flow) { f.Listen = netip.MustParseAddrPort("0.0.0.0:3478") },
	} {
		f := flow(now)
		change(&f)
		p.Open(now, f)
		if len(p.flows) != 0 {
			t.Errorf("%s: flows %v, want none", name, p.flows)
		}
		p.Close(f)
	}
}

// TestOpenFromAnotherNetwork: interfaces are those of the network that the path was made in,
// whatever network the caller's thread is in later.
func TestOpenFromAnotherNetwork(t *testing.T) {
	p := open(t)
	before := attached(t)
	var there sync.WaitGroup
	there.Go(func() {
		runtime.LockOSThread() // and the thread ends with this
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		now := time.Now()
		p.Open(now, flow(now))
	})
	there.Wait()
	if n := attached(t); n != before+1 {
		t.Errorf("%d programs at the loopback, want %d", n, before+1)
	}
}
