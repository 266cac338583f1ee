//go:build linux

package kernel

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
)

// Program is a program that runs on a host. It implements sim.RunningProgram.
//
// It lives as long as its first process: when that ends, everything it started
// is killed, and so it is when the context of Start ends, when the lab closes,
// and when this process dies by whatever cause.
type Program struct {
	host *Host
	spec sim.Program
	path string          // absolute
	as   *account        // nil: as we are
	life context.Context // of Start

	mu  sync.Mutex // held while it is started and restarted
	run *incarnation
}

// incarnation is one life of a program.
type incarnation struct {
	cmd     *exec.Cmd // the init
	control *net.UnixConn
	pid     int           // of the program itself, as we see it
	done    chan struct{} // closed when all processes are gone
	err     error         // of the wait, valid once done is closed

	mu    sync.Mutex
	taken sim.ProgramState // what it took, as far as it is known
}

var _ sim.RunningProgram = (*Program)(nil)

// outputPatience is how long the end of a program waits for its output to be
// read. All that could write is dead by then.
const outputPatience = 2 * time.Second

// Start implements sim.RunningHost. The program runs until ctx ends. A path
// without a slash is looked for in this process's PATH. The program has a
// session and a /proc of its own; the rest of the file system is the machine's,
// but for an /etc/hosts that it is given.
// A program that a signal ends has the exit code 128 plus the signal's number,
// since what is waited for is the init of its PID namespace.
func (h *Host) Start(ctx context.Context, p sim.Program) (sim.RunningProgram, error) {
	doing := "start " + p.Path
	if !initialised {
		return nil, h.errorf(doing, errors.New("this binary does not call kernel.Init: main, and TestMain in tests, must do so first"))
	}
	path, err := find(p)
	if err != nil {
		return nil, h.errorf(doing, err)
	}
	as, err := accountOf(p.User)
	if err != nil {
		return nil, h.errorf(doing, err)
	}
	program := &Program{host: h, spec: p, path: path, as: as, life: ctx}
	program.mu.Lock()
	defer program.mu.Unlock()
	h.running.mu.Lock()
	if h.running.stopping {
		h.running.mu.Unlock()
		return nil, h.errorf(doing, errClosed)
	}
	if h.running.programs == nil {
		h.running.programs = make(map[*Program]struct{})
	}
	h.running.programs[program] = struct{}{}
	h.running.mu.Unlock()
	if err := program.start(ctx); err != nil {
		h.running.mu.Lock()
		delete(h.running.programs, program)
		h.running.mu.Unlock()
		return nil, h.errorf(doing, err)
	}
	h.running.mu.Lock()
	h.running.started = append(h.running.started, program)
	h.running.mu.Unlock()
	return program, nil
}

// Programs implements sim.RunningHost.
func (h *Host) Programs() []sim.RunningProgram {
	h.running.mu.Lock()
	defer h.running.mu.Unlock()
	var all []sim.RunningProgram
	for _, p := range h.running.started {
		all = append(all, p)
	}
	return all
}

// find resolves the program's path as exec.Command does, and looks at its
// directory, whose absence would be blamed on the program.
func find(p sim.Program) (string, error) {
	if p.Dir != "" {
		if info, err := os.Stat(p.Dir); err != nil {
			return "", fmt.Errorf("its directory: %w", err)
		} else if !info.IsDir() {
			return "", fmt.Errorf("its directory: %s is not one", p.Dir)
		}
	}
	path := p.Path
	if filepath.Base(path) != path && !filepath.IsAbs(path) && p.Dir != "" {
		path = filepath.Join(p.Dir, path)
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// start begins a life; mu is held.
func (p *Program) start(ctx context.Context) error {
	if err := errors.Join(ctx.Err(), p.life.Err()); err != nil {
		return err
	}
	ours, theirs, err := controlPair()
	if err != nil {
		return err
	}
	defer func() { _ = theirs.Close() }()
	how, err := mannerOf(p.spec, p.as).file()
	if err != nil {
		_ = ours.Close()
		return err
	}
	defer func() { _ = how.Close() }()
	cmd := initOf(p.path, append([]string{p.spec.Path}, p.spec.Args...))
	cmd.Env, cmd.Dir = p.as.environ(p.spec.Env), p.spec.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.spec.Stdin, p.spec.Stdout, p.spec.Stderr
	var lines []*lineWriter
	if p.spec.OnLine != nil {
		lines = linesOf(p.spec.OnLine, p.host.network.Now)
		cmd.Stdout, cmd.Stderr = lines[0].beside(p.spec.Stdout), lines[1].beside(p.spec.Stderr)
	}
	cmd.ExtraFiles = []*os.File{theirs, how}
	if err := p.host.network.starter.in(p.host.node.ns, cmd.Start); err != nil {
		_ = ours.Close()
		return fmt.Errorf("make a PID namespace: %w%s", err, hintFor(err))
	}
	run := &incarnation{cmd: cmd, control: ours, done: make(chan struct{})}
	_ = theirs.Close() // only the init has it now: its end is ours to see
	stop := context.AfterFunc(ctx, run.kill)
	run.pid, err = run.answer()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		run.kill()
		_ = cmd.Wait()
		_ = ours.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOEXEC) {
			return &fs.PathError{Op: "exec", Path: p.path, Err: errors.Unwrap(err)}
		}
		return err
	}
	p.run = run
	p.host.network.log("host %s: %s runs as process %d", p.host.lab.Name, p.spec.Path, run.pid)
	endOfLife := context.AfterFunc(p.life, run.kill)
	go func() {
		defer close(run.done)
		err := cmd.Wait()
		endOfLife()
		run.learnUsage()
		_ = ours.Close()
		for _, l := range lines {
			l.end()
		}
		// What did not come to its end is a copy of our own reader or writer.
		if !errors.Is(err, exec.ErrWaitDelay) {
			run.err = err
		}
		p.host.network.log("host %s: %s (process %d) ended: %v", p.host.lab.Name, p.spec.Path, run.pid, cmd.ProcessState)
	}()
	return nil
}

// initOf is the command of an init that runs a program. It lacks the control
// socket, and the manner.
func initOf(path string, argv []string) *exec.Cmd {
	return &exec.Cmd{
		Path:      "/proc/self/exe",
		Args:      append([]string{initName, path}, argv...),
		WaitDelay: outputPatience,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS,
			Pdeathsig:  syscall.SIGKILL,
			// The terminal's signals are for us, who end the program in order.
			Setsid: true,
		},
	}
}

// controlPair makes the socket between us and an init.
func controlPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket to control a program: %w%s", err, hintFor(err))
	}
	file := os.NewFile(uintptr(fds[0]), "control")
	theirs = os.NewFile(uintptr(fds[1]), "control")
	defer func() { _ = file.Close() }()
	// So that the kernel translates the PID that the init tells.
	err = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err == nil {
		var conn net.Conn
		if conn, err = net.FileConn(file); err == nil {
			return conn.(*net.UnixConn), theirs, nil
		}
	}
	_ = theirs.Close()
	return nil, nil, fmt.Errorf("make a socket to control a program: %w", err)
}

// answer waits for what the init says first: the program's PID or why it was
// not started.
func (r *incarnation) answer() (int, error) {
	data, control := make([]byte, 16), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, m, _, _, err := r.control.ReadMsgUnix(data, control)
	switch {
	case err == nil && n == 5 && data[0] == failed:
		return 0, fmt.Errorf("exec: %w", unix.Errno(binary.NativeEndian.Uint32(data[1:])))
	case err != nil || n != 1 || data[0] != started:
		return 0, errors.New("the init of its PID namespace ended before it could start it")
	}
	messages, err := unix.ParseSocketControlMessage(control[:m])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("the init of its PID namespace did not tell its PID: %w", err)
	}
	credentials, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil {
		return 0, fmt.Errorf("the init of its PID namespace did not tell its PID: %w", err)
	}
	return int(credentials.Pid), nil
}

// kill kills the init, and with it all processes of the namespace.
func (r *incarnation) kill() {
	r.sample()
	_ = r.cmd.Process.Kill()
}

func (p *Program) current() *incarnation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// Name implements sim.RunningProgram.
func (p *Program) Name() string { return cmp.Or(p.spec.Name, filepath.Base(p.spec.Path)) }

// PID implements sim.RunningProgram: it is the program's own, as seen from
// outside of its PID namespace.
func (p *Program) PID() int { return p.current().pid }

// Signal implements sim.RunningProgram. The signal goes to the program's first
// process. Once that has ended the error is os.ErrProcessDone.
func (p *Program) Signal(sig int) error {
	if sig <= 0 || sig > 64 {
		return p.host.errorf("signal "+p.spec.Path, fmt.Errorf("%d is no signal", sig))
	}
	if err := p.current().signal(sig); err != nil {
		return p.host.errorf("signal "+p.spec.Path, err)
	}
	return nil
}

func (r *incarnation) signal(sig int) error {
	select {
	case <-r.done:
		return os.ErrProcessDone
	default:
	}
	_, err := r.control.Write([]byte{byte(sig)})
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed) {
		return os.ErrProcessDone
	}
	return err
}

// Stop implements sim.RunningProgram.
func (p *Program) Stop(ctx context.Context) error {
	run := p.current()
	if err := run.signal(int(unix.SIGTERM)); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return p.host.errorf("stop "+p.spec.Path, err)
	}
	select {
	case <-run.done:
		return nil
	case <-ctx.Done():
	}
	run.kill()
	<-run.done
	return p.host.errorf("stop "+p.spec.Path, fmt.Errorf("it was killed, as it did not end by itself: %w", context.Cause(ctx)))
}

// Done implements sim.RunningProgram.
func (p *Program) Done() <-chan struct{} { return p.current().done }

// Kill implements sim.RunningProgram. It returns when all processes are gone.
func (p *Program) Kill() error {
	run := p.current()
	run.kill()
	<-run.done
	return nil
}

// Restart implements sim.RunningProgram. ctx bounds the restart; the program
// lives on until the context of Start ends. A Stdin is read on from where the
// former life left it.
func (p *Program) Restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run.kill()
	<-p.run.done
	if p.host.isStopping() {
		return p.host.errorf("restart "+p.spec.Path, errClosed)
	}
	if err := p.start(ctx); err != nil {
		return p.host.errorf("restart "+p.spec.Path, err)
	}
	return nil
}

// Wait implements sim.RunningProgram. The end that is part of a Restart is not
// waited for.
func (p *Program) Wait() error {
	run := p.current()
	for {
		<-run.done
		next := p.current()
		if next == run {
			return run.err
		}
		run = next
	}
}

// Forget kills the program, and has its host know it no more: it cannot be
// restarted. It is for hosts on which programs come and go without end.
func (p *Program) Forget() {
	p.end()
	p.host.running.mu.Lock()
	defer p.host.running.mu.Unlock()
	delete(p.host.running.programs, p)
	p.host.running.started = slices.DeleteFunc(p.host.running.started, func(other *Program) bool { return other == p })
}

func (h *Host) isStopping() bool {
	h.running.mu.Lock()
	defer h.running.mu.Unlock()
	return h.running.stopping
}

// end kills the program for good when the lab closes, and waits.
func (p *Program) end() {
	if run := p.current(); run != nil {
		run.kill()
		<-run.done
	}
}
