package relay

import (
	"net/netip"
	"time"

	"p2pmodel/core/sansio"
)

// The sockets for clients whose network lets no UDP out (RFC 8656 section 3.1). What
// they are relayed from and to is UDP as of all others. Relayed sockets count from 1
// and do not get here.
const (
	tcpSocket sansio.Socket = 1 << 30
	tlsSocket sansio.Socket = 1<<30 + 1
)

var _ sansio.StreamMachine = (*Server)(nil)

// listens reports whether clients come by a socket.
func listens(s sansio.Socket) bool { return s == listenSocket || s == tcpSocket || s == tlsSocket }

// listen asks for the sockets that clients come by.
func (s *Server) listen() {
	s.listening = Listening{}
	s.unbound = 1
	s.Bind(listenSocket, s.cfg.Listen)
	if s.cfg.TCP.Addr().IsValid() {
		s.unbound++
		s.Listen(tcpSocket, sansio.TCP, s.cfg.TCP)
	}
	if s.cfg.TLS.Addr().IsValid() {
		s.unbound++
		s.Listen(tlsSocket, sansio.TLS, s.cfg.TLS)
	}
}

// boundListening takes the answer to listen.
func (s *Server) boundListening(k sansio.Socket, local netip.AddrPort, err error) {
	if err != nil {
		s.Emit(ListenFailed{Err: err})
		return
	}
	switch k {
	case listenSocket:
		s.listening.Addr = local
	case tcpSocket:
		s.listening.TCP = local
	case tlsSocket:
		s.listening.TLS = local
	}
	if s.unbound--; s.unbound == 0 {
		s.Emit(s.listening)
	}
}

// HandleAccepted implements sansio.StreamMachine: who comes says itself what it wants.
func (s *Server) HandleAccepted(time.Time, sansio.Socket, netip.AddrPort) {}

// HandleClosed implements sansio.StreamMachine. Nobody has a closed connection's
// 5-tuple any more, so the allocation ends with it; but one that has a ticket waits
// for its client until it expires (RFC 8016).
func (s *Server) HandleClosed(_ time.Time, k sansio.Socket, remote netip.AddrPort, _ error) {
	s.buffers.reclaim()
	if a := s.allocations[flowOf(k, remote)]; a != nil && a.tickets == [2]ticket{} {
		s.delete(a)
	}
}
