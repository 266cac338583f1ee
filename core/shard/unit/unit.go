// Package unit is a shard as one server: the keeper of its lease, the lobby, the
// game server and their rooms, and, where they run in this process, the UDP
// servers that its players meet at.
//
// It takes rooms while it holds its lease and its UDP servers answer. At the end
// it stops its rooms, saves how they are, and gives its lease back, whereupon the
// directory gives them to other shards. Whoever wants them to finish, or to move
// one by one, drains the shard before.
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
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/keeper"
	"p2pmodel/core/shard/lobby"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
	"p2pmodel/core/ticket"
)

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
	// Carry is how their streams are carried, where they listen for TCP or TLS.
	Carry sansio.StreamConfig
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

	// Records gets each ended match as a line of JSON; nil: nobody does. It must
	// not block for long.
	Records io.Writer
	// History gets what is done with ownership, as lines of package history; nil:
	// nobody does.
	History io.Writer
	Log     *slog.Logger          // nil: discard
	Metrics prometheus.Registerer // nil: none
}

// Server is a shard.
type Server struct {
	cfg    Config
	log    *slog.Logger
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
	if cfg.History != nil {
		cfg.History = &lines{w: cfg.History}
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
	client, err := rpc.NewClient(rpc.ClientConfig{Engine: cfg.Engine, Metrics: cfg.Metrics})
	if err != nil {
		return err
	}
	s.keeper, err = keeper.New(keeper.Config{
		Engine: cfg.Engine, Shard: cfg.ID, CapacityRooms: cfg.CapacityRooms, CapacityPlayers: cfg.CapacityPlayers,
		Load: func() (int, int) { return s.rooms.Load() }, History: cfg.History, Log: cfg.Log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return err
	}
	s.rooms, err = game.NewRooms(game.RoomsConfig{
		Shard: cfg.ID, Engine: cfg.Engine, Client: client, Lease: s.keeper, CapacityRooms: cfg.CapacityRooms, CapacityPlayers: cfg.CapacityPlayers,
		Times: cfg.Times, Records: cfg.Records, History: cfg.History, Log: s.log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return err
	}
	guard := game.Guard{Lease: s.keeper, Passes: s.keeper.Verifier()}
	s.lobby, err = lobby.New(lobby.Config{
		Shard: cfg.ID, Engine: cfg.Engine, Client: client, Rooms: s.rooms, Guard: guard,
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

// Run works until the context ends, and returns when nothing of the shard is left.
// The error is that of the first part that failed. It is called once.
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

// lines is a writer that several recorders share; each write is a line.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
