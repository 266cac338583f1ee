package sansio

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// batchConn is ipv4.PacketConn or ipv6.PacketConn: recvmmsg and sendmmsg.
type batchConn interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// udpConn is what golang.org/x/net needs of a connection: a *net.UDPConn, or
// anything that embeds one.
type udpConn interface {
	net.PacketConn
	net.Conn
	syscall.Conn
	ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
}

// batchSystem are the messages that recvmmsg fills; they point into the
// batch's buffers.
type batchSystem []ipv4.Message

// batchIO moves many datagrams by one system call.
type batchIO struct {
	conn batchConn
	out  []ipv4.Message
	// told: the kernel says to which address each datagram came (IP_PKTINFO).
	told bool
	six  bool

	// deadline is that of waiting for room in the send buffer.
	deadline func(time.Time) error

	raw   syscall.RawConn // nil: it has none
	hears bool            // of ICMP errors
	erred bool            // a write has failed
	whole bool            // what is sent is not fragmented
}

func newPacketIO(conn net.PacketConn) packetIO {
	udp, ok := conn.(udpConn)
	if !ok {
		return plainIO{conn}
	}
	b := &batchIO{out: make([]ipv4.Message, 0, writeBatch), deadline: udp.SetWriteDeadline}
	if raw, err := udp.SyscallConn(); err == nil {
		b.raw = raw
	}
	local := addrPort(conn.LocalAddr()).Addr()
	b.six = !local.Is4()
	// A socket of one address knows it. Without an answer datagrams come without
	// theirs, as on other systems.
	if b.six {
		c := ipv6.NewPacketConn(udp)
		b.conn, b.told = c, local.IsUnspecified() && c.SetControlMessage(ipv6.FlagDst, true) == nil
	} else {
		c := ipv4.NewPacketConn(udp)
		b.conn, b.told = c, local.IsUnspecified() && c.SetControlMessage(ipv4.FlagDst, true) == nil
	}
	return b
}

// arrivedAt reads to which address a datagram came.
func arrivedAt(control []byte) netip.Addr {
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		switch {
		case err != nil:
			return netip.Addr{}
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data[:16])).Unmap()
		}
		control = rest
	}
	return netip.Addr{}
}

// leaveWith asks for the source address of a datagram.
func (io *batchIO) leaveWith(local netip.Addr) []byte {
	if io.six {
		// By hand: package ipv6 leaves IPv4-mapped addresses out.
		a := local.As16()
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a})
	}
	return (&ipv4.ControlMessage{Src: local.AsSlice()}).Marshal()
}

// controlRoom holds the control message of either family.
const controlRoom = 64

func (io *batchIO) read(b *batch) error {
	b.n = 0
	if b.buffer == nil {
		b.point(smallDatagram)
	}
	for i := range b.system {
		if io.told && b.system[i].OOB == nil {
			b.system[i].OOB = make([]byte, controlRoom)
		}
	}
	n, err := io.conn.ReadBatch(b.system, 0)
	if err != nil {
		return err
	}
	truncated := false
	for i := range n {
		m := &b.system[i]
		if m.Flags&unix.MSG_TRUNC != 0 {
			truncated = true
			continue
		}
		b.remote[b.n], b.size[b.n] = addrPort(m.Addr), m.N
		if io.told {
			b.local[b.n] = arrivedAt(m.OOB[:m.NN])
		}
		if b.n != i {
			copy(b.room(b.n), b.room(i)[:m.N])
		}
		b.n++
	}
	if truncated && b.n == 0 {
		// What was too long is lost, as UDP may lose any; its successors
		// will fit. A batch that brought others as well is enlarged when it
		// brings only such.
		b.point(largeDatagram)
	}
	return nil
}

// point makes buffers of the given size and the messages that point at them.
func (b *batch) point(size int) {
	b.grow(size)
	b.system = make([]ipv4.Message, readBatch)
	for i := range b.system {
		b.system[i].Buffers = [][]byte{b.room(i)}
	}
}

// failed implements errorIO.
func (io *batchIO) failed() bool {
	was := io.erred
	io.erred = false
	return was
}

func (io *batchIO) write(out []outgoing, payload []byte) {
	var full fullness
	for len(out) > 0 {
		// In runs that are fragmented or not: the kernel knows it of the socket.
		n := 1
		for n < len(out) && out[n].whole == out[0].whole {
			n++
		}
		io.fragment(!out[0].whole)
		io.writeRun(out[:n], payload, &full)
		out = out[n:]
	}
}

// fullness is when a full send buffer has held up the loop for long enough; zero: it
// has not been full.
type fullness struct{ until time.Time }

// send sends the first of the messages. The error is os.ErrDeadlineExceeded when the
// send buffer is full and stays so.
func (io *batchIO) send(ms []ipv4.Message, p *fullness) (int, error) {
	n, err := io.conn.WriteBatch(ms, unix.MSG_DONTWAIT)
	if n > 0 || !errors.Is(err, unix.EAGAIN) {
		return n, err
	}
	if p.until.IsZero() {
		p.until = time.Now().Add(writePatience)
	}
	// A deadline that cannot be set leaves a write that may wait: no error.
	_ = io.deadline(p.until)
	n, err = io.conn.WriteBatch(ms, 0)
	_ = io.deadline(time.Time{})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	// While it passed there may have been room, and nobody to look.
	if n, again := io.conn.WriteBatch(ms, unix.MSG_DONTWAIT); !errors.Is(again, unix.EAGAIN) {
		return n, again
	}
	return 0, err
}

// tries is how often a datagram is tried while the errors of earlier ones surface: each
// error is one datagram's, and more of them may arrive between two tries.
const tries = 16

func (io *batchIO) writeRun(out []outgoing, payload []byte, p *fullness) {
	ms := io.out[:0]
	for _, o := range out {
		m := ipv4.Message{
			Buffers: [][]byte{payload[o.start:o.end]},
			Addr:    net.UDPAddrFromAddrPort(o.remote),
		}
		if o.local.IsValid() {
			m.OOB = io.leaveWith(o.local)
		}
		ms = append(ms, m)
	}
	again := tries // how often the first of the rest may be tried again
	for rest := ms; len(rest) > 0; {
		n, err := io.send(rest, p)
		if n <= 0 && io.fromEarlier(err) {
			io.erred = true
			if again--; again > 0 {
				continue
			}
		}
		again = tries
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if n <= 0 {
			// The error belongs to the first: no route, forbidden by a
			// firewall, too long. The others may fare better.
			n = 1
		}
		rest = rest[n:]
	}
	clear(ms)
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
