//go:build linux

package kernel_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// far is a lab where the end of a connection takes its time.
const far = `
lab:
  routers:
    nat: {nat: full-cone}
  hosts:
    client: {behind: nat}
    server: {}
  links:
    client: {delay: 20ms}
`

// dialerEnv makes the test binary a program that dials a TCP address, sends
// without end, and says so once.
const dialerEnv = "P2PMODEL_TEST_DIALER"

func beDialer(address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("connected")
	for {
		if _, err := conn.Write(make([]byte, 1024)); err != nil {
			os.Exit(1)
		}
	}
}

// Orphans are connections whose sockets were closed before the other side could
// hear of it; they hold their namespaces.
func TestCloseAfterTCP(t *testing.T) {
	for _, kind := range []struct {
		name   string
		old    bool
		within time.Duration
	}{
		{"as this kernel can", false, time.Second},
		{"as old kernels can", true, 5 * time.Second},
	} {
		for _, network := range []string{"tcp4", "tcp"} {
			for name, leave := range map[string]func(*testing.T, *kernel.Network, net.Listener){
				"both ends closed":    closeBoth,
				"one end is cut off":  closeCutOff,
				"a program is killed": killDialer,
			} {
				t.Run(kind.name+", "+network+", "+name, func(t *testing.T) {
					if kind.old {
						kernel.PretendOldKernel(t)
					}
					n := stand(t, far)
					address := addressOf(n, "server").String()
					if network == "tcp" {
						address = "" // of both families
					}
					l, err := host(t, n, "server").Listen(t.Context(), network, net.JoinHostPort(address, "80"))
					if err != nil {
						t.Fatal(err)
					}
					leave(t, n, l)
					start := time.Now()
					if err := n.Close(); err != nil {
						t.Fatal(err)
					}
					took := time.Since(start)
					t.Logf("Close took %v", took)
					if took > kind.within {
						t.Errorf("Close took %v, want %v at most: what holds the namespaces?", took, kind.within)
					}
				})
			}
		}
	}
}

func exchange(t *testing.T, n *kernel.Network, l net.Listener) (client, server net.Conn) {
	t.Helper()
	client, err := host(t, n, "client").Dial(t.Context(), "tcp4", webOf(n))
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
		if _, err := from.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

func webOf(n *kernel.Network) string {
	return netip.AddrPortFrom(addressOf(n, "server"), 80).String()
}

func closeBoth(t *testing.T, n *kernel.Network, l net.Listener) {
	client, server := exchange(t, n, l)
	for _, c := range []interface{ Close() error }{client, server, l} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func closeCutOff(t *testing.T, n *kernel.Network, l net.Listener) {
	client, _ := exchange(t, n, l)
	if err := linkOf(t, n, "client", "").Cut(); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

func killDialer(t *testing.T, n *kernel.Network, l net.Listener) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := new(syncBuffer)
	p, err := host(t, n, "client").Start(context.Background(), sim.Program{
		Path: self, Env: []string{dialerEnv + "=" + webOf(n)}, Stdout: out, Stderr: out,
	})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the program is connected", func() bool { return strings.Contains(out.String(), "connected") })
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

func TestKernelReleases(t *testing.T) {
	for release, want := range map[string]bool{
		"6.12": true, "6.12.0-amd64": true, "6.18.44": true, "7.0-rc1": true,
		"6.11.9": false, "5.15.0-91-generic": false, "4.19": false, "6": false, "": false, "six": false,
	} {
		if got := kernel.AtLeast(release, 6, 12); got != want {
			t.Errorf("%q is 6.12 or later: %v, want %v", release, got, want)
		}
	}
}
