package sansio

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// busyConn is a socket on a machine that lets us go on late, each time: between what is
// done before a write and the write itself more time passes than a full send buffer is
// given.
type busyConn struct{ *net.UDPConn }

func (c busyConn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.UDPConn.SyscallConn()
	return busyRaw{raw}, err
}

func (c busyConn) WriteTo(b []byte, to net.Addr) (int, error) {
	busy()
	return c.UDPConn.WriteTo(b, to)
}

type busyRaw struct{ syscall.RawConn }

func (r busyRaw) Write(f func(fd uintptr) bool) error {
	busy()
	return r.RawConn.Write(f)
}

func busy() { time.Sleep(writePatience + writePatience/2) }

// onceBusyConn is so the first time only.
type onceBusyConn struct {
	net.PacketConn
	before bool
}

func (c *onceBusyConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if !c.before {
		c.before = true
		busy()
	}
	return c.PacketConn.WriteTo(b, to)
}

// TestABusyMachineLosesNothing: datagrams are lost when a send buffer is full, and not
// because the machine was slow.
func TestABusyMachineLosesNothing(t *testing.T) {
	for name, wrap := range map[string]func(*net.UDPConn) net.PacketConn{
		"many at a time": func(c *net.UDPConn) net.PacketConn { return busyConn{c} },
		"one at a time":  func(c *net.UDPConn) net.PacketConn { return &onceBusyConn{PacketConn: c} },
	} {
		t.Run(name, func(t *testing.T) {
			from, to := loopbackUDP(t), loopbackUDP(t)
			conn := wrap(from)
			remote := to.LocalAddr().(*net.UDPAddr).AddrPort()
			var out departures
			for _, text := range []string{"one", "two"} {
				out.add(outgoing{remote: remote}, nil, []byte(text), false)
			}
			ioOf(t, conn).write(out.list, out.payload)
			if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 10)
			for _, want := range []string{"one", "two"} {
				if n, err := to.Read(got); err != nil || string(got[:n]) != want {
					t.Fatalf("%q arrived (%v), want %q", got[:n], err, want)
				}
			}
		})
	}
}

func loopbackUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
