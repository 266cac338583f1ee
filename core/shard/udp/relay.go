package udp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/relay"
	"p2pmodel/core/relay/kernelpath"
	"p2pmodel/core/sansio"
)

// FastPath says whether the kernel passes on by itself what goes through channels.
type FastPath uint8

// It does not; it does where it can and may; it does, or there is no relay.
const (
	FastPathOff FastPath = iota
	FastPathAuto
	FastPathOn
)

// FastPaths are the words for it.
var FastPaths = map[string]FastPath{"off": FastPathOff, "auto": FastPathAuto, "on": FastPathOn}

// RelayConfig is what a Relay is made of.
type RelayConfig struct {
	Server  relay.ServerConfig
	Network sansio.Network // nil: this machine's
	// Streams is how those are carried who come over TCP or TLS, and Streaming is told
	// where they come to, before Listening. Nil: nobody is.
	Streams   sansio.StreamConfig
	Streaming func(tcp, tls netip.AddrPort)
	// DrainTime is how long allocations may go on once the server is to stop; 0: they
	// end with it.
	DrainTime time.Duration
	// Alternates are servers that clients are sent to meanwhile, one of each family.
	Alternates []netip.AddrPort
	// FastPath is for relays of this machine's network.
	FastPath FastPath
	// Listening is told where the server listens, before it is ready. Nil: nobody is.
	Listening func(addr netip.AddrPort)
	// Verbose logs each allocation's beginning and end; else only who is refused is,
	// and that at level debug.
	Verbose bool
	Log     *slog.Logger          // nil: discard
	Metrics prometheus.Registerer // nil: none
}

// Relay is a relay of a process.
type Relay struct {
	runner
	cfg     RelayConfig
	server  *relay.Server
	drained chan struct{}
	fast    *kernelpath.Path // nil: none
}

// NewRelay checks the configuration.
func NewRelay(cfg RelayConfig) (*Relay, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Network == nil {
		cfg.Network = sansio.System()
		cfg.Server.DontFragment = sansio.DontFragment
	}
	r := &Relay{drained: make(chan struct{})}
	r.log = cfg.Log
	if err := r.hasten(&cfg); err != nil {
		return nil, err
	}
	server, err := relay.NewServer(cfg.Server)
	if err != nil {
		r.shut()
		return nil, err
	}
	r.cfg, r.server = cfg, server
	r.loop = sansio.NewLoop(sansio.Streams(server, cfg.Streams), cfg.Network, r.event)
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(&relayMetrics{of: r}); err != nil {
			r.shut()
			return nil, err
		}
	}
	return r, nil
}

// hasten has the kernel pass on what it can, if that is wanted and possible.
func (r *Relay) hasten(cfg *RelayConfig) (err error) {
	if cfg.FastPath == FastPathOff {
		return nil
	}
	if at := cfg.Server.Listen.Addr(); !at.Is4() || at.IsUnspecified() {
		err = fmt.Errorf("%w: the relay listens on %v; it is for one that listens on one IPv4 address of this host", kernelpath.ErrUnavailable, at)
	} else if r.fast, err = kernelpath.New(cfg.Log); err == nil {
		cfg.Server.FastPath = r.fast
		r.log.Info("the kernel passes on by itself what goes through channels")
		return nil
	}
	r.fast = nil
	if cfg.FastPath == FastPathOn {
		return err
	}
	r.log.Info("all is passed on by the relay's sockets", "reason", err)
	return nil
}

func (r *Relay) shut() {
	if r.fast != nil {
		r.fast.Shut()
	}
}

// Run works until the context ends, drains for as long as it may, and returns when
// nothing is left.
func (r *Relay) Run(ctx context.Context) error {
	defer r.shut()
	return r.run(ctx, r.drain)
}

// drain waits until no allocation is left, or the time is over.
func (r *Relay) drain(ended <-chan struct{}) {
	if r.cfg.DrainTime <= 0 {
		return
	}
	r.draining.Store(true)
	left := 0
	r.do(func(now time.Time) {
		left = r.server.Stats().Allocations
		r.server.Drain(now, now.Add(r.cfg.DrainTime), r.cfg.Alternates...)
	})
	r.log.Info("the relay drains", "allocations", left, "for", r.cfg.DrainTime)
	select {
	case <-r.drained:
	case <-ended:
	}
}

// SetAuthenticators is that of relay.Server.
func (r *Relay) SetAuthenticators(as []relay.Authenticator) (err error) {
	if !r.do(func(time.Time) { err = r.server.SetAuthenticators(as) }) {
		return errNotYet
	}
	return err
}

// event logs; names come from clients and are quoted.
func (r *Relay) event(_ time.Time, e sansio.Event) {
	level := slog.LevelDebug
	if r.cfg.Verbose {
		level = slog.LevelInfo
	}
	say := func(what string, args ...any) { r.log.Log(context.Background(), level, what, args...) }
	switch e := e.(type) {
	case relay.Listening:
		r.listening.Store(true)
		if r.cfg.Streaming != nil {
			r.cfg.Streaming(e.TCP, e.TLS)
		}
		if r.cfg.Listening != nil {
			r.cfg.Listening(e.Addr)
		}
	case relay.ListenFailed:
		r.fail(fmt.Errorf("listen on %s: %w", r.cfg.Server.Listen, e.Err))
	case relay.AllocationCreated:
		say("allocated", "relayed", e.Relayed.String(), "client", e.Client.String(), quoted(e.Username), "for", e.Lifetime)
	case relay.AllocationMoved:
		say("moved", "relayed", e.Relayed.String(), "from", e.From.String(), "client", e.Client.String(), quoted(e.Username))
	case relay.AllocationRefused:
		say("refused", "client", e.Client.String(), quoted(e.Username), "code", e.Code)
	case relay.AllocationDeleted:
		say("deleted", "relayed", e.Relayed.String(), "client", e.Client.String(), quoted(e.Username))
	case relay.AllocationExpired:
		say("expired", "relayed", e.Relayed.String(), "client", e.Client.String(), quoted(e.Username))
	case relay.Drained:
		close(r.drained)
	}
}
