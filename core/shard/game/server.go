package game

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/relay"
	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
	"p2pmodel/core/ticket"
)

// DefaultTicketLife is how long tickets and relay credentials are good.
const DefaultTicketLife = 10 * time.Minute

// Work of one server at once, and what may wait for it. Handlers wait for rooms
// only, so that more of them than processors make sense.
var serverLimits = engine.Limits{Workers: 64, Queue: 1024}

// Rendezvous is where players of this shard meet.
type Rendezvous struct {
	Addr netip.AddrPort
	Key  identity.ID
	// Streams are where it is reached without UDP.
	Streams peer.Streams
}

// Relay is where they find a way around; the zero value: there is none.
type Relay struct {
	Addr   netip.AddrPort
	Secret relay.SharedSecret
	// Streams are where it is reached without UDP.
	Streams peer.Streams
}

// Config is what a Server is made of.
type Config struct {
	Rooms      *Rooms
	Guard      Guard
	Rendezvous Rendezvous
	Relay      Relay
	Tickets    *ticket.Signer
	// TicketLife is in whole seconds; 0: DefaultTicketLife.
	TicketLife time.Duration
	Log        *slog.Logger          // nil: discard
	Metrics    prometheus.Registerer // nil: none
}

// Server answers the GameService of a shard.
type Server struct {
	cfg Config
	rpc *rpc.Server
	up  chan struct{} // closed once it serves
}

// New checks the configuration.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Rooms == nil || cfg.Guard.Lease == nil || cfg.Guard.Passes == nil || cfg.Tickets == nil:
		return nil, errors.New("game server: rooms, a guard and a key for tickets are needed")
	case !cfg.Rendezvous.Addr.IsValid() || cfg.Rendezvous.Key.IsZero():
		return nil, errors.New("game server: a rendezvous with its address and public key is needed")
	case cfg.Relay.Addr.IsValid() && len(cfg.Relay.Secret) == 0:
		return nil, errors.New("game server: a relay needs its shared secret")
	}
	if cfg.TicketLife == 0 {
		cfg.TicketLife = DefaultTicketLife
	}
	if cfg.TicketLife < time.Second || cfg.TicketLife%time.Second != 0 {
		return nil, fmt.Errorf("game server: tickets are good for whole seconds, not %v", cfg.TicketLife)
	}
	server, err := rpc.NewServer(rpc.ServerConfig{
		Engine: cfg.Rooms.cfg.Engine, Pattern: shard.GameSubject(cfg.Rooms.cfg.Shard, "*"), Limits: serverLimits, Log: cfg.Log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, rpc: server, up: make(chan struct{})}
	rpc.Handle(server, "PlayTicket", s.PlayTicket)
	rpc.Handle(server, "Report", s.Report)
	rpc.Handle(server, "Finish", s.Finish)
	rpc.Handle(server, "GetMatch", s.GetMatch)
	return s, nil
}

// Run answers until ctx ends. It is called once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.rpc.Start(); err != nil {
		return err
	}
	close(s.up)
	<-ctx.Done()
	return s.rpc.Close()
}

// Ready is nil once it serves.
func (s *Server) Ready() error {
	select {
	case <-s.up:
		return nil
	default:
		return errors.New("the game server does not serve yet")
	}
}

// PlayTicket answers GameService.PlayTicket.
func (s *Server) PlayTicket(ctx context.Context, call *rpc.Request, req *agentv1.PlayTicketRequest) (*agentv1.PlayTicketResponse, error) {
	c, err := s.cfg.Guard.Admit(call, req)
	if err != nil {
		return nil, err
	}
	peer, err := identity.IDFromBytes(req.PeerId)
	if err != nil {
		return nil, rpc.Errorf(connect.CodeInvalidArgument, "peer_id: %v", err)
	}
	var peers []*agentv1.Peer
	var mesh string
	err = s.cfg.Rooms.Do(ctx, req.Room, func(now time.Time, r *room.Room) (err error) {
		peers, err = r.Ticket(now, c, peer)
		mesh = r.Mesh()
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.sign(c, peer, mesh, peers)
}

func (s *Server) sign(c room.Caller, peer identity.ID, mesh string, peers []*agentv1.Peer) (*agentv1.PlayTicketResponse, error) {
	expires := time.Now().Add(s.cfg.TicketLife)
	signed, err := s.cfg.Tickets.Sign(ticket.Ticket{Peer: peer, Mesh: mesh, Expires: expires})
	if err != nil {
		return nil, fmt.Errorf("sign a ticket: %w", err)
	}
	s.cfg.Rooms.metrics.tickets.Inc()
	resp := &agentv1.PlayTicketResponse{
		Rendezvous: s.cfg.Rendezvous.Addr.String(), RendezvousKey: s.cfg.Rendezvous.Key[:],
		Ticket: signed, Mesh: mesh, Peers: peers, ExpiresSeconds: uint32(s.cfg.TicketLife / time.Second),
		RendezvousStreams: streams(s.cfg.Rendezvous.Streams),
	}
	if s.cfg.Relay.Addr.IsValid() {
		resp.Relay = s.cfg.Relay.Addr.String()
		resp.RelayUsername, resp.RelayPassword = s.cfg.Relay.Secret.Credentials(c.Player, expires)
		resp.RelayStreams = streams(s.cfg.Relay.Streams)
	}
	return resp, nil
}

// streams is what players are told of the ways to a server without UDP; nil: there are
// none.
func streams(s peer.Streams) *agentv1.Streams {
	if s == (peer.Streams{}) {
		return nil
	}
	t := &agentv1.Streams{TlsName: s.ServerName}
	if s.TCP.IsValid() {
		t.Tcp = s.TCP.String()
	}
	if s.TLS.IsValid() {
		t.Tls = s.TLS.String()
	}
	return t
}

// Report answers GameService.Report.
func (s *Server) Report(ctx context.Context, call *rpc.Request, req *agentv1.ReportRequest) (*agentv1.ReportResponse, error) {
	c, err := s.cfg.Guard.Admit(call, req)
	if err != nil {
		return nil, err
	}
	resp := &agentv1.ReportResponse{}
	err = s.cfg.Rooms.Do(ctx, req.Room, func(now time.Time, r *room.Room) error {
		resp.Mesh, resp.PeersDigest = r.Mesh(), shard.PeersDigest(r.Peers(), c.Player)
		return r.Report(now, c, req.Connections)
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// Finish answers GameService.Finish.
func (s *Server) Finish(ctx context.Context, call *rpc.Request, req *agentv1.FinishRequest) (*agentv1.FinishResponse, error) {
	c, err := s.cfg.Guard.Admit(call, req)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Rooms.Do(ctx, req.Room, func(now time.Time, r *room.Room) error { return r.Finish(now, c, req.Result) })
	if err != nil {
		return nil, err
	}
	return &agentv1.FinishResponse{}, nil
}

// GetMatch answers GameService.GetMatch.
func (s *Server) GetMatch(ctx context.Context, call *rpc.Request, req *agentv1.GetMatchRequest) (*agentv1.GetMatchResponse, error) {
	c, err := s.cfg.Guard.Admit(call, req)
	if err != nil {
		return nil, err
	}
	m, err := s.cfg.Rooms.Match(ctx, req.Room, c)
	if err != nil {
		return nil, err
	}
	return &agentv1.GetMatchResponse{Match: m}, nil
}
