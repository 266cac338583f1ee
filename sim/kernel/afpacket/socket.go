//go:build linux

// Package afpacket is the part of Linux packet sockets that the laboratory's
// wires and captures share: raw sockets with virtio headers and kernel
// timestamps, read and written in batches.
//
// It knows nothing of links or captures, and does not decide when to read.
package afpacket

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiveBuffer is what a socket may hold that nobody has read yet, in bytes of
// kernel memory, which are taken only when it does; the kernel doubles it. Small
// packets take some 770 each: it covers a stall of the reader of several milliseconds
// at the speed of a veth, and of half a minute in a mesh whose machine is busy.
const receiveBuffer = 64 << 20

// Options are what differs between the users of packet sockets.
type Options struct {
	// IgnoreOutgoing leaves out packets that leave through the interface, those
	// written to the socket itself among them.
	IgnoreOutgoing bool
}

// Open opens a raw packet socket on an interface of the calling thread's network
// namespace; the socket works from any thread afterwards. Each frame that it
// reads or writes begins with a virtio header (HeaderSize bytes), so that
// packets with unfinished checksums and segments of offload keep that knowledge.
// The socket does not block. The caller closes it.
func Open(ifindex int, opt Options) (fd int, err error) {
	// Protocol 0 receives nothing until bind: nothing of other interfaces gets in.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return -1, fmt.Errorf("packet socket on interface %d: %w (CAP_NET_RAW is needed: run as root, or in a user namespace)", ifindex, err)
		}
		return -1, fmt.Errorf("packet socket on interface %d: %w", ifindex, err)
	}
	fail := func(step string, err error) (int, error) {
		unix.Close(fd)
		return -1, fmt.Errorf("packet socket on interface %d: %s: %w", ifindex, step, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fail("PACKET_VNET_HDR", err)
	}
	if opt.IgnoreOutgoing {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return fail("PACKET_IGNORE_OUTGOING", err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fail("SO_TIMESTAMPNS", err)
	}
	// The forced size needs more rights than a user namespace gives on some
	// kernels; the plain one is cut to net.core.rmem_max.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			return fail("SO_RCVBUF", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: ifindex}); err != nil {
		return fail("bind", err)
	}
	return fd, nil
}

// atOnce is how many sockets are closed at the same time: each keeps a thread.
const atOnce = 256

// Close closes sockets, many at once: for each the kernel waits until no processor
// can be in the middle of delivering to it, about 10 ms, and those that wait at the
// same time wait together.
func Close(fds ...int) error {
	var errs []error
	for some := range slices.Chunk(fds, atOnce) {
		var wait sync.WaitGroup
		closed := make([]error, len(some))
		for i, fd := range some {
			wait.Go(func() { closed[i] = unix.Close(fd) })
		}
		wait.Wait()
		errs = append(errs, closed...)
	}
	return errors.Join(errs...)
}

// Drops gives how many packets the kernel did not queue for want of room since
// the last call for the same socket.
func Drops(fd int) (uint64, error) {
	st, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("PACKET_STATISTICS: %w", err)
	}
	return uint64(st.Drops), nil
}

// networkOrder gives v as it lies in memory in network byte order.
func networkOrder(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return *(*uint16)(unsafe.Pointer(&b))
}
