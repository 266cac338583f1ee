//go:build linux

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"

	"p2pmodel/nat/certify"
)

// stream is a TCP socket of the probe: inside one connection, outside a listener
// with all that it has accepted.
type stream struct {
	driver *probeDriver
	number int
	dial   func(to netip.AddrPort) (*net.TCPConn, error) // nil: outside
	listen *net.TCPListener                              // nil: inside

	mu      sync.Mutex
	closed  bool
	dialing bool
	waiting [][]byte                        // what is sent once the connection stands
	conns   map[netip.AddrPort]*net.TCPConn // by the other side
}

func (d *probeDriver) openStream(ctx context.Context, ns *namespace, o certify.Open) (proberSocket, error) {
	s := &stream{driver: d, number: o.Socket, conns: make(map[netip.AddrPort]*net.TCPConn)}
	if o.Inside {
		ctx, cancel := context.WithCancel(ctx)
		s.dial = func(to netip.AddrPort) (conn *net.TCPConn, err error) {
			err = ns.inside(func() error {
				dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(o.Local)}
				dialer.SetMultipathTCP(false)
				c, err := dialer.DialContext(ctx, "tcp4", to.String())
				if err == nil {
					conn = c.(*net.TCPConn)
				}
				return err
			})
			return conn, err
		}
		d.readers.Go(func() { <-d.stop; cancel() })
		return s, nil
	}
	err := ns.inside(func() error {
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		l, err := config.Listen(ctx, "tcp4", o.Local.String())
		if err == nil {
			s.listen = l.(*net.TCPListener)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	d.readers.Go(s.accept)
	return s, nil
}

func (s *stream) accept() {
	for {
		conn, err := s.listen.AcceptTCP()
		if err != nil {
			return
		}
		s.add(conn)
	}
}

// add keeps a connection, and reads what comes by it.
func (s *stream) add(conn *net.TCPConn) {
	remote := plain(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
	_ = conn.SetLinger(0) // nothing shall be left of it when it is closed
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return
	}
	s.conns[remote] = conn
	for _, payload := range s.waiting {
		_, _ = conn.Write(payload)
	}
	s.waiting = nil
	s.driver.readers.Go(func() {
		payload := make([]byte, certify.StreamPayload)
		for {
			if _, err := io.ReadFull(conn, payload); err != nil {
				return
			}
			s.driver.arrived(s.number, remote, payload)
		}
	})
}

func (s *stream) send(g certify.Send) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conn := s.conns[g.To]; conn != nil {
		_, err := conn.Write(g.Payload)
		return err
	}
	if s.dial == nil || s.closed {
		return net.ErrClosed // who has never connected cannot be sent to
	}
	s.waiting = append(s.waiting, g.Payload)
	if s.dialing {
		return nil
	}
	s.dialing = true
	s.driver.readers.Go(func() {
		if conn, err := s.dial(g.To); err == nil {
			s.add(conn)
		}
	})
	return nil
}

func (s *stream) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for _, conn := range s.conns {
		errs = append(errs, conn.Close())
	}
	if s.listen != nil {
		errs = append(errs, s.listen.Close())
	}
	return errors.Join(errs...)
}

// echo is a raw ICMP socket of the probe. Its own replies are told from those of
// the system by their sequence number.
type echo struct {
	driver *probeDriver
	local  netip.AddrPort
	inside bool
	conn   *net.IPConn
}

// The messages of echo (RFC 792), and the sequence numbers that requests and the
// probe's own replies have.
const (
	echoReply, echoRequest = 0, 8
	echoHeader             = 8
	asked, answered        = 0, 1
)

func (d *probeDriver) openEcho(ctx context.Context, ns *namespace, o certify.Open) (proberSocket, error) {
	s := &echo{driver: d, local: o.Local, inside: o.Inside}
	err := ns.inside(func() error {
		c, err := new(net.ListenConfig).ListenPacket(ctx, "ip4:icmp", o.Local.Addr().String())
		if err == nil {
			s.conn = c.(*net.IPConn)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	d.readers.Go(func() { s.read(o.Socket) })
	return s, nil
}

func (s *echo) read(socket int) {
	buffer := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFromIP(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < echoHeader {
			continue
		}
		id, sequence := binary.BigEndian.Uint16(buffer[4:]), binary.BigEndian.Uint16(buffer[6:])
		source, _ := netip.AddrFromSlice(from.IP)
		switch {
		case s.inside && buffer[0] == echoReply && id == s.local.Port() && sequence == answered:
			s.driver.arrived(socket, netip.AddrPortFrom(source.Unmap(), 0), buffer[echoHeader:n])
		case !s.inside && buffer[0] == echoRequest:
			s.driver.arrived(socket, netip.AddrPortFrom(source.Unmap(), id), buffer[echoHeader:n])
		}
	}
}

func (s *echo) send(g certify.Send) error {
	message := make([]byte, echoHeader, echoHeader+len(g.Payload))
	if s.inside {
		message[0] = echoRequest
		binary.BigEndian.PutUint16(message[4:], s.local.Port())
		binary.BigEndian.PutUint16(message[6:], asked)
	} else {
		message[0] = echoReply
		binary.BigEndian.PutUint16(message[4:], g.To.Port())
		binary.BigEndian.PutUint16(message[6:], answered)
	}
	message = append(message, g.Payload...)
	binary.BigEndian.PutUint16(message[2:], onesComplement(message))
	_, err := s.conn.WriteToIP(message, &net.IPAddr{IP: g.To.Addr().AsSlice()})
	return err
}

func (s *echo) close() error { return s.conn.Close() }
