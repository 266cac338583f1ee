package packet

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr: a message, and how many bytes of it there are.
type mmsghdr struct {
	header unix.Msghdr
	n      uint32
}

// Sizes of a receiver's buffers: the most that UDP carries, which is also the most that
// UDP_GRO puts together; and a stride that is no power of two, so that the beginnings of
// all buffers do not compete for the same lines of the caches.
const (
	largest       = 1 << 16
	stride        = largest + 33*64
	plainStride   = 2048 + 64
	controlLength = 64
)

// Receiver is the buffers of recvmmsg.
type Receiver struct {
	messages []mmsghdr
	vectors  []unix.Iovec
	names    []unix.RawSockaddrInet4
	control  []byte
	buffer   []byte
	stride   int
}

// NewReceiver makes buffers for n messages, large enough for what UDP_GRO puts together
// or else for one datagram of an Ethernet.
func NewReceiver(n int, coalesced bool) *Receiver {
	r := &Receiver{
		messages: make([]mmsghdr, n), vectors: make([]unix.Iovec, n), names: make([]unix.RawSockaddrInet4, n),
		control: make([]byte, n*controlLength), stride: plainStride,
	}
	if coalesced {
		r.stride = stride
	}
	r.buffer = make([]byte, n*r.stride)
	for i := range n {
		r.vectors[i].Base = &r.buffer[i*r.stride]
		r.vectors[i].SetLen(min(r.stride, largest))
		h := &r.messages[i].header
		h.Iov, h.Name, h.Control = &r.vectors[i], (*byte)(unsafe.Pointer(&r.names[i])), &r.control[i*controlLength]
		h.SetIovlen(1)
	}
	return r
}

// Receive reads what is there, and gives how many messages that was: 0 when nothing is.
func (r *Receiver) Receive(fd int) int {
	for i := range r.messages {
		h := &r.messages[i].header
		h.Namelen = unix.SizeofSockaddrInet4
		h.SetControllen(controlLength)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.messages[0])), uintptr(len(r.messages)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Message is what message i brought: datagrams of segment bytes each, but for the last
// one, which may be shorter.
func (r *Receiver) Message(i int) (payload []byte, segment int) {
	m := &r.messages[i]
	n := int(m.n)
	payload = r.buffer[i*r.stride:][:n:n]
	return payload, segmentOf(r.control[i*controlLength:][:m.header.Controllen], n)
}

// From is where message i came from.
func (r *Receiver) From(i int) netip.AddrPort {
	n := &r.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&n.Port))[:])
	return netip.AddrPortFrom(netip.AddrFrom4(n.Addr), port)
}

// segmentOf finds UDP_GRO's word among control messages; without it there is one datagram.
func segmentOf(control []byte, whole int) int {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO {
			return int(binary.NativeEndian.Uint32(control[unix.CmsgLen(0):]))
		}
		next := unix.CmsgSpace(int(h.Len) - unix.CmsgLen(0))
		if next > len(control) {
			break
		}
		control = control[next:]
	}
	return whole
}
