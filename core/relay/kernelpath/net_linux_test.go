package kernelpath

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The relay of these tests is this process's namespace; a client and a peer have one each.
var (
	towardClient = netip.MustParsePrefix("192.0.2.1/26")
	towardPeer   = netip.MustParsePrefix("192.0.2.65/26")
	farClient    = netip.MustParseAddrPort("192.0.2.2:4000")
	farPeer      = netip.MustParseAddrPort("192.0.2.66:6000")
	farListen    = netip.MustParseAddrPort("192.0.2.1:3478")
)

// far is a host beyond a veth pair.
type far struct {
	t       testing.TB
	conn    *net.UDPConn
	capture int // of all that comes to it
	ns      netns.NsHandle
	near    net.HardwareAddr // of the relay's side
}

// newFar makes a host. Checksums are completed by who sends, or left to the interface, as
// offload says of the host's side and near of the relay's.
func newFar(t testing.TB, name string, here netip.Prefix, at netip.AddrPort, offload, near bool) *far {
	t.Helper()
	f := &far{t: t}
	inside(t, func() error {
		var err error
		if f.ns, err = netns.New(); err != nil {
			return err
		}
		return nil
	})
	t.Cleanup(func() { f.ns.Close() })
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "up", PeerNamespace: netlink.NsFd(f.ns)}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	furnish := func(name string, a netip.Prefix, offload bool) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), 32)}}); err != nil {
			return err
		}
		if err := checksumming(name, offload); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
	if err := furnish(name, here, near); err != nil {
		t.Fatal(err)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	f.near = l.Attrs().HardwareAddr
	inside(t, func() error {
		if err := netns.Set(f.ns); err != nil {
			return err
		}
		if err := furnish("up", netip.PrefixFrom(at.Addr(), here.Bits()), offload); err != nil {
			return err
		}
		var err error
		if f.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err != nil {
			return err
		}
		f.capture, err = capture()
		return err
	})
	t.Cleanup(func() { f.conn.Close(); unix.Close(f.capture) })
	return f
}

// inside calls f on a thread whose namespace it may change.
func inside(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// checksumming has an interface complete checksums, or have senders do.
func checksumming(name string, offload bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ command, on uint32 }{command: unix.ETHTOOL_STXCSUM}
	if offload {
		value.on = 1
	}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:], name)
	request.data = unsafe.Pointer(&value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("set checksums of %s: %w", name, errno)
	}
	return nil
}

// capture is a socket that gets a copy of what comes in.
func capture() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(binary.NativeEndian.Uint16([]byte{0x08, 0x00})))
	if err != nil {
		return -1, err
	}
	up, err := netlink.LinkByName("up")
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{0x08, 0x00}), Ifindex: up.Attrs().Index})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
	}
	return fd, err
}

// frames are the IPv4 packets that a number of datagrams came in, their checksums proved and
// completed and their ids, which the kernel draws, left out; of fragments, only how long
// they are.
func (f *far) frames(datagrams int) (all []string) {
	f.t.Helper()
	for complete := 0; complete < datagrams; {
		b, control := make([]byte, 70000), make([]byte, 200)
		n, m, _, _, err := unix.Recvmsg(f.capture, b, control, 0)
		if err != nil {
			f.t.Fatalf("%d of %d datagrams captured: %v", complete, datagrams, err)
		}
		b = b[:n]
		if len(b) < 34 || b[23] != unix.IPPROTO_UDP || b[14] != 0x45 {
			continue
		}
		flags := binary.BigEndian.Uint16(b[20:])
		if flags&0x3fff != 0 {
			if flags&0x2000 == 0 {
				complete++
			}
			all = append(all, fmt.Sprintf("fragment %#x of %d bytes, TTL %d", flags, n, b[22]))
			continue
		}
		if fold(b[14:34], 0) != 0xffff {
			f.t.Fatalf("the header's checksum is wrong: %x", b)
		}
		size := int(binary.BigEndian.Uint16(b[38:])) // of a super-packet, with that of all its datagrams
		pseudo := fold(b[26:34], 17+uint32(size))
		switch got := binary.BigEndian.Uint16(b[40:]); {
		case unfinished(control[:m]) && got != pseudo:
			f.t.Fatalf("the checksum is to be completed, and begins with %#04x, want %#04x: %x", got, pseudo, b)
		case !unfinished(control[:m]) && fold(b[34:14+20+size], uint32(pseudo)) != 0xffff:
			f.t.Fatalf("the checksum %#04x is wrong: %x", got, b)
		}
		b[18], b[19] = 0, 0
		seal(b)
		complete++
		all = append(all, fmt.Sprintf("%x", b[14:]))
	}
	return all
}

// unfinished reads whether a captured packet's checksum is still to be completed.
func unfinished(control []byte) bool {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_CSUMNOTREADY != 0
		}
	}
	return false
}

// read is the next datagram at the host's socket.
func (f *far) read() (netip.AddrPort, []byte) {
	f.t.Helper()
	b := make([]byte, 70000)
	_ = f.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, from, err := f.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		f.t.Fatal(err)
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), b[:n]
}

// write sends datagrams of a size, many as one where segment is given.
func (f *far) write(to netip.AddrPort, tos int, payload []byte, segment int) {
	f.t.Helper()
	raw, err := f.conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, tos) })
	}
	var control []byte
	if segment > 0 {
		control = make([]byte, unix.CmsgSpace(2))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(control[unix.CmsgLen(0):], uint16(segment))
	}
	if err == nil {
		_, _, err = f.conn.WriteMsgUDPAddrPort(payload, control, to)
	}
	if err != nil {
		f.t.Fatalf("send %d bytes to %v: %v", len(payload), to, err)
	}
}

// inject sends a frame to the relay's side as it is.
func (f *far) inject(frame []byte) {
	f.t.Helper()
	inside(f.t, func() error {
		if err := netns.Set(f.ns); err != nil {
			return err
		}
		up, err := netlink.LinkByName("up")
		if err != nil {
			return err
		}
		attrs := up.Attrs()
		copy(frame[:6], f.near)
		copy(frame[6:12], attrs.HardwareAddr)
		return unix.Sendto(f.capture, frame, 0, &unix.SockaddrLinklayer{Ifindex: attrs.Index, Halen: 6})
	})
}
