package unit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
)

// udpServer is a UDP server of this process.
type udpServer struct {
	name   string
	loop   *sansio.Loop
	failed atomic.Pointer[error]
	cancel atomic.Pointer[context.CancelFunc]
}

// run drives the server until ctx ends, or it cannot listen.
func (u *udpServer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u.cancel.Store(&cancel)
	if err := u.loop.Run(ctx); err != nil {
		return err
	}
	if err := u.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// fail ends the server; it is called within its loop.
func (u *udpServer) fail(listen netip.AddrPort, err error) {
	err = fmt.Errorf("listen on %v: %w", listen, err)
	u.failed.Store(&err)
	(*u.cancel.Load())()
}

func (s *Server) buildUDP() error {
	if cfg := s.cfg.RendezvousServer; cfg != nil {
		if err := s.buildRendezvous(*cfg); err != nil {
			return err
		}
	}
	if cfg := s.cfg.RelayServer; cfg != nil {
		if err := s.buildRelay(*cfg); err != nil {
			return err
		}
	}
	var err error
	s.watch, err = newWatch(s.cfg.Network, s.targets(), s.log, s.cfg.Metrics)
	return err
}

// targets are the servers to be watched: those of this process where they listen,
// as what players are told may lead here only from outside.
func (s *Server) targets() (targets []target) {
	if s.cfg.Unwatched {
		return nil
	}
	at := s.cfg.Rendezvous.Addr
	if s.cfg.RendezvousServer != nil {
		at = reachable(s.cfg.RendezvousServer.Listen)
	}
	targets = append(targets, target{"rendezvous", at})
	if at = s.cfg.Relay.Addr; at.IsValid() {
		if s.cfg.RelayServer != nil {
			at = reachable(s.cfg.RelayServer.Listen)
		}
		targets = append(targets, target{"relay", at})
	}
	return targets
}

// reachable is an address of this host by which something is reached that listens.
func reachable(listen netip.AddrPort) netip.AddrPort {
	switch addr := listen.Addr(); {
	case !addr.IsUnspecified():
		return listen
	case addr.Is4():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), listen.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), listen.Port())
}

func (s *Server) buildRendezvous(cfg rendezvous.ServerConfig) error {
	if cfg.Admission == nil {
		return errors.New("the rendezvous of a shard has to ask for tickets (ServerConfig.Admission)")
	}
	server, err := rendezvous.NewServer(cfg)
	if err != nil {
		return err
	}
	if server.ID() != s.cfg.Rendezvous.Key {
		return errors.New("players are told another public key than the rendezvous has")
	}
	u := &udpServer{name: "rendezvous"}
	u.loop = sansio.NewLoop(sansio.Streams(server, s.cfg.Carry), s.cfg.Network, func(_ time.Time, e sansio.Event) {
		switch e := e.(type) {
		case rendezvous.Listening:
			s.log.Info("the rendezvous listens", "address", e.Listen.String(), "key", server.ID().String())
		case rendezvous.ListenFailed:
			u.fail(cfg.Listen, e.Err)
		}
	})
	s.udp = append(s.udp, u)
	return nil
}

func (s *Server) buildRelay(cfg relay.ServerConfig) error {
	server, err := relay.NewServer(cfg)
	if err != nil {
		return err
	}
	u := &udpServer{name: "relay"}
	u.loop = sansio.NewLoop(sansio.Streams(server, s.cfg.Carry), s.cfg.Network, func(_ time.Time, e sansio.Event) {
		switch e := e.(type) {
		case relay.Listening:
			s.log.Info("the relay listens", "address", e.Addr.String())
		case relay.ListenFailed:
			u.fail(cfg.Listen, e.Err)
		}
	})
	s.udp = append(s.udp, u)
	return nil
}
