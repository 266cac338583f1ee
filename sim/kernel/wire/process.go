//go:build linux

package wire

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/link"
)

// Process is a scheduler in a process of its own, which does nothing else. In the
// process of a laboratory, the scheduler's thread would wait for Go's other work:
// to go on after a system call a goroutine needs one of GOMAXPROCS slots, and
// those may be with threads that the kernel has taken off the processors, for a
// tenth of a second on a busy machine; the garbage collector stops it, too.
//
// Its methods are safe for concurrent use. The process ends with Close, and when
// whoever started it is gone.
type Process struct {
	command *exec.Cmd
	client  *rpc.Client
	ended   chan struct{} // closed when the process has ended
	failure error         // its end, if it was none in good order

	adding sync.Mutex
	pass   int // the socket by which descriptors go
	links  []*Remote
	closed bool
}

// The descriptors of a process of wires: calls, and the descriptors they are about.
const (
	callsFD = 3
	passFD  = 4
)

// StartProcess starts this program again under another name (argument 0), by which
// its main knows to call Serve. It does not wait until the process is ready.
func StartProcess(name string) (*Process, error) {
	var pairs [2][2]int
	for i, kind := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
		pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			if i == 1 {
				unix.Close(pairs[0][0])
				unix.Close(pairs[0][1])
			}
			return nil, fmt.Errorf("wire: socket pair: %w", err)
		}
		pairs[i] = pair
	}
	mine := os.NewFile(uintptr(pairs[0][0]), "wires")
	theirs := []*os.File{os.NewFile(uintptr(pairs[0][1]), "calls"), os.NewFile(uintptr(pairs[1][1]), "descriptors")}
	defer func() {
		mine.Close()
		for _, f := range theirs {
			f.Close()
		}
	}()
	conn, err := net.FileConn(mine)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wire: %w", err), unix.Close(pairs[1][0]))
	}
	command := exec.Command("/proc/self/exe", "wires")
	command.Args[0] = name
	command.Stderr = os.Stderr
	// What the race detector was built into sleeps for a second before it ends,
	// for which everybody waits who closes a lab.
	command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	command.ExtraFiles = theirs
	// A terminal's signals are for the laboratory, which ends its wires last.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("wire: start a process for the wires: %w", err), conn.Close(), unix.Close(pairs[1][0]))
	}
	p := &Process{command: command, client: rpc.NewClient(conn), ended: make(chan struct{}), pass: pairs[1][0]}
	go func() {
		p.failure = command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// PID is the number of the process.
func (p *Process) PID() int { return p.command.Process.Pid }

// Add is Scheduler.Add.
func (p *Process) Add(a, b End, up, down link.Impairment, seed uint64) (*Remote, error) {
	l := &Remote{process: p, switches: switches{ends: [2]*Offload{a.Offload, b.Offload}}}
	// The process has its own descriptors of the sockets from here on.
	defer func() {
		unix.Close(a.Socket)
		unix.Close(b.Socket)
	}()
	err := validate(up, down)
	if err == nil {
		err = l.switches.turn(up, down, false)
	}
	if err == nil {
		err = p.add(l, unix.UnixRights(a.Socket, b.Socket), Addition{up, down, seed})
	}
	if err != nil {
		return nil, errors.Join(err, l.switches.close())
	}
	return l, nil
}

func (p *Process) add(l *Remote, rights []byte, args Addition) error {
	p.adding.Lock()
	defer p.adding.Unlock()
	if p.closed {
		return ErrClosed
	}
	if err := unix.Sendmsg(p.pass, []byte{0}, rights, nil, 0); err != nil {
		return fmt.Errorf("wire: hand over sockets: %w", err)
	}
	if err := p.client.Call("Wires.Add", args, &l.id); err != nil {
		return fmt.Errorf("wire: add a link: %w", err)
	}
	p.links = append(p.links, l)
	return nil
}

// call has the process do something and waits until it did.
func (p *Process) call(method string, args, reply any) error {
	err := p.client.Call("Wires."+method, args, reply)
	var refused rpc.ServerError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		if string(refused) == ErrClosed.Error() {
			return ErrClosed
		}
		return errors.New(string(refused))
	}
	p.adding.Lock()
	defer p.adding.Unlock()
	if p.closed {
		return ErrClosed
	}
	return fmt.Errorf("wire: the process of the wires is gone: %w", err)
}

// Close closes all links and ends the process. It may be called twice.
func (p *Process) Close() error {
	p.adding.Lock()
	if p.closed {
		p.adding.Unlock()
		<-p.ended
		return nil
	}
	p.closed = true
	err := unix.Close(p.pass)
	p.adding.Unlock()
	_ = p.client.Close()
	<-p.ended
	for _, l := range p.links {
		err = errors.Join(err, l.switches.close())
	}
	if p.failure != nil {
		err = errors.Join(err, fmt.Errorf("wire: the process of the wires: %w", p.failure))
	}
	return err
}

// Remote is a Link of a Process. Each of its methods is as that of Link. After
// Close, or when the process is gone, it gives what it knew last.
type Remote struct {
	process  *Process
	id       int
	switches switches

	mu   sync.Mutex
	last State
}

// Set is Link.Set.
func (l *Remote) Set(up, down link.Impairment) error {
	if err := validate(up, down); err != nil {
		return err
	}
	return l.switches.around(up, down, func() error {
		return l.process.call("Set", Change{l.id, up, down}, new(int))
	})
}

// Cut is Link.Cut.
func (l *Remote) Cut(cut bool) error {
	method := "Restore"
	if cut {
		method = "Cut"
	}
	return l.process.call(method, l.id, new(int))
}

// state asks for all that is known of the link.
func (l *Remote) state(withDrops bool) State {
	var now State
	err := l.process.call("State", Question{l.id, withDrops}, &now)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		if !withDrops {
			now.Drops, now.Missed = l.last.Drops, l.last.Missed
		}
		l.last = now
	}
	return l.last
}

// Counters is Link.Counters.
func (l *Remote) Counters() (up, down Counters) {
	s := l.state(false)
	return s.Up, s.Down
}

// Drops is Link.Drops.
func (l *Remote) Drops() ([]link.Drop, uint64) {
	s := l.state(true)
	return s.Drops, s.Missed
}

// Late is Link.Late.
func (l *Remote) Late() (up, down link.Lateness) {
	s := l.state(false)
	return s.LateUp, s.LateDown
}

// Err is Link.Err, and tells of a process that is gone.
func (l *Remote) Err() error {
	up, down := l.Counters()
	err := errors.Join(up.fault("up"), down.fault("down"))
	select {
	case <-l.process.ended:
		l.process.adding.Lock()
		defer l.process.adding.Unlock()
		if !l.process.closed {
			err = errors.Join(err, fmt.Errorf("wire: the process of the wires has ended: %v", l.process.failure))
		}
	default:
	}
	return err
}

// Probe is Link.Probe.
func (l *Remote) Probe(seed uint64) error {
	return l.process.call("Probe", Measurement{l.id, seed}, new(int))
}

// Probed is Link.Probed.
func (l *Remote) Probed() (up, down Probes, err error) {
	var both [2]Probes
	err = l.process.call("Probed", l.id, &both)
	return both[0], both[1], err
}

// EndProbe is Link.EndProbe.
func (l *Remote) EndProbe() error { return l.process.call("EndProbe", l.id, new(int)) }

// Close is Link.Close.
func (l *Remote) Close() error {
	l.state(true)
	err := l.process.call("Close", l.id, new(int))
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	return errors.Join(err, l.switches.close())
}
