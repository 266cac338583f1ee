//go:build linux

package wire

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/rpc"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/link"
)

// What is sent to a process of wires and back; net/rpc wants exported types.
type (
	Addition struct {
		Up, Down link.Impairment
		Seed     uint64
	}
	Change struct {
		ID       int
		Up, Down link.Impairment
	}
	Question struct {
		ID    int
		Drops bool
	}
	Measurement struct {
		ID   int
		Seed uint64
	}
	// State is all that is known of a link.
	State struct {
		Up, Down         Counters
		LateUp, LateDown link.Lateness
		Drops            []link.Drop
		Missed           uint64
	}
)

// server is the other side of a Process. Its exported methods are the calls.
type server struct {
	scheduler *Scheduler

	mu    sync.Mutex
	links []*Link
}

// slots is GOMAXPROCS of a process of wires: so many that the scheduler's thread
// always finds one.
const slots = 8

// Serve is what a process started by StartProcess does. It returns when whoever
// started it is gone, with an exit code.
func Serve() int {
	runtime.GOMAXPROCS(slots)
	beRealtime()
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve() error {
	unix.CloseOnExec(passFD)
	calls := os.NewFile(callsFD, "calls")
	conn, err := net.FileConn(calls)
	calls.Close()
	if err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	scheduler, err := NewScheduler()
	if err != nil {
		return err
	}
	service := rpc.NewServer()
	if err := service.RegisterName("Wires", &server{scheduler: scheduler}); err != nil {
		return errors.Join(fmt.Errorf("wire: %w", err), scheduler.Close())
	}
	service.ServeConn(conn)
	return scheduler.Close()
}

// Add joins the sockets that came last.
func (s *server) Add(args Addition, id *int) error {
	one, control := make([]byte, 1), make([]byte, unix.CmsgSpace(2*4))
	_, n, _, _, err := unix.Recvmsg(passFD, one, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return fmt.Errorf("wire: take over sockets: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("wire: take over sockets: %d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 2 {
		return fmt.Errorf("wire: take over sockets: %d of two, %v", len(fds), err)
	}
	l, err := s.scheduler.Add(End{Socket: fds[0]}, End{Socket: fds[1]}, args.Up, args.Down, args.Seed)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*id = len(s.links)
	s.links = append(s.links, l)
	return nil
}

func (s *server) link(id int) (*Link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id < 0 || id >= len(s.links) || id > math.MaxInt32 {
		return nil, fmt.Errorf("wire: there is no link %d", id)
	}
	return s.links[id], nil
}

// with calls f with a link.
func (s *server) with(id int, f func(l *Link) error) error {
	l, err := s.link(id)
	if err != nil {
		return err
	}
	return f(l)
}

// Set changes a link's impairments.
func (s *server) Set(args Change, _ *int) error {
	return s.with(args.ID, func(l *Link) error { return l.Set(args.Up, args.Down) })
}

// Cut and Restore cut a link and end that.
func (s *server) Cut(id int, _ *int) error {
	return s.with(id, func(l *Link) error { return l.Cut(true) })
}

// Restore ends a cut.
func (s *server) Restore(id int, _ *int) error {
	return s.with(id, func(l *Link) error { return l.Cut(false) })
}

// State tells all that is known of a link.
func (s *server) State(q Question, reply *State) error {
	return s.with(q.ID, func(l *Link) error {
		reply.Up, reply.Down = l.Counters()
		reply.LateUp, reply.LateDown = l.Late()
		if q.Drops {
			reply.Drops, reply.Missed = l.Drops()
		}
		return nil
	})
}

// Probe begins to measure a link.
func (s *server) Probe(m Measurement, _ *int) error {
	return s.with(m.ID, func(l *Link) error { return l.Probe(m.Seed) })
}

// Probed tells what became of its probes.
func (s *server) Probed(id int, both *[2]Probes) error {
	return s.with(id, func(l *Link) (err error) {
		both[0], both[1], err = l.Probed()
		return err
	})
}

// EndProbe ends a measurement.
func (s *server) EndProbe(id int, _ *int) error {
	return s.with(id, func(l *Link) error { return l.EndProbe() })
}

// Close closes a link.
func (s *server) Close(id int, _ *int) error {
	return s.with(id, func(l *Link) error { return l.Close() })
}
