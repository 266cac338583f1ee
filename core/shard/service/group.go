package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// readyPoll is how often a server that starts is asked whether it is ready.
const readyPoll = 10 * time.Millisecond

// group runs servers.
type group struct {
	log     *slog.Logger
	running []*running
	// ended gets the first server that ends.
	ended chan *running
}

type running struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // read after done
}

func newGroup(log *slog.Logger) *group { return &group{log: log, ended: make(chan *running, 1)} }

// start starts the servers one after another, each when the one before it is
// ready. It returns nil when all are, or when the context has ended.
func (g *group) start(ctx context.Context, servers []Server) error {
	for _, server := range servers {
		g.launch(ctx, server)
		if err := g.awaitReady(ctx, server); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

func (g *group) launch(ctx context.Context, server Server) {
	// Its context does not end with the service's: the group stops them in order.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{name: server.Name, cancel: cancel, done: make(chan struct{})}
	g.running = append(g.running, r)
	go func() {
		r.err = server.Run(own)
		close(r.done)
		select {
		case g.ended <- r:
		default:
		}
	}()
}

func (g *group) awaitReady(ctx context.Context, server Server) error {
	if server.Ready == nil {
		return nil
	}
	began := time.Now()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	said := ""
	for {
		err := server.Ready()
		if err == nil {
			g.log.Debug("ready", "server", server.Name, "after", time.Since(began).Round(time.Millisecond))
			return nil
		}
		if waits := err.Error(); time.Since(began) > time.Second && waits != said {
			g.log.Info("waiting", "server", server.Name, "for", waits)
			said = waits
		}
		select {
		case r := <-g.ended:
			return errEnded(r.name, r.err)
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// wait returns when the context has ended, or with an error when a server has.
func (g *group) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case r := <-g.ended:
		return errEnded(r.name, r.err)
	}
}

// stop stops all, the last one first. An error names those that did not stop in
// time, and what others said when they ended.
func (g *group) stop(timeout time.Duration) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	var errs []error
	late := false
	for i := len(g.running) - 1; i >= 0; i-- {
		r := g.running[i]
		select {
		case <-r.done: // it had ended before, and that was told
			r.cancel()
			continue
		default:
		}
		r.cancel()
		if !late {
			select {
			case <-r.done:
			case <-deadline.C:
				late = true
			}
		}
		select {
		case <-r.done:
			if r.err != nil && !errors.Is(r.err, context.Canceled) {
				errs = append(errs, fmt.Errorf("stop %s: %w", r.name, r.err))
			}
		default:
			errs = append(errs, fmt.Errorf("stop %s: not done after %v", r.name, timeout))
		}
	}
	return errors.Join(errs...)
}
