package rendezvous

import (
	"slices"

	"net/netip"
	"time"

	"p2pmodel/core/sansio"
)

// The sockets for peers whose network lets no UDP out. A registration over a stream
// is as any other, but that the peer has no UDP address there: whom it is introduced
// to is told nowhere.
const (
	tcpSocket sansio.Socket = 16
	tlsSocket sansio.Socket = 17
)

// nowhere is the address of a peer that is registered over a stream.
var nowhere = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)

// streamSocket is one that accepts streams.
type streamSocket struct {
	socket      sansio.Socket
	transport   sansio.Transport
	wish, local netip.AddrPort
	open        bool
}

// isStream reports whether a socket is one for streams.
func isStream(s sansio.Socket) bool { return s == tcpSocket || s == tlsSocket }

// has reports whether the server has such a socket.
func (s *Server) has(k sansio.Socket) bool {
	return int(k) < len(s.sockets) || slices.ContainsFunc(s.streams, func(o streamSocket) bool { return o.socket == k })
}

// listenForStreams asks for the sockets that are configured.
func (s *Server) listenForStreams() {
	for _, k := range []streamSocket{
		{socket: tcpSocket, transport: sansio.TCP, wish: plain(s.cfg.TCP)},
		{socket: tlsSocket, transport: sansio.TLS, wish: plain(s.cfg.TLS)},
	} {
		if k.wish.Addr().IsValid() {
			s.streams = append(s.streams, k)
			s.Listen(k.socket, k.transport, k.wish)
		}
	}
}

// boundStream notes that a socket for streams is open.
func (s *Server) boundStream(k sansio.Socket, local netip.AddrPort) {
	for i := range s.streams {
		if s.streams[i].socket == k {
			s.streams[i].local, s.streams[i].open = local, true
		}
	}
}

// streamAt is where streams of a transport are accepted; the zero value: nowhere.
func (s *Server) streamAt(t sansio.Transport) netip.AddrPort {
	for _, k := range s.streams {
		if k.transport == t {
			return k.local
		}
	}
	return netip.AddrPort{}
}

// wishOf is the address that a socket was to have.
func (s *Server) wishOf(k sansio.Socket) netip.AddrPort {
	for _, stream := range s.streams {
		if stream.socket == k {
			return stream.wish
		}
	}
	return s.sockets[k].wish
}

// localOf is the address that a socket has.
func (s *Server) localOf(k sansio.Socket) netip.AddrPort {
	for _, stream := range s.streams {
		if stream.socket == k {
			return stream.local
		}
	}
	return s.sockets[k].local
}

// ready reports whether all sockets are open.
func (s *Server) ready() bool {
	for _, k := range s.streams {
		if !k.open {
			return false
		}
	}
	return s.opened == len(s.sockets)
}

// reachable is a peer's address as others are told it.
func (r *registration) reachable() netip.AddrPort { return reachableAt(r.socket, r.address) }

func reachableAt(s sansio.Socket, a netip.AddrPort) netip.AddrPort {
	if isStream(s) {
		return nowhere
	}
	return a
}

// HandleAccepted implements sansio.StreamMachine: who comes says itself what it wants.
func (s *Server) HandleAccepted(time.Time, sansio.Socket, netip.AddrPort) {}

// HandleClosed implements sansio.StreamMachine. A registration outlives its stream:
// the peer comes back by another one, or it expires.
func (s *Server) HandleClosed(time.Time, sansio.Socket, netip.AddrPort, error) {}
