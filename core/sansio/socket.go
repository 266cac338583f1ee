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
	// readBatch is how many datagrams a system call reads at most, and writeBatch how many
	// wait at one socket until they are written. What passes many on reads and writes
	// more.
	readBatch    = 16
	writeBatch   = 64
	forwardBatch = 64
	// writeBytes is what waits at one socket at most until it is written, and
	// spareDepartures how many buffers for that are kept.
	writeBytes      = 128 << 10
	spareDepartures = 64
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
	hears errorIO // nil: it hears of no errors
	// closed: by the machine; nothing more is to be told of it.
	closed bool

	// Of one with a reader of its own: batches that the reader may fill, and what is
	// closed with the socket.
	free chan *batch
	done chan struct{}

	// Owned by the loop's goroutine: what is to be sent at the next flush; nil: nothing.
	out *departures
}

// departures are datagrams to send, their payloads copied because the machine may
// reuse its buffers before the flush.
type departures struct {
	list    []outgoing
	payload []byte
	count   int // of datagrams
}

// outgoing is a datagram to send, or several of one size to one address; their payloads are
// a range of departures.payload.
type outgoing struct {
	remote     netip.AddrPort
	local      netip.Addr // to leave with; the zero value: any
	whole      bool       // not to be fragmented
	start, end int
	// segment is the size of each datagram, but that the last one may be shorter; 0:
	// there is one.
	segment int
}

// Bounds of what is handed to the kernel as one (UDP_SEGMENT): its own ones are 64
// datagrams, and what a datagram may have at most.
const (
	maxSegments  = 64
	maxSegmented = 65000
)

// add puts a datagram at the end. With join it becomes a part of the last one where it can.
func (d *departures) add(o outgoing, prefix, payload []byte, join bool) {
	o.start = len(d.payload)
	d.payload = append(append(d.payload, prefix...), payload...)
	o.end = len(d.payload)
	d.count++
	if last := len(d.list) - 1; join && last >= 0 && d.list[last].joins(&o) {
		return
	}
	o.segment = o.end - o.start
	d.list = append(d.list, o)
}

// joins takes the datagram that follows in the payload, if the two can be one.
func (o *outgoing) joins(next *outgoing) bool {
	size, has := next.end-next.start, o.end-o.start
	if size == 0 || size > o.segment || has%o.segment != 0 || has/o.segment >= maxSegments || has+size > maxSegmented ||
		o.remote != next.remote || o.local != next.local || o.whole != next.whole {
		return false
	}
	o.end = next.end
	return true
}

// packetIO moves datagrams over a socket, many at once where it can.
type packetIO interface {
	// write sends all, in order; a datagram that cannot be sent is lost. Only a full
	// send buffer has it wait, for writePatience at most. A deadline tells of no full
	// buffer: on a busy machine it can pass before the kernel has been asked.
	write(out []outgoing, payload []byte)
	// joins says whether datagrams of one size to one address may be one outgoing.
	joins() bool
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
	s := &socket{id: b.Socket, local: addrPort(conn.LocalAddr()), conn: conn}
	if polled, err := l.polled(s); err != nil {
		_ = conn.Close()
		return nil, err
	} else if !polled {
		l.startReader(s)
	}
	if io, can := s.io.(errorIO); can && b.Errors {
		io.hearErrors()
		s.hears = io
	}
	return s, nil
}

// startReader has a goroutine read the socket, datagram by datagram.
func (l *Loop) startReader(s *socket) {
	io := plainIO{s.conn}
	s.io = io
	s.free, s.done = make(chan *batch, 2), make(chan struct{})
	for range cap(s.free) {
		s.free <- &batch{socket: s}
	}
	l.readers.Add(1)
	go func() {
		defer l.readers.Done()
		s.readAll(io, l.inbox)
	}()
}

// readAll reads until the socket is closed.
func (s *socket) readAll(io plainIO, inbox chan<- *batch) {
	pause := minReadPause
	for {
		var b *batch
		select {
		case b = <-s.free:
		case <-s.done:
			return
		}
		err := io.read(b)
		switch {
		case err == nil:
			pause = minReadPause
			select {
			case inbox <- b:
			case <-s.done:
				return
			}
			continue
		case errors.Is(err, net.ErrClosed):
			return
		default:
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

// close ends the reader, if there is one, which the loop waits for.
func (s *socket) close() {
	s.closed = true
	if s.done != nil {
		close(s.done)
	}
	// The error would say that it was closed before.
	_ = s.conn.Close()
}

// batch is what one read of a reader brought: a datagram.
type batch struct {
	socket  *socket
	remote  netip.AddrPort
	buffer  []byte // of the largest datagram: there is no way to learn of a truncated one
	payload []byte
}

// plainIO moves one datagram at a time over any packet socket.
type plainIO struct{ conn net.PacketConn }

func (p plainIO) joins() bool { return false }

func (p plainIO) read(b *batch) error {
	if b.buffer == nil {
		b.buffer = make([]byte, largeDatagram)
	}
	n, from, err := p.conn.ReadFrom(b.buffer)
	if err != nil {
		return err
	}
	b.remote, b.payload = addrPort(from), b.buffer[:n]
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
