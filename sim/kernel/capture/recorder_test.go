//go:build linux

package capture_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/capture"
	"p2pmodel/sim/witness"
)

// pair is two namespaces joined by a veth, watched at both ends.
type pair struct {
	recorder *capture.Recorder
	nodes    [2]netns.NsHandle
	conns    [2]*net.UDPConn
}

var (
	ips    = [2]net.IP{net.IPv4(198, 18, 0, 1), net.IPv4(198, 18, 0, 2)}
	points = [2]witness.Point{{Node: "a", Interface: "uplink"}, {Node: "b", Interface: "uplink"}}
)

// patience is how long a test waits for what must come. A busy machine may need
// seconds; only a failure takes it whole.
const patience = 20 * time.Second

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// inside calls f on a thread of its own, in a namespace, or in a new one if ns
// is not open.
func inside(tb testing.TB, ns *netns.NsHandle, f func() error) {
	tb.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var err error
		if ns.IsOpen() {
			err = netns.Set(*ns)
		} else if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			*ns, err = netns.Get()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

func newPair(tb testing.TB, limit int) *pair {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root to make network namespaces: run as root, or with `unshare -rn`")
	}
	r, err := capture.New(limit)
	must(tb, err)
	tb.Cleanup(func() { must(tb, r.Close()) })
	p := &pair{recorder: r, nodes: [2]netns.NsHandle{netns.None(), netns.None()}}
	for i := range p.nodes {
		inside(tb, &p.nodes[i], func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
		})
		tb.Cleanup(func() { p.nodes[i].Close() })
	}
	inside(tb, &p.nodes[0], func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "uplink"}, PeerName: "uplink",
			PeerNamespace: netlink.NsFd(int(p.nodes[1])),
		})
	})
	for i := range p.nodes {
		inside(tb, &p.nodes[i], func() error {
			l, err := netlink.LinkByName("uplink")
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ips[i], Mask: net.CIDRMask(24, 32)}}); err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
			fd, err := capture.Open(l.Attrs().Index)
			if err != nil {
				return err
			}
			return r.Add(points[i], fd)
		})
	}
	for i := range p.nodes {
		inside(tb, &p.nodes[i], func() (err error) {
			p.conns[i], err = net.ListenUDP("udp4", &net.UDPAddr{IP: ips[i]})
			return err
		})
		tb.Cleanup(func() { p.conns[i].Close() })
	}
	return p
}

// send sends datagrams from a to b and waits for their arrival.
func (p *pair) send(tb testing.TB, payloads ...string) {
	tb.Helper()
	for _, s := range payloads {
		_, err := p.conns[0].WriteTo([]byte(s), p.conns[1].LocalAddr())
		must(tb, err)
		must(tb, p.conns[1].SetReadDeadline(time.Now().Add(patience)))
		b := make([]byte, 65536)
		if n, err := p.conns[1].Read(b); err != nil || string(b[:n]) != s {
			tb.Fatalf("got %q, %v, want %q", b[:n], err, s)
		}
	}
}

func payloads(packets []witness.Packet, at witness.Point) string {
	var s []string
	for _, p := range packets {
		if p.Point == at && p.Protocol == unix.IPPROTO_UDP {
			s = append(s, string(p.Payload))
		}
	}
	return strings.Join(s, " ")
}

func TestRecorderSeesBothEnds(t *testing.T) {
	p := newPair(t, 0)
	before := time.Now()
	p.send(t, "one", "two", "three")
	must(t, p.recorder.Flush(t.Context()))
	packets := p.recorder.Packets()
	for i, direction := range []witness.Direction{witness.Out, witness.In} {
		if got := payloads(packets, points[i]); got != "one two three" {
			t.Errorf("%v recorded %q", points[i], got)
		}
		for _, k := range packets {
			if k.Point != points[i] {
				continue
			}
			if k.Direction != direction {
				t.Errorf("%v recorded a packet that goes %v, want %v", k.Point, k.Direction, direction)
			}
			if k.Src.String() != p.conns[0].LocalAddr().String() || k.Dst.String() != p.conns[1].LocalAddr().String() {
				t.Errorf("addresses %v to %v", k.Src, k.Dst)
			}
			if k.At.Before(before) || k.At.After(time.Now()) {
				t.Errorf("packet of %v, outside the test", k.At)
			}
			if !witness.ChecksumValid(k.Data) {
				t.Errorf("%v recorded an unfinished checksum", k.Point)
			}
		}
	}
	for i := 1; i < len(packets); i++ {
		if packets[i].At.Before(packets[i-1].At) {
			t.Fatal("packets are not in order of time")
		}
	}
	must(t, p.recorder.Dropped().Err())
}

func TestRecorderSplitsSegmentsOfUDP(t *testing.T) {
	p := newPair(t, 0)
	raw, err := p.conns[0].SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 4)
	}))
	must(t, err)
	_, err = p.conns[0].WriteTo([]byte("aaaabbbbcc"), p.conns[1].LocalAddr())
	must(t, err)
	b := make([]byte, 100)
	must(t, p.conns[1].SetReadDeadline(time.Now().Add(patience)))
	for range 3 {
		_, err = p.conns[1].Read(b)
		must(t, err)
	}
	packets := p.recorder.Packets()
	for _, at := range points {
		if got := payloads(packets, at); got != "aaaa bbbb cc" {
			t.Errorf("%v recorded %q, want the three datagrams that were sent", at, got)
		}
	}
	for _, k := range packets {
		if k.Protocol == unix.IPPROTO_UDP && !witness.ChecksumValid(k.Data) {
			t.Errorf("a part has a wrong checksum")
		}
	}
}

func TestRecorderLeavesOutWhatItIsTold(t *testing.T) {
	p := newPair(t, 0)
	r := p.recorder
	p.send(t, "certify")
	r.Reset()
	p.send(t, "one")
	r.Pause()
	p.send(t, "probe")
	r.Resume()
	p.send(t, "two")
	from := time.Now()
	p.send(t, "control")
	to := time.Now()
	p.send(t, "three")
	snapshot := r.Packets()
	r.Cut(from, to)
	for _, at := range points {
		if got := payloads(snapshot, at); got != "one two control three" {
			t.Errorf("%v recorded %q", at, got)
		}
		if got := payloads(r.Packets(), at); got != "one two three" {
			t.Errorf("%v recorded %q after the cut", at, got)
		}
	}
}

func TestRecorderSaysWhenItsMemoryIsFull(t *testing.T) {
	p := newPair(t, 4000)
	for i := range 20 {
		p.send(t, fmt.Sprint("packet ", i))
	}
	p.recorder.Packets()
	lost := p.recorder.Dropped()
	if lost.Limit == 0 || lost.Err() == nil {
		t.Fatalf("losses %+v: a full memory is not reported", lost)
	}
	if got, want := len(p.recorder.Packets())+int(lost.Limit), 40; got != want {
		t.Errorf("%d packets recorded or reported, %d were there", got, want)
	}
}

func TestRecorderSaysWhenTheKernelDropped(t *testing.T) {
	p := newPair(t, 0)
	// A socket with next to no room, in place of the one of a's uplink.
	small := witness.Point{Node: "a", Interface: "small"}
	inside(t, &p.nodes[0], func() error {
		l, err := netlink.LinkByName("uplink")
		if err != nil {
			return err
		}
		fd, err := capture.Open(l.Attrs().Index)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 2048); err != nil {
			return err
		}
		return p.recorder.Add(small, fd)
	})
	deadline := time.Now().Add(patience)
	for p.recorder.Dropped().Kernel == 0 {
		if time.Now().After(deadline) {
			t.Fatal("a socket that is too small drops nothing that is reported")
		}
		for range 200 {
			_, err := p.conns[0].WriteTo(bytes.Repeat([]byte("x"), 1000), p.conns[1].LocalAddr())
			must(t, err)
		}
	}
	if p.recorder.Dropped().Err() == nil {
		t.Error("no error")
	}
}

func TestRecorderSeesTCPWithValidChecksums(t *testing.T) {
	p := newPair(t, 0)
	var listener net.Listener
	inside(t, &p.nodes[1], func() (err error) {
		listener, err = net.Listen("tcp4", "198.18.0.2:0")
		return err
	})
	defer listener.Close()
	got := make(chan int64)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			got <- -1
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	var c net.Conn
	inside(t, &p.nodes[0], func() (err error) {
		c, err = net.Dial("tcp4", listener.Addr().String())
		return err
	})
	const size = 1 << 20
	_, err := c.Write(make([]byte, size))
	must(t, err)
	must(t, c.Close())
	if n := <-got; n != size {
		t.Fatalf("received %d bytes", n)
	}
	bytesAtB := 0
	for _, k := range p.recorder.Packets() {
		if k.Protocol != unix.IPPROTO_TCP {
			continue
		}
		if !witness.ChecksumValid(k.Data) {
			t.Fatalf("a TCP packet of %d bytes has an unfinished checksum", len(k.Data))
		}
		if k.Point == points[1] && k.Direction == witness.In {
			bytesAtB += len(k.Data) - 20 - int(k.Data[32]>>4)*4
		}
	}
	if bytesAtB < size {
		t.Errorf("b's end recorded %d bytes of %d", bytesAtB, size)
	}
	must(t, p.recorder.Dropped().Err())
}

func TestRecorderAfterClose(t *testing.T) {
	p := newPair(t, 0)
	p.send(t, "last")
	must(t, p.recorder.Close())
	must(t, p.recorder.Close())
	if got := payloads(p.recorder.Packets(), points[1]); got != "last" {
		t.Errorf("recorded %q before it was closed", got)
	}
	if err := p.recorder.Flush(context.Background()); err == nil {
		t.Error("Flush of a closed recorder succeeds")
	}
	if p.recorder.Dropped().Err() != nil {
		t.Error(p.recorder.Dropped().Err())
	}
}
