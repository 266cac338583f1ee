package sansio

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// acceptPause is the wait after a connection could not be accepted, for want of a
// file descriptor as a rule.
const acceptPause = 50 * time.Millisecond

// Errors that HandleClosed and HandleBound give.
var (
	ErrStreamIdle = errors.New("no whole message came for too long")
	errNoStreams  = errors.New("this machine takes no streams")
	errNoIdentity = errors.New("no certificate to show: give StreamConfig.Certificate")
)

// streams are the stream sockets of a loop. All but what says otherwise is owned
// by the goroutine of Run.
type streams struct {
	config   StreamConfig
	identity *tls.Config   // of sockets that listen
	machine  StreamMachine // nil: it takes none
	inbox    chan streamEvent
	stop     chan struct{} // closed when the loop ends
	workers  sync.WaitGroup

	sockets map[Socket]*streamSocket
	// byAddress counts accepted connections; total is their sum. Owned by lock.
	lock      sync.Mutex
	byAddress map[netip.Addr]int
	total     int
}

// streamSocket is one that listens, with what it has accepted, or one connection.
type streamSocket struct {
	id        Socket
	transport Transport
	listener  net.Listener               // nil: a connection
	accepted  map[netip.AddrPort]*stream // of one that listens
	conn      *stream                    // of a connection, once it stands
	open      context.Context            // ends with the socket
	close     context.CancelFunc
}

// streamEvent is what goroutines of streams tell the loop: one of its parts.
type streamEvent struct {
	socket *streamSocket
	stream *stream
	batch  *streamBatch // messages
	opened bool         // the socket's connection stands, or err says why not
	begun  bool         // accepted
	err    error        // why the stream is over
}

func newStreams(m Machine, c StreamConfig) *streams {
	s := &streams{
		inbox: make(chan streamEvent), stop: make(chan struct{}),
		sockets: make(map[Socket]*streamSocket), byAddress: make(map[netip.Addr]int),
	}
	s.machine, _ = m.(StreamMachine)
	s.config = c.withDefaults()
	s.identity = s.config.serverTLS()
	return s
}

// tell hands an event to the loop; false if nobody wants it any more.
func (s *streams) tell(e streamEvent, unless <-chan struct{}) bool {
	select {
	case s.inbox <- e:
		return true
	case <-unless:
	case <-s.stop:
	}
	return false
}

// openStream opens what b asks for. It listens at once; a connection is told of later.
func (l *Loop) openStream(ctx context.Context, b Bind) {
	s := l.streams
	fail := func(err error) {
		l.machine.HandleBound(time.Now(), b.Socket, b.Local, err)
	}
	switch {
	case s.machine == nil:
		fail(errNoStreams)
		return
	case b.Remote.IsValid():
		k := s.socket(ctx, b)
		s.workers.Go(func() {
			st, err := s.dial(l.network, k, b)
			if !s.tell(streamEvent{socket: k, stream: st, opened: true, err: err}, k.open.Done()) && st != nil {
				_ = st.conn.Close()
			}
		})
		return
	case b.Transport == TLS && s.config.Certificate == nil:
		fail(fmt.Errorf("listen for TLS on %v: %w", b.Local, errNoIdentity))
		return
	}
	network, address := "tcp", ":"+strconv.Itoa(int(b.Local.Port()))
	if a := b.Local.Addr().Unmap(); a.IsValid() {
		network, address = "tcp6", netip.AddrPortFrom(a, b.Local.Port()).String()
		if a.Is4() {
			network = "tcp4"
		}
	}
	listener, err := l.network.Listen(ctx, network, address)
	if err != nil {
		fail(fmt.Errorf("listen for %s on %v: %w", b.Transport, b.Local, err))
		return
	}
	k := s.socket(ctx, b)
	k.listener, k.accepted = listener, make(map[netip.AddrPort]*stream)
	s.workers.Go(func() { s.accept(k) })
	l.machine.HandleBound(time.Now(), b.Socket, tcpAddrPort(listener.Addr()), nil)
}

func (s *streams) socket(ctx context.Context, b Bind) *streamSocket {
	k := &streamSocket{id: b.Socket, transport: b.Transport}
	k.open, k.close = context.WithCancel(ctx)
	s.sockets[b.Socket] = k
	return k
}

// handshake bounds what comes before the messages of a socket's connection.
func (s *streams) handshake(k *streamSocket) (context.Context, context.CancelFunc) {
	if s.config.Handshake < 0 {
		return context.WithCancel(k.open)
	}
	return context.WithTimeout(k.open, s.config.Handshake)
}

// dial makes a connection stand.
func (s *streams) dial(n Network, k *streamSocket, b Bind) (*stream, error) {
	explain := func(err error) error { return fmt.Errorf("connect to %s over %s: %w", b.Remote, b.Transport, err) }
	ctx, cancel := s.handshake(k)
	defer cancel()
	conn, err := n.Dial(ctx, "tcp", b.Remote.String())
	if err != nil {
		return nil, explain(err)
	}
	if b.Transport == TLS {
		name := b.ServerName
		if name == "" {
			name = b.Remote.Addr().String()
		}
		secure := tls.Client(conn, s.config.clientTLS(name))
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, explain(err)
		}
		conn = secure
	}
	return s.stream(k, conn, b.Remote), nil
}

// accept takes connections until the socket is closed.
func (s *streams) accept(k *streamSocket) {
	for {
		conn, err := k.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			select {
			case <-time.After(acceptPause):
			case <-k.open.Done():
				return
			}
			continue
		}
		remote := tcpAddrPort(conn.RemoteAddr())
		if !s.admit(remote.Addr()) {
			_ = conn.Close()
			continue
		}
		s.workers.Go(func() {
			defer s.dismiss(remote.Addr())
			s.serve(k, conn, remote)
		})
	}
}

// serve brings an accepted connection up and reads it to its end.
func (s *streams) serve(k *streamSocket, conn net.Conn, remote netip.AddrPort) {
	if k.transport == TLS {
		secure := tls.Server(conn, s.identity)
		ctx, cancel := s.handshake(k)
		err := secure.HandshakeContext(ctx)
		cancel()
		if err != nil {
			_ = conn.Close() // most often who came speaks no TLS
			return
		}
		conn = secure
	}
	st := s.stream(k, conn, remote)
	if !s.tell(streamEvent{socket: k, stream: st, begun: true}, k.open.Done()) {
		_ = conn.Close()
		return
	}
	s.run(st, s.config.FirstMessage)
}

// deliverStream hands what goroutines of streams told to the machine.
func (l *Loop) deliverStream(e streamEvent) {
	s, now := l.streams, time.Now()
	k := e.socket
	if s.sockets[k.id] != k { // closed meanwhile
		switch {
		case e.batch != nil:
			e.stream.free <- e.batch
		case e.opened && e.stream != nil:
			_ = e.stream.conn.Close()
		}
		return
	}
	switch {
	case e.opened && e.err != nil:
		delete(s.sockets, k.id)
		s.machine.HandleBound(now, k.id, netip.AddrPort{}, e.err)
	case e.opened:
		k.conn = e.stream
		s.workers.Go(func() { s.run(e.stream, s.config.Idle) })
		s.machine.HandleBound(now, k.id, tcpAddrPort(e.stream.conn.LocalAddr()), nil)
	case e.begun:
		if old := k.accepted[e.stream.remote]; old != nil {
			old.end() // its end is on the way; the address is the new one's
		}
		k.accepted[e.stream.remote] = e.stream
		s.machine.HandleAccepted(now, k.id, e.stream.remote)
	case k.find(e.stream.remote) != e.stream:
		if e.batch != nil {
			e.stream.free <- e.batch
		}
	case e.batch != nil:
		for _, m := range e.batch.messages {
			s.machine.HandleDatagram(now, Datagram{Socket: k.id, Transport: k.transport, Remote: e.stream.remote, Payload: m})
		}
		e.stream.free <- e.batch
	default:
		k.forget(s, e.stream)
		s.machine.HandleClosed(now, k.id, e.stream.remote, e.err)
	}
}

// find is the connection with an address, or nil.
func (k *streamSocket) find(remote netip.AddrPort) *stream {
	if k.listener != nil {
		return k.accepted[remote]
	}
	return k.conn
}

// forget takes a connection out of the socket, and the socket with its only one.
func (k *streamSocket) forget(s *streams, st *stream) {
	st.end()
	if k.listener != nil {
		delete(k.accepted, st.remote)
		return
	}
	delete(s.sockets, k.id)
	k.close()
}

// close does what a Bind that closes says.
func (s *streams) close(id Socket, remote netip.AddrPort) {
	k := s.sockets[id]
	if k == nil {
		return
	}
	if remote.IsValid() && k.listener != nil {
		if st := k.accepted[remote]; st != nil {
			k.forget(s, st)
		}
		return
	}
	delete(s.sockets, id)
	k.close()
	if k.listener != nil {
		_ = k.listener.Close()
		for _, st := range k.accepted {
			st.end()
		}
	}
	if k.conn != nil {
		k.conn.end()
	}
}

// shut closes all and waits for all goroutines.
func (s *streams) shut() {
	for id := range s.sockets {
		s.close(id, netip.AddrPort{})
	}
	close(s.stop)
	s.workers.Wait()
}

// admit counts a connection, unless there are too many.
func (s *streams) admit(from netip.Addr) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.total >= s.config.MaxStreams || s.byAddress[source(from)] >= s.config.MaxPerAddress {
		return false
	}
	s.total++
	s.byAddress[source(from)]++
	return true
}

func (s *streams) dismiss(from netip.Addr) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.total--
	if s.byAddress[source(from)]--; s.byAddress[source(from)] <= 0 {
		delete(s.byAddress, source(from))
	}
}

// source is what connections are counted by: an IPv4 address, or an IPv6 /64, the
// least that a customer gets.
func source(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	if p, err := a.WithZone("").Prefix(64); err == nil {
		return p.Addr()
	}
	return a
}

// tcpAddrPort is a's address, an IPv4 address never in its IPv6-mapped form.
func tcpAddrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
