package sansio

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"
)

const (
	// readBatch and writeBatch are how many datagrams one system call moves at
	// most.
	readBatch  = 16
	writeBatch = 64
	// smallDatagram holds any datagram of an Ethernet; readers start with
	// buffers of this size and grow them to largeDatagram, the most that UDP
	// can carry, when a longer one has come.
	smallDatagram = 2048
	largeDatagram = 65536
	// receiveBuffer is asked of the kernel for each socket, so that bursts
	// survive while the machine is busy.
	receiveBuffer = 4 << 20
	// writePatience is how long a full send buffer may hold up the loop before
	// datagrams are lost instead.
	writePatience = 20 * time.Millisecond
	// Errors of reading that are not the end are waited out between these.
	minReadPause = time.Millisecond
	maxReadPause = 100 * time.Millisecond
)

// socket is an open UDP socket of the machine.
type socket struct {
	id    Socket
	local netip.AddrPort
	conn  net.PacketConn
	io    packetIO
	hears errorIO       // nil: it hears of no errors
	free  chan *batch   // batches that the reader may fill
	done  chan struct{} // closed with the socket

	// Owned by the loop's goroutine: datagrams to send, their payloads copied
	// because the machine may reuse its buffers before the flush.
	out     []outgoing
	payload []byte
}

// outgoing is a datagram to send; its payload is a range of socket.payload.
type outgoing struct {
	remote     netip.AddrPort
	local      netip.Addr // to leave with; the zero value: any
	whole      bool       // not to be fragmented
	start, end int
}

// packetIO moves datagrams over a socket, many at once where it can.
type packetIO interface {
	// read fills b with at least one datagram or fails.
	read(b *batch) error
	// write sends all, in order; a datagram that cannot be sent is lost. Only a full
	// send buffer has it wait, for writePatience at most. A deadline tells of no full
	// buffer: on a busy machine it can pass before the kernel has been asked.
	write(out []outgoing, payload []byte)
}

// errorIO is a packetIO that can hear of ICMP errors.
type errorIO interface {
	packetIO
	// hearErrors begins it; errors gives those that have come since, and may be called
	// by the one that reads and the one that writes.
	hearErrors()
	errors(s Socket) []Undeliverable
	// failed says whether a write has failed since the last call.
	failed() bool
}

// open opens the socket that b asks for. An invalid address means all addresses
// of both families.
func (l *Loop) open(ctx context.Context, b Bind) (*socket, error) {
	network, address := "udp", ":"+strconv.Itoa(int(b.Local.Port()))
	if a := b.Local.Addr(); a.IsValid() {
		network, address = "udp6", b.Local.String()
		if a.Unmap().Is4() {
			network, address = "udp4", netip.AddrPortFrom(a.Unmap(), b.Local.Port()).String()
		}
	}
	conn, err := l.network.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	enlarge(conn)
	s := &socket{
		id:    b.Socket,
		local: addrPort(conn.LocalAddr()),
		conn:  conn,
		free:  make(chan *batch, 2),
		done:  make(chan struct{}),
	}
	s.io = newPacketIO(conn)
	if io, can := s.io.(errorIO); can && b.Errors {
		io.hearErrors()
		s.hears = io
	}
	for range cap(s.free) {
		s.free <- &batch{socket: s}
	}
	return s, nil
}

// readAll reads until the socket is closed.
func (s *socket) readAll(inbox chan<- *batch) {
	pause := minReadPause
	for {
		var b *batch
		select {
		case b = <-s.free:
		case <-s.done:
			return
		}
		err := s.io.read(b)
		switch {
		case err == nil && b.n > 0:
			pause = minReadPause
			select {
			case inbox <- b:
			case <-s.done:
				return
			}
			continue
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil && s.hears != nil:
			// The error is a datagram's that left before, as a rule.
			if b.errors = s.hears.errors(s.id); len(b.errors) > 0 {
				pause = minReadPause
				select {
				case inbox <- b:
				case <-s.done:
					return
				}
				continue
			}
			fallthrough
		case err != nil:
			// An ICMP error that answers a datagram of ours surfaces here as
			// ECONNREFUSED or the like and says nothing about the next read.
			select {
			case <-time.After(pause):
				pause = min(2*pause, maxReadPause)
			case <-s.done:
				return
			}
		}
		s.free <- b
	}
}

func (s *socket) queue(d Datagram) {
	start := len(s.payload)
	s.payload = append(s.payload, d.Payload...)
	s.out = append(s.out, outgoing{remote: d.Remote, local: d.Local, whole: d.DontFragment, start: start, end: len(s.payload)})
}

func (s *socket) flush() {
	if len(s.out) == 0 {
		return
	}
	s.io.write(s.out, s.payload)
	s.out, s.payload = s.out[:0], s.payload[:0]
}

// close ends the reader, which the loop waits for.
func (s *socket) close() {
	close(s.done)
	// The error would say that it was closed before.
	_ = s.conn.Close()
}

// batch is what one read brought.
type batch struct {
	socket *socket
	n      int
	remote [readBatch]netip.AddrPort
	local  [readBatch]netip.Addr // to which it came; the zero value: unknown
	size   [readBatch]int
	buffer []byte          // readBatch buffers of equal size, one after the other
	errors []Undeliverable // instead of datagrams
	// system is what the platform's packetIO keeps with a batch.
	system batchSystem
}

// grow makes all buffers of the given size.
func (b *batch) grow(size int) { b.buffer = make([]byte, readBatch*size) }

// room is buffer i.
func (b *batch) room(i int) []byte {
	size := len(b.buffer) / readBatch
	return b.buffer[i*size : (i+1)*size : (i+1)*size]
}

func (b *batch) datagram(i int) (netip.AddrPort, []byte) {
	return b.remote[i], b.room(i)[:b.size[i]]
}

// plainIO moves one datagram at a time over any packet socket.
type plainIO struct{ conn net.PacketConn }

func (p plainIO) read(b *batch) error {
	b.n = 0
	if b.buffer == nil {
		b.grow(largeDatagram) // no way to learn of a truncated datagram
	}
	n, from, err := p.conn.ReadFrom(b.room(0))
	if err != nil {
		return err
	}
	b.n, b.remote[0], b.size[0] = 1, addrPort(from), n
	return nil
}

func (p plainIO) write(out []outgoing, payload []byte) {
	full := 0 // deadlines that have passed
	for i := 0; i < len(out) && full < plainTries; {
		o := out[i]
		if o.local.IsValid() {
			i++
			continue // there is no way to choose it
		}
		// A deadline that cannot be set leaves a write that may wait: no error.
		_ = p.conn.SetWriteDeadline(time.Now().Add(writePatience / plainTries))
		_, err := p.conn.WriteTo(payload[o.start:o.end], net.UDPAddrFromAddrPort(o.remote))
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			full++
			continue
		}
		i++
	}
}

// plainTries is how many deadlines have to pass until a send buffer is held to be full
// where nothing else tells.
const plainTries = 4

// enlarge asks for large buffers, as far as the socket has any.
func enlarge(conn net.PacketConn) {
	if c, ok := conn.(interface{ SetReadBuffer(bytes int) error }); ok {
		// The kernel grants what it may; less is no error.
		_ = c.SetReadBuffer(receiveBuffer)
	}
	forceReceiveBuffer(conn)
}

// addrPort is a's address, an IPv4 address never in its IPv6-mapped form; the
// zero value if a is none of UDP.
func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
