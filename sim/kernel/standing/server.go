//go:build linux

package standing

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/document"
	"p2pmodel/sim/kernel"
)

// server answers calls about one lab.
type server struct {
	spec     Spec
	network  *kernel.Network
	since    time.Time
	programs atomic.Int32
	director *sim.Director
	history  history
	mishap   atomic.Value // string: what has gone wrong, if anything

	ctx   context.Context // of all calls
	stop  context.CancelCauseFunc
	calls sync.WaitGroup

	listener *net.UnixListener

	over    chan struct{} // closed when the lab has been taken down
	failure error         // of that; read once over is closed
}

func newServer(spec Spec, network *kernel.Network) *server {
	return &server{spec: spec, network: network, since: time.Now(), director: sim.NewDirector(network), over: make(chan struct{})}
}

// begin answers calls until ctx ends. stop ends the lab.
func (s *server) begin(ctx context.Context, stop context.CancelCauseFunc, l *net.UnixListener) {
	s.ctx, s.stop, s.listener = ctx, stop, l
	s.calls.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			s.calls.Go(func() { s.serve(newConn(c)) })
		}
	})
	context.AfterFunc(ctx, func() { _ = l.Close() })
}

// end tells all clients that the lab is gone, and waits for their calls.
func (s *server) end(err error) {
	s.failure = err
	close(s.over)
	if s.listener != nil {
		s.stop(nil)
		_ = s.listener.Close()
	}
	s.calls.Wait()
}

// greeting is how long a client may take to say what it wants.
const greeting = 10 * time.Second

// serve answers the one call of a connection.
func (s *server) serve(c *conn) {
	if err := c.trust(); err != nil {
		c.finish(err)
		return
	}
	// A connection does not outlive the lab by more than its last words.
	abandon := context.AfterFunc(s.ctx, func() {
		<-s.over
		_ = c.unix.SetDeadline(time.Now().Add(patience))
	})
	defer abandon()
	var r request
	_ = c.unix.SetReadDeadline(time.Now().Add(greeting))
	if err := c.read(&r); err != nil {
		c.finish(fmt.Errorf("read the request: %w", err))
		return
	}
	_ = c.unix.SetReadDeadline(time.Time{})
	if r.Protocol != protocol {
		c.finish(fmt.Errorf("lab %s is held by another version of natlab (it speaks version %d of the protocol, this one %d): use that one, or end process %d",
			s.spec.Name, protocol, r.Protocol, holderPID()))
		return
	}
	call, ok := s.table()[r.Call]
	if !ok {
		c.finish(fmt.Errorf("lab %s knows no call %q", s.spec.Name, r.Call))
		return
	}
	c.finish(call(c, r.Arguments))
}

// table gives the calls.
func (s *server) table() map[string]func(*conn, json.RawMessage) error {
	return map[string]func(*conn, json.RawMessage) error{
		callDescribe: s.answerDescribe,
		callExec:     s.answerExec,
		callMappings: s.answerMappings,
		callRules:    s.answerRules,
		callCapture:  s.answerCapture,
		callDiagram:  s.answerDiagram,
		callEvent:    s.answerEvent,
		callHistory:  s.answerHistory,
		callDown:     s.answerDown,
	}
}

// attend gives a context that ends when the client hangs up, or the lab does.
// Nothing more may be read from the connection by others.
func (s *server) attend(c *conn, said func(json.RawMessage)) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.calls.Go(func() {
		defer cancel()
		for {
			var line json.RawMessage
			if err := c.read(&line); err != nil {
				return
			}
			if said != nil {
				said(line)
			}
		}
	})
	return ctx, cancel
}

func (s *server) describe() (Description, error) {
	d, err := describe(s.network)
	d.Name, d.File, d.Seed, d.Since = s.spec.Name, s.spec.File, s.spec.Seed, s.since
	d.Programs, d.Fault = int(s.programs.Load()), s.fault()
	return d, err
}

func (s *server) answerDescribe(c *conn, _ json.RawMessage) error {
	d, err := s.describe()
	if err != nil {
		return err
	}
	return c.value(d)
}

// answerDown ends the lab and answers when nothing of it is left.
func (s *server) answerDown(*conn, json.RawMessage) error {
	s.stop(ErrTakenDown)
	<-s.over
	return s.failure
}

// drawing are the arguments of a diagram.
type drawing struct {
	Format string `json:"format"`
	Width  int    `json:"width"`
	Color  bool   `json:"color"`
}

func (s *server) answerDiagram(c *conn, arguments json.RawMessage) error {
	var a drawing
	if err := json.Unmarshal(arguments, &a); err != nil {
		return err
	}
	var b strings.Builder
	if err := s.network.Lab().Diagram(&b, a.Format, a.Width, a.Color); err != nil {
		return err
	}
	return c.value(b.String())
}

// unknown is the error about a name that the lab does not have.
func (s *server) unknown(kind, name string, have []string) error {
	if len(have) == 0 {
		return fmt.Errorf("lab %s has no %s at all", s.spec.Name, kind)
	}
	return fmt.Errorf("lab %s has no %s %q%s", s.spec.Name, kind, name, document.Suggest(name, have))
}

func (s *server) host(name string) (sim.RunningHost, error) {
	h, err := s.network.Host(name)
	if err != nil {
		d, _ := describe(s.network)
		return nil, s.unknown("host", name, d.HostNames())
	}
	return h, nil
}

func (s *server) router(name string) (*kernel.Router, error) {
	r, err := s.network.Router(name)
	if err != nil {
		d, _ := describe(s.network)
		return nil, s.unknown("router", name, d.RouterNames())
	}
	return r.(*kernel.Router), nil
}
