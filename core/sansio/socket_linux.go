package sansio

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// udpConn is what is needed of a connection: a *net.UDPConn, or
// anything that embeds one.
type udpConn interface {
	net.PacketConn
	net.Conn
	syscall.Conn
	ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
}

// kernelIO moves many datagrams by one system call, and many by one message where the kernel
// can (UDP_SEGMENT, UDP_GRO).
type kernelIO struct {
	*wire
	raw syscall.RawConn
	// deadline is that of waiting for room in the send buffer.
	deadline func(time.Time) error
	// told: the kernel says to which address each datagram came (IP_PKTINFO).
	told bool
	six  bool

	hears bool // of ICMP errors
	erred bool // a write has failed
	whole bool // what is sent is not fragmented
	// coalesced: the kernel may give several datagrams as one.
	coalesced bool
	// segments is the largest size of datagrams that are given to the kernel as one; 0:
	// none are.
	segments int
}

func newKernelIO(udp udpConn, raw syscall.RawConn, w *wire) *kernelIO {
	io := &kernelIO{wire: w, raw: raw, deadline: udp.SetWriteDeadline}
	local := addrPort(udp.LocalAddr()).Addr()
	io.six = !local.Is4()
	// A socket of one address knows it. Without an answer datagrams come without
	// theirs, as on other systems.
	if local.IsUnspecified() {
		if io.six {
			io.told = ipv6.NewPacketConn(udp).SetControlMessage(ipv6.FlagDst, true) == nil
		} else {
			io.told = ipv4.NewPacketConn(udp).SetControlMessage(ipv4.FlagDst, true) == nil
		}
	}
	if offload().segment {
		io.segments = maxSegment
	}
	return io
}

func (io *kernelIO) joins() bool { return io.segments > 0 }

// failed implements errorIO.
func (io *kernelIO) failed() bool {
	was := io.erred
	io.erred = false
	return was
}

func (io *kernelIO) write(out []outgoing, payload []byte) {
	var full fullness
	for len(out) > 0 {
		// In runs that are fragmented or not: the kernel knows it of the socket.
		n := 1
		for n < len(out) && out[n].whole == out[0].whole {
			n++
		}
		io.fragment(!out[0].whole)
		for run := out[:n]; len(run) > 0; {
			done, more := io.writeRun(run, payload, &full)
			if run = run[done:]; !more {
				return
			}
		}
		out = out[n:]
	}
}

// fullness is when a full send buffer has held up the loop for long enough; zero: it
// has not been full.
type fullness struct{ until time.Time }

// attempt sends messages from one on. The error is os.ErrDeadlineExceeded when the
// send buffer is full and stays so.
func (io *kernelIO) attempt(first, count int, p *fullness) (int, error) {
	w := io.wire
	w.first, w.count = first, count
	try := func(f func(uintptr) bool) (int, error) {
		w.n, w.errno = 0, 0
		switch err := io.raw.Write(f); {
		case err != nil:
			return 0, err
		case w.errno != 0:
			return 0, w.errno
		}
		return w.n, nil
	}
	n, err := try(w.send)
	if n > 0 || !errors.Is(err, unix.EAGAIN) {
		return n, err
	}
	if p.until.IsZero() {
		p.until = time.Now().Add(writePatience)
	}
	// A deadline that cannot be set leaves a write that may wait: no error.
	_ = io.deadline(p.until)
	n, err = try(w.sendOrWait)
	_ = io.deadline(time.Time{})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	// While it passed there may have been room, and nobody to look.
	if n, again := try(w.send); !errors.Is(again, unix.EAGAIN) {
		return n, again
	}
	return 0, err
}

// tries is how often a datagram is tried while the errors of earlier ones surface: each
// error is one datagram's, and more of them may arrive between two tries.
const tries = 16

// writeRun writes as many as there are messages for, and gives how many that were; false: no
// more can be written now.
func (io *kernelIO) writeRun(out []outgoing, payload []byte, p *fullness) (done int, more bool) {
	count := 0
	for done < len(out) {
		added, ok := io.message(count, done, &out[done], payload)
		if !ok {
			break
		}
		count += added
		done++
	}
	again := tries // how often the first of the rest may be tried again
	for first := 0; first < count; {
		n, err := io.attempt(first, count-first, p)
		if n <= 0 && io.fromEarlier(err) {
			io.erred = true
			if again--; again > 0 {
				continue
			}
		}
		again = tries
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return done, false
		}
		if n <= 0 && io.apart(&out[io.of[first]], err) {
			// The rest is made anew: what cannot be one message is several.
			return io.of[first], true
		}
		if n <= 0 {
			// The error belongs to the first: no route, forbidden by a
			// firewall, too long. The others may fare better.
			n = 1
		}
		first += n
	}
	return done, true
}

// message makes the messages of an outgoing, from number i on, and gives how many they
// are; false: there is no room for them.
func (io *kernelIO) message(i, which int, o *outgoing, payload []byte) (int, bool) {
	several := o.segment > 0 && o.end-o.start > o.segment
	size, n := o.end-o.start, 1
	if several && o.segment > io.segments {
		size, n = o.segment, (o.end-o.start+o.segment-1)/o.segment
	}
	if n > len(io.out.headers)-i {
		return 0, false
	}
	for start := o.start; ; start += size {
		end := min(start+size, o.end)
		io.of[i] = which
		h := &io.out.headers[i].header
		*h = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&io.out.names[i])), Namelen: set(&io.out.names[i], io.six, o.remote), Iov: &io.out.vectors[i]}
		if h.Namelen == 0 {
			return 0, true // it has no such address: it is lost
		}
		h.SetIovlen(1)
		v := &io.out.vectors[i]
		v.Base = unsafe.SliceData(payload[start:end])
		v.SetLen(end - start)
		control := io.out.control[i*controlRoom:][:0]
		if o.local.IsValid() {
			control = io.leaveWith(control, o.local)
		}
		if several && n == 1 {
			control = segmented(control, o.segment)
		}
		if len(control) > 0 {
			h.Control = &control[0]
			h.SetControllen(len(control))
		}
		i++
		if end == o.end {
			return n, true
		}
	}
}

// header begins a control message of n bytes, and gives where these are.
func header(control []byte, level, kind int32, n int) (all, data []byte) {
	at := len(control)
	all = control[:at+unix.CmsgSpace(n)]
	clear(all[at:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&all[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(n))
	return all, all[at+unix.CmsgLen(0):]
}

// leaveWith asks for the source address of a datagram.
func (io *kernelIO) leaveWith(control []byte, local netip.Addr) []byte {
	if io.six {
		all, data := header(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		a := local.As16()
		copy(data, a[:])
		return all
	}
	all, data := header(control, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	if local = local.Unmap(); local.Is4() {
		a := local.As4()
		copy(data[4:], a[:]) // ipi_spec_dst
	}
	return all
}

// segmented says of which size the datagrams of a message are.
func segmented(control []byte, size int) []byte {
	all, data := header(control, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, uint16(size))
	return all
}

// forceReceiveBuffer exceeds net.core.rmem_max, where we are privileged.
func forceReceiveBuffer(conn net.PacketConn) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	// Without privilege the socket keeps what SetReadBuffer got.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	})
}
