// Package unit is a shard as one server: the keeper of its lease, the lobby, the
// game server and their rooms, and, where they run in this process, the UDP
// servers that its players meet at.
//
// It takes rooms while it holds its lease and its UDP servers answer. At the end
// its rooms are handed over: the directory gives them to other shards, as many as
// it can in time; those left have their records saved, and the lease is given
// back.
package unit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/keeper"
	"p2pmodel/core/shard/lobby"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
	"p2pmodel/core/ticket"
)

// DefaultHandOver is how long rooms are handed over at the end.
const DefaultHandOver = 10 * time.Second

// Config is what a Server is made of.
type Config struct {
	// ID names the shard among all: letters, digits, - and _, at most 32.
	ID     string
	Engine engine.Engine
	// CapacityRooms and CapacityPlayers are how many rooms it takes, and players
	// in them.
	CapacityRooms, CapacityPlayers int

	// Rendezvous and Relay are what players are told; a Relay without an address:
	// there is none.
	Rendezvous game.Rendezvous
	Relay      game.Relay
	// RendezvousServer and RelayServer run in this process; nil: they run
	// elsewhere, or not at all. Their Listen may differ from what players are told.
	RendezvousServer *rendezvous.ServerConfig
	RelayServer      *relay.ServerConfig
	// Network is that of the servers and of the probes; nil: this machine's.
	Network sansio.Network
	// Unwatched leaves out asking the UDP servers whether they live, for where
	// they cannot be reached from here.
	Unwatched bool

	// Tickets signs play tickets; TicketLife is how long they and the relay's
	// credentials are good, 0: game.DefaultTicketLife.
	Tickets    *ticket.Signer
	TicketLife time.Duration
	Times      room.Times
	// HandOver is how long rooms are handed over at the end; 0: DefaultHandOver,
	// negative: not at all.
	HandOver time.Duration

	// Records gets each ended match as a line of JSON; nil: nobody does. It must
	// not block for long.
	Records io.Writer
	Log     *slog.Logger          // nil: discard
	Metrics prometheus.Registerer // nil: none
}

// Server is a shard.
type Server struct {
	cfg    Config
	log    *slog.Logger
	client *rpc.Client
	keeper *keeper.Keeper
	rooms  *game.Rooms
	lobby  *lobby.Server
	game   *game.Server
	udp    []*udpServer
	watch  *watch
}

// New checks the configuration.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Network == nil {
		cfg.Network = sansio.System()
	}
	if cfg.HandOver == 0 {
		cfg.HandOver = DefaultHandOver
	}
	s := &Server{cfg: cfg, log: cfg.Log.With("shard", cfg.ID)}
	if err := s.build(); err != nil {
		return nil, fmt.Errorf("shard %s: %w", cfg.ID, err)
	}
	return s, nil
}

func (s *Server) build() (err error) {
	cfg := &s.cfg
	if err := s.buildUDP(); err != nil {
		return err
	}
	if s.client, err = rpc.NewClient(rpc.ClientConfig{Engine: cfg.Engine, Metrics: cfg.Metrics}); err != nil {
		return err
	}
	s.keeper, err = keeper.New(keeper.Config{
		Engine: cfg.Engine, Shard: cfg.ID, CapacityRooms: cfg.CapacityRooms, CapacityPlayers: cfg.CapacityPlayers,
		Load: func() (int, int) { return s.rooms.Load() }, Log: s.log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return err
	}
	s.rooms, err = game.NewRooms(game.RoomsConfig{
		Shard: cfg.ID, Engine: cfg.Engine, Client: s.client, Lease: s.keeper, CapacityRooms: cfg.CapacityRooms, CapacityPlayers: cfg.CapacityPlayers,
		Times: cfg.Times, Records: cfg.Records, Log: s.log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return err
	}
	guard := game.Guard{Lease: s.keeper, Passes: s.keeper.Verifier()}
	s.lobby, err = lobby.New(lobby.Config{
		Shard: cfg.ID, Engine: cfg.Engine, Client: s.client, Rooms: s.rooms, Guard: guard,
		Healthy: s.watch.ready, Draining: s.keeper.Draining, Log: s.log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return err
	}
	s.game, err = game.New(game.Config{
		Rooms: s.rooms, Guard: guard, Rendezvous: cfg.Rendezvous, Relay: cfg.Relay,
		Tickets: cfg.Tickets, TicketLife: cfg.TicketLife, Log: s.log, Metrics: cfg.Metrics,
	})
	return err
}

// Ready is nil while the shard takes rooms, or says why it does not.
func (s *Server) Ready() error {
	return errors.Join(s.watch.ready(), s.rooms.Ready(), s.lobby.Ready(), s.game.Ready(), s.keeper.Ready())
}

// Rooms are the shard's rooms.
func (s *Server) Rooms() *game.Rooms { return s.rooms }

// Run works until the context ends, hands over, and returns when nothing of the
// shard is left. The error is that of the first part that failed. It is called
// once.
func (s *Server) Run(ctx context.Context) error {
	// Parts end one after another, the last begun first; one that fails ends all.
	failing, fail := context.WithCancelCause(context.WithoutCancel(ctx))
	defer fail(nil)
	var stops []func()
	begin := func(name string, run func(ctx context.Context) error) {
		part, stop := context.WithCancel(failing)
		var done sync.WaitGroup
		done.Go(func() {
			if err := run(part); err != nil {
				fail(fmt.Errorf("%s: %w", name, err))
			} else if part.Err() == nil {
				fail(fmt.Errorf("%s ended on its own", name))
			}
		})
		stops = append(stops, func() { stop(); done.Wait() })
	}
	for _, u := range s.udp {
		begin(u.name, u.run)
	}
	begin("watch", s.watch.run)
	begin("lease", s.keeper.Run)
	begin("rooms", s.rooms.Run)
	begin("game", s.game.Run)
	begin("lobby", s.lobby.Run)
	select {
	case <-ctx.Done():
		s.handOver(failing)
	case <-failing.Done():
	}
	for i := len(stops) - 1; i >= 0; i-- {
		stops[i]()
	}
	if err := context.Cause(failing); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("shard %s: %w", s.cfg.ID, err)
	}
	return nil
}

// handOver has the directory give the rooms to other shards, for as long as that
// makes progress in time.
func (s *Server) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.HandOver)
	defer cancel()
	if rooms, _ := s.rooms.Load(); rooms == 0 || ctx.Err() != nil || !s.keeper.Held() {
		return
	}
	if err := s.drain(ctx); err != nil {
		s.log.Warn("rooms are not handed over: others take them when the lease has been given back", "error", err)
		return
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		rooms, _ := s.rooms.Load()
		if rooms == 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			s.log.Warn("not all rooms were handed over in time; others take them from their records", "rooms", rooms)
			return
		}
	}
}

// drain asks the directory to take the rooms at once; a second is the shortest
// deadline that there is.
func (s *Server) drain(ctx context.Context) error {
	_, err := rpc.Call[insidev1.DrainShardResponse](ctx, s.client, shard.DirectoryFrom(s.cfg.ID, "DrainShard"),
		&insidev1.DrainShardRequest{Shard: s.cfg.ID, DeadlineSeconds: 1}, rpc.Idempotent())
	return err
}
