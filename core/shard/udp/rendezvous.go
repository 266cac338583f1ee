package udp

import (
	"context"
	"log/slog"
	"time"

	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/ticket"
)

// RendezvousConfig is what a Rendezvous is made of.
type RendezvousConfig struct {
	Server  rendezvous.ServerConfig
	Network sansio.Network // nil: this machine's
	// Streams is how those are carried who come over TCP or TLS.
	Streams sansio.StreamConfig
	// Listening is told where the server listens, before it is ready. Nil: nobody is.
	Listening func(rendezvous.Listening)
	Log       *slog.Logger // nil: discard
}

// Rendezvous is a rendezvous of a process.
type Rendezvous struct {
	runner
	cfg    RendezvousConfig
	server *rendezvous.Server
}

// NewRendezvous checks the configuration.
func NewRendezvous(cfg RendezvousConfig) (*Rendezvous, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Network == nil {
		cfg.Network = sansio.System()
	}
	server, err := rendezvous.NewServer(cfg.Server)
	if err != nil {
		return nil, err
	}
	r := &Rendezvous{cfg: cfg, server: server}
	r.log = cfg.Log
	r.loop = sansio.NewLoop(sansio.Streams(server, cfg.Streams), cfg.Network, r.event)
	return r, nil
}

// Server is the machine; its ID may be read at any time.
func (r *Rendezvous) Server() *rendezvous.Server { return r.server }

// Run works until the context ends.
func (r *Rendezvous) Run(ctx context.Context) error { return r.run(ctx, nil) }

// SetAdmission is that of rendezvous.Server.
func (r *Rendezvous) SetAdmission(keys *ticket.Verifier) error {
	if !r.do(func(now time.Time) { r.server.SetAdmission(now, keys) }) {
		return errNotYet
	}
	return nil
}

func (r *Rendezvous) event(_ time.Time, e sansio.Event) {
	switch e := e.(type) {
	case rendezvous.Listening:
		r.listening.Store(true)
		if r.cfg.Listening != nil {
			r.cfg.Listening(e)
		}
	case rendezvous.ListenFailed:
		r.fail(e.Err)
	}
}
