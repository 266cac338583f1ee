package packet

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Frames sends whole frames of an Ethernet, of many flows by one system call, which no socket
// of UDP can.
type Frames struct {
	fd       int
	headers  [ethernetHeader]byte
	messages []mmsghdr
	vectors  []unix.Iovec
	n        int
}

const (
	ethernetHeader = 14
	ipv4Header     = 20
	udpHeader      = 8
	// virtualHeader is struct virtio_net_hdr, which the kernel takes off.
	virtualHeader = 10
	// FrameHeader is what a frame has before the payload.
	FrameHeader = virtualHeader + ethernetHeader + ipv4Header + udpHeader
)

// NewFrames opens a socket on an interface of this thread's namespace, for n frames at once.
func NewFrames(n int, on string, to net.HardwareAddr) (*Frames, error) {
	i, err := net.InterfaceByName(on)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) // it receives nothing
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	f := &Frames{fd: fd, messages: make([]mmsghdr, n), vectors: make([]unix.Iovec, n)}
	copy(f.headers[:], to)
	copy(f.headers[6:], i.HardwareAddr)
	binary.BigEndian.PutUint16(f.headers[12:], unix.ETH_P_IP)
	for option, v := range map[[2]int]int{{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE}: ReceiveBuffer, {unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS}: 1, {unix.SOL_PACKET, unix.PACKET_VNET_HDR}: 1} {
		if err == nil {
			err = unix.SetsockoptInt(fd, option[0], option[1], v)
		}
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("packet socket on %s: %w", on, err)
	}
	return f, nil
}

// Close closes the socket.
func (f *Frames) Close() { _ = unix.Close(f.fd) }

// Make makes a frame with room for a UDP payload of so many bytes. Its checksum is left to the
// interface, as that of what a socket sends is.
func (f *Frames) Make(from, to netip.AddrPort, size int) []byte {
	b := make([]byte, FrameHeader+size)
	b[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	binary.NativeEndian.PutUint16(b[6:], ethernetHeader+ipv4Header) // from where it is computed, and where it is from there
	binary.NativeEndian.PutUint16(b[8:], 6)
	copy(b[virtualHeader:], f.headers[:])
	ip := b[virtualHeader+ethernetHeader:]
	ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, 64, unix.IPPROTO_UDP // no options; not to be fragmented; TTL
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Header+udpHeader+size))
	source, destination := from.Addr().As4(), to.Addr().As4()
	copy(ip[12:], source[:])
	copy(ip[16:], destination[:])
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip[:ipv4Header], 0))
	udp := ip[ipv4Header:]
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(udpHeader+size))
	// The pseudo-header's part of the checksum is the sender's.
	binary.BigEndian.PutUint16(udp[6:], sum(ip[12:ipv4Header], unix.IPPROTO_UDP+udpHeader+uint32(size)))
	return b
}

// sum is the ones' complement sum of an even number of bytes.
func sum(b []byte, of uint32) uint16 {
	for i := 0; i < len(b); i += 2 {
		of += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for of > 0xffff {
		of = of>>16 + of&0xffff
	}
	return uint16(of)
}

// Queue adds a frame, which is not to change until Flush.
func (f *Frames) Queue(frame []byte) {
	v := &f.vectors[f.n]
	v.Base = &frame[0]
	v.SetLen(len(frame))
	f.messages[f.n].header = unix.Msghdr{Iov: v}
	f.messages[f.n].header.SetIovlen(1)
	f.n++
}

// Full says that nothing more can be queued.
func (f *Frames) Full() bool { return f.n == len(f.messages) }

// Flush sends what is queued; what cannot be sent is lost.
func (f *Frames) Flush() {
	sendAll(f.fd, f.messages[:f.n])
	f.n = 0
}
