package sansio

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr: a message, and how many bytes of it came or left.
type mmsghdr struct {
	header unix.Msghdr
	n      uint32
}

// controlRoom holds the control messages of either family: where a datagram came to or is
// to leave from, and the size of segments.
const controlRoom = 96

// messages are what recvmmsg and sendmmsg take.
type messages struct {
	headers []mmsghdr
	vectors []unix.Iovec
	names   []unix.RawSockaddrInet6 // or RawSockaddrInet4, which is shorter
	control []byte
}

func newMessages(n int) messages {
	return messages{make([]mmsghdr, n), make([]unix.Iovec, n), make([]unix.RawSockaddrInet6, n), make([]byte, n*controlRoom)}
}

// wire is what all sockets of a loop need for a system call and none after it.
type wire struct {
	in     messages
	buffer []byte
	room   int // of the buffer, for one message
	stride int
	out    messages
	of     []int // to which outgoing each message of out belongs

	// What a call of the kernel is about, and what it said: a call is a closure that is
	// made once.
	first, count int
	n            int
	errno        unix.Errno
	receive      func(fd uintptr) bool
	send         func(fd uintptr) bool
	sendOrWait   func(fd uintptr) bool

	zones map[uint32]string
}

// newWire makes one that reads as many datagrams at once as who forwards wants, or
// fewer.
func newWire(forwards bool) *wire {
	n, room := readBatch, smallDatagram
	if forwards {
		// What the kernel puts together is as long as the largest datagram.
		n, room = forwardBatch, largeDatagram
	}
	w := &wire{in: newMessages(n), out: newMessages(writeBatch), of: make([]int, writeBatch), room: room}
	w.receive = func(fd uintptr) bool {
		w.call(unix.SYS_RECVMMSG, fd, &w.in, 0, len(w.in.headers))
		return true
	}
	w.send = func(fd uintptr) bool {
		w.call(unix.SYS_SENDMMSG, fd, &w.out, w.first, w.count)
		return true
	}
	w.sendOrWait = func(fd uintptr) bool {
		w.call(unix.SYS_SENDMMSG, fd, &w.out, w.first, w.count)
		return w.errno != unix.EAGAIN
	}
	return w
}

// call makes a call that does not block, so that the runtime need not know of it.
func (w *wire) call(trap, fd uintptr, m *messages, first, count int) {
	for {
		n, _, errno := unix.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(&m.headers[first])), uintptr(count), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		w.n, w.errno = int(n), errno
		if errno != 0 {
			w.n = 0
		}
		return
	}
}

// point makes the buffers, and the messages that point at them. Their beginnings are no
// power of two apart, or all would compete for the same lines of the caches.
func (w *wire) point(room int) {
	w.room, w.stride = room, room+33*64
	w.buffer = make([]byte, len(w.in.headers)*w.stride)
	for i := range w.in.headers {
		w.in.vectors[i].Base = &w.buffer[i*w.stride]
		w.in.vectors[i].SetLen(room)
		h := &w.in.headers[i].header
		h.Iov, h.Name, h.Control = &w.in.vectors[i], (*byte)(unsafe.Pointer(&w.in.names[i])), &w.in.control[i*controlRoom]
		h.SetIovlen(1)
	}
}

// read reads what is there at a socket, without waiting, and gives how many messages.
func (w *wire) read(io *kernelIO) (int, error) {
	if w.buffer == nil {
		w.point(w.room)
	}
	for i := range w.in.headers {
		h := &w.in.headers[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlRoom)
	}
	w.n, w.errno = 0, 0
	if err := io.raw.Read(w.receive); err != nil {
		return 0, err
	}
	if w.errno != 0 && w.errno != unix.EAGAIN {
		return 0, w.errno
	}
	return w.n, nil
}

// arrival is what one message brought: datagrams of segment bytes, the last one perhaps
// shorter.
type arrival struct {
	remote  netip.AddrPort
	local   netip.Addr // to which it came; the zero value: unknown
	payload []byte
	segment int
}

// arrival reads message i; false: it was cut off.
func (w *wire) arrival(io *kernelIO, i int) (a arrival, ok bool) {
	m := &w.in.headers[i]
	n := int(m.n)
	if m.header.Flags&unix.MSG_TRUNC != 0 {
		return a, false
	}
	a.payload = w.buffer[i*w.stride:][:n:n]
	a.segment = n
	a.remote = w.address(&w.in.names[i])
	if io.told || io.coalesced {
		a.control(w.in.control[i*controlRoom:][:m.header.Controllen])
	}
	return a, a.remote.IsValid()
}

// grow makes larger buffers when a read has brought nothing but what was too long. What
// was is lost, as UDP may lose any; its successors will fit.
func (w *wire) grow(io *kernelIO, n int) {
	if w.room == largeDatagram {
		return
	}
	for i := range n {
		if w.in.headers[i].header.Flags&unix.MSG_TRUNC == 0 {
			return
		}
	}
	if n > 0 {
		w.point(largeDatagram)
	}
}

// control reads the control messages.
func (a *arrival) control(b []byte) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(b) {
			return
		}
		data := b[unix.CmsgLen(0):size]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			if segment := int(binary.NativeEndian.Uint32(data)); segment > 0 {
				a.segment = segment
			}
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			a.local = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			a.local = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		}
		next := unix.CmsgSpace(len(data))
		if next > len(b) {
			return
		}
		b = b[next:]
	}
}

// port is a port of a socket address, which has it in the network's order.
func port(p *uint16) *[2]byte { return (*[2]byte)(unsafe.Pointer(p)) }

// address reads a socket address, an IPv4 address never in its IPv6-mapped form.
func (w *wire) address(name *unix.RawSockaddrInet6) netip.AddrPort {
	switch name.Family {
	case unix.AF_INET:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), binary.BigEndian.Uint16(port(&four.Port)[:]))
	case unix.AF_INET6:
		a := netip.AddrFrom16(name.Addr).Unmap()
		if name.Scope_id != 0 && a.Is6() {
			a = a.WithZone(w.zone(name.Scope_id))
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port(&name.Port)[:]))
	}
	return netip.AddrPort{}
}

// zone names an interface, as package net does.
func (w *wire) zone(index uint32) string {
	name, known := w.zones[index]
	if !known {
		name = strconv.FormatUint(uint64(index), 10)
		if i, err := net.InterfaceByIndex(int(index)); err == nil {
			name = i.Name
		}
		if w.zones == nil {
			w.zones = make(map[uint32]string)
		}
		w.zones[index] = name
	}
	return name
}

// scope is zone's inverse; 0: no such interface.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	n, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// set writes a socket address of a family and gives its size; 0: it has no such form.
func set(name *unix.RawSockaddrInet6, six bool, to netip.AddrPort) uint32 {
	if six {
		*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.Addr().As16(), Scope_id: scope(to.Addr().Zone())}
		binary.BigEndian.PutUint16(port(&name.Port)[:], to.Port())
		return unix.SizeofSockaddrInet6
	}
	if !to.Addr().Is4() {
		return 0
	}
	four := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
	*four = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	binary.BigEndian.PutUint16(port(&four.Port)[:], to.Port())
	return unix.SizeofSockaddrInet4
}
