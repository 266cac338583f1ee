package sansio

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

func TestOffloadIsSwitchedOff(t *testing.T) {
	for text, want := range map[string]offloads{
		"": {true, true, true}, "gso": {false, true, true}, "gro": {true, false, true}, "gso,gro": {kernel: true}, " gso , gro": {kernel: true}, "kernel": {segment: true, coalesce: true}, "off": {}, "1": {}, "gsp": {},
	} {
		if got := readOffload(text); got != want {
			t.Errorf("%s=%q: %+v, want %+v", OffloadVariable, text, got, want)
		}
	}
}

// pair is two sockets of one family on loopback: what is written by the first is read by
// the second.
func pair(t *testing.T, address string) (*kernelIO, net.PacketConn, netip.AddrPort) {
	t.Helper()
	var conns [2]net.PacketConn
	for i := range conns {
		c, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Skipf("LEFT OUT: this system has no %s: %v", address, err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = c
	}
	_ = conns[1].SetReadDeadline(time.Now().Add(patience))
	return ioOf(t, conns[0]).(*kernelIO), conns[1], addrPort(conns[1].LocalAddr())
}

// TestManyAsOne: what leaves as one message arrives as the datagrams that were queued, over
// both families, and where the offload is off, too.
func TestManyAsOne(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, segments := range []int{maxSegment, 150, 0} {
			io, other, to := pair(t, address)
			io.segments = segments
			var d departures
			var want [][]byte
			for i := range 150 {
				size := []int{120, 120, 120, 120, 50, 1200, 1200, 0}[i%8]
				want = append(want, bytes.Repeat([]byte{byte(i)}, size))
				// What was joined before the kernel refused is taken apart.
				d.add(outgoing{remote: to}, nil, want[i], true)
			}
			go io.write(d.list, d.payload)
			got := make([]byte, 2000)
			for i := range want {
				n, _, err := other.ReadFrom(got)
				if err != nil || !bytes.Equal(got[:n], want[i]) {
					t.Fatalf("%s, at most %d: datagram %d is %d bytes (%v), want %d", address, segments, i, n, err, len(want[i]))
				}
			}
		}
	}
}

// TestWhatThePathRefusesLeavesOneByOne: datagrams that have to be fragmented cannot leave as
// one; they leave all the same, and nobody tries again.
func TestWhatThePathRefusesLeavesOneByOne(t *testing.T) {
	inOwnNetwork(t, 1300)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		io, other, to := pair(t, address)
		text := make([]byte, 3*1400+2*1000)
		out := []outgoing{
			{remote: to, end: 3 * 1400, segment: 1400},
			{remote: to, start: 3 * 1400, end: len(text), segment: 1000},
		}
		io.write(out, text)
		for i, want := range []int{1400, 1400, 1400, 1000, 1000} {
			n, _, err := other.ReadFrom(make([]byte, 2000))
			if err != nil || n != want {
				t.Fatalf("%s: datagram %d: %d bytes (%v), want %d", address, i, n, err, want)
			}
		}
		if io.segments != 1399 {
			t.Errorf("%s: up to %d bytes leave as one, want 1399: what has failed", address, io.segments)
		}
	}
}

// inOwnNetwork has the test run in a network of its own, whose loopback has an MTU.
func inOwnNetwork(t *testing.T, mtu int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("LEFT OUT: needs root for a network of its own")
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	own, err := netns.New()
	if err != nil {
		t.Skipf("LEFT OUT: no network of its own: %v", err)
	}
	t.Cleanup(func() {
		_ = netns.Set(home)
		_, _ = own.Close(), home.Close()
		runtime.UnlockOSThread()
	})
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetMTU(lo, mtu); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
}

// TestOneGoroutineForAllSockets: sockets cost no goroutine each.
func TestOneGoroutineForAllSockets(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	l.bind(t, m, 1)
	before := runtime.NumGoroutine()
	for s := range Socket(100) {
		l.bind(t, m, s+2)
	}
	if after := runtime.NumGoroutine(); after > before+10 {
		t.Errorf("%d goroutines, %d before a hundred sockets more", after, before)
	}
	if got := exchange(t, dial(t, m.bound[50]), []byte("fifty")); string(got) != "fifty" {
		t.Errorf("one of them says %q", got)
	}
}

// passer passes on what begins with f, with a prefix, and handles the rest.
type passer struct{ echo }

func (p *passer) Forward(_ time.Time, d Datagram) (Forwarded, bool) {
	switch {
	case len(d.Payload) > 0 && d.Payload[0] == 'f':
		return Forwarded{Datagram: Datagram{Socket: d.Socket, Remote: d.Remote, Payload: d.Payload[1:]}, Prefix: []byte("+")}, true
	case len(d.Payload) > 0 && d.Payload[0] == 'x':
		return Forwarded{}, true
	}
	return Forwarded{}, false
}

// TestForwarding: what is passed on and what is handled come in the order in which they were
// sent, whether the kernel has put them together or not.
func TestForwarding(t *testing.T) {
	for name, network := range map[string]Network{"kernel": System(), "plain": plainNetwork{System()}} {
		t.Run(name, func(t *testing.T) {
			m := new(passer)
			l := run(t, m, network)
			to := l.bind(t, &m.echo, 1)
			conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			var d departures
			var want []string
			for i := range uint16(200) {
				number := string(binary.BigEndian.AppendUint16(nil, i))
				kind := "ffffhxff"[i%8 : i%8+1]
				d.add(outgoing{remote: to}, []byte(kind), []byte(number), true)
				switch kind {
				case "f":
					want = append(want, "+"+number)
				case "h":
					want = append(want, "h"+number)
				}
			}
			ioOf(t, conn).write(d.list, d.payload)
			got := make([]byte, 100)
			for i, w := range want {
				n, err := conn.Read(got)
				if err != nil || string(got[:n]) != w {
					t.Fatalf("answer %d is %q (%v), want %q", i, got[:n], err, w)
				}
			}
		})
	}
}

// TestNothingIsAllocatedForADatagram: reading and writing cost no memory.
func TestNothingIsAllocatedForADatagram(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		from, other, to := pair(t, address)
		in := ioOf(t, other).(*kernelIO)
		in.coalesce()
		var d departures
		payload := make([]byte, 120)
		read := 0
		n := testing.AllocsPerRun(100, func() {
			d.list, d.payload, d.count = d.list[:0], d.payload[:0], 0
			for range 10 {
				d.add(outgoing{remote: to}, nil, payload, true)
			}
			from.write(d.list, d.payload)
			messages, err := in.read(in)
			if err != nil {
				t.Fatal(err)
			}
			for i := range messages {
				if a, ok := in.arrival(in, i); ok {
					read += len(a.payload)
				}
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations for ten datagrams, want none", address, n)
		}
		if want := 101 * 10 * len(payload); read != want {
			t.Errorf("%s: %d bytes came, want %d", address, read, want)
		}
	}
}

// TestAWireOfAnotherOwnerEnds: a network may close its sockets by itself; a loop survives it.
func TestAWireOfAnotherOwnerEnds(t *testing.T) {
	n := &keepingNetwork{Network: System()}
	m := new(echo)
	l := run(t, m, n)
	l.bind(t, m, 1)
	_ = n.last.Close()
	if got := exchange(t, dial(t, l.bind(t, m, 2)), []byte("still")); string(got) != "still" {
		t.Errorf("the other socket says %q", got)
	}
	l.Do(func(time.Time) { m.Send(1, m.bound[2], []byte("nobody hears")) })
}

// keepingNetwork remembers what it opened last.
type keepingNetwork struct {
	Network
	last net.PacketConn
}

func (k *keepingNetwork) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	c, err := k.Network.ListenPacket(ctx, network, address)
	if k.last == nil {
		k.last = c
	}
	return c, err
}
