//go:build linux

package standing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is a program to run on a host, with the files of this process.
type Command struct {
	Host string
	Path string // without a slash it is looked for in the PATH of Env
	Args []string
	Env  []string // beside that come the variables of sim.Environ, LAB_NAME and LAB_HOST
	Dir  string   // "": this process's
	User string   // name or number; "": who holds the lab
	// Terminal gives it a terminal of its own, which is shown on ours.
	Terminal              bool
	Stdin, Stdout, Stderr *os.File
}

// NotStarted is the error about a program that is not there or cannot be run.
type NotStarted struct {
	Code int // that shells have for it: 127 or 126
	Err  error
}

func (e *NotStarted) Error() string { return e.Err.Error() }
func (e *NotStarted) Unwrap() error { return e.Err }

// forwarded are the signals that are the program's. The terminal's keys are among
// them where it has none of its own.
var forwarded = []os.Signal{
	unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGCONT,
}

// Exec runs a program until it ends, and gives its exit code, 128 plus the signal
// for one that a signal ended. Signals to this process are passed on to the
// program, so that they end neither us nor the lab; it is killed when ctx ends,
// this process does, or the lab.
func (c *Client) Exec(ctx context.Context, p Command) (code int, err error) {
	if p.Path, err = p.find(); err != nil {
		return 0, err
	}
	if p.Dir, err = filepath.Abs(p.Dir); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	files := []*os.File{p.Stdin, p.Stdout, p.Stderr}
	var screen *screen
	if p.Terminal {
		if screen, err = newScreen(p.Stdin, p.Stdout); err != nil {
			return 0, err
		}
		defer screen.close()
		for i, f := range files {
			// What was sent elsewhere on purpose stays there.
			if i != 2 || isTerminal(f) {
				files[i] = screen.slave
			}
		}
	}
	k, err := c.begin(ctx, callExec, execution{
		Host: p.Host, Path: p.Path, Args: p.Args, Env: p.Env, Dir: p.Dir, User: p.User, Terminal: p.Terminal,
	}, files...)
	if err != nil {
		return 0, err
	}
	defer k.Close()
	var state execState
	if err := k.next(ctx, &state); err != nil {
		return 0, err
	}
	if state.PID == 0 {
		err := k.next(ctx, &state)
		if state.Refused != 0 {
			err = &NotStarted{state.Refused, err}
		}
		return 0, err
	}
	if screen != nil {
		if err := screen.begin(); err != nil {
			return 0, err
		}
	}
	done := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		pass(k.conn, signals, done)
	}()
	err = k.next(ctx, &state)
	close(done)
	<-passed
	if err == nil && state.Exit == nil {
		err = errors.New("the lab did not say how the program ended")
	}
	if err != nil {
		return 0, err
	}
	if screen != nil {
		screen.drain()
	}
	return *state.Exit, nil
}

// pass tells the lab which signals the program gets.
func pass(c *conn, signals <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			n := s.(syscall.Signal)
			if n == unix.SIGTSTP {
				// A program without a terminal of its own would not stop: nobody of its
				// session could let it go on.
				n = unix.SIGSTOP
			}
			_ = c.write(execSignal{int(n)}) // one that has ended needs none
			if n == unix.SIGSTOP {
				_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
			}
		case <-done:
			return
		}
	}
}

// find resolves the path as shells do, in the program's directory and PATH.
func (p Command) find() (string, error) {
	path := p.Path
	if path == "" {
		return "", errors.New("no program to run")
	}
	if strings.ContainsRune(path, '/') {
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.Dir, path)
		}
		return filepath.Abs(path)
	}
	for i := len(p.Env) - 1; i >= 0; i-- {
		list, ok := strings.CutPrefix(p.Env[i], "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			candidate := filepath.Join(dir, path)
			if filepath.IsAbs(candidate) && unix.Access(candidate, unix.X_OK) == nil {
				if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() {
					return candidate, nil
				}
			}
		}
		break
	}
	return "", &NotStarted{exitNotFound, fmt.Errorf("%s: %w", path, exec.ErrNotFound)}
}
