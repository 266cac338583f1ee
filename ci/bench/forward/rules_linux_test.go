package forward_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"p2pmodel/ci/bench/forward"
	"p2pmodel/ci/bench/network"
	"p2pmodel/ci/bench/packet"
)

// TestRules: what comes for a port of the range comes to the one socket with that port's
// mark, and what it sends with a mark comes from that port: one datagram, and many as one.
func TestRules(t *testing.T) {
	pair := namespaces(t)
	var server, client int
	var remove func() error
	err := pair.System.Do(func() (err error) {
		if remove, err = forward.Rules(); err != nil {
			return err
		}
		if server, err = packet.Listen(netip.AddrPortFrom(network.System, forward.SocketPort), false); err != nil {
			return err
		}
		return unix.SetsockoptInt(server, unix.SOL_SOCKET, unix.SO_RCVMARK, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(server)
	if err := pair.Load.Do(func() (err error) {
		client, err = packet.Listen(netip.AddrPortFrom(network.Clients, 0), false)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)

	for _, port := range []uint16{forward.FirstPort, 0x3456, forward.LastPort} {
		for _, segments := range []int{1, 3} {
			text := []byte("onetwosix")[:3*segments]
			s := packet.NewSender(1)
			s.Queue(netip.AddrPortFrom(network.System, port), text[:3], 3, 0)
			s.Flush(client)
			if err := packet.Wait([]int{server}, 5000); err != nil {
				t.Fatal(err)
			}
			got, control := make([]byte, 100), make([]byte, unix.CmsgSpace(4))
			n, nc, _, from, err := unix.Recvmsg(server, got, control, unix.MSG_DONTWAIT)
			if err != nil || string(got[:n]) != "one" || nc < unix.CmsgSpace(4) {
				t.Fatalf("port %d: the one socket got %q, %d bytes of control messages: %v", port, got[:n], nc, err)
			}
			h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
			if mark := binary.NativeEndian.Uint32(control[unix.CmsgLen(0):]); h.Type != unix.SO_MARK || mark != forward.PortMark(port) {
				t.Errorf("port %d: mark %#x, want %#x", port, mark, forward.PortMark(port))
			}
			s.Mark = forward.PortMark(port)
			sa := from.(*unix.SockaddrInet4)
			s.Queue(netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), text, 3, 0)
			s.Flush(server)
			r := packet.NewReceiver(4, false)
			for at := 0; at < len(text); {
				if err := packet.Wait([]int{client}, 5000); err != nil {
					t.Fatal(err)
				}
				n := r.Receive(client)
				if n == 0 {
					t.Fatalf("port %d: %d of %d bytes came back", port, at, len(text))
				}
				for i := range n {
					payload, _ := r.Message(i)
					if want := netip.AddrPortFrom(network.System, port); r.From(i) != want || string(payload) != string(text[at:at+3]) {
						t.Errorf("%q from %s, want %q from %s", payload, r.From(i), text[at:at+3], want)
					}
					at += 3
				}
			}
		}
	}
	if err := pair.System.Do(remove); err != nil {
		t.Error(err)
	}
}
