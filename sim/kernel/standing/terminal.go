//go:build linux

package standing

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/creack/pty"
	"github.com/muesli/cancelreader"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// isTerminal reports whether a file is one.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// screen is a terminal of a program's own (pty(7)), shown on this process's. We
// have its master side, so that size and end reach the program by the kernel; the
// program has the slave.
type screen struct {
	stdin, stdout *os.File
	master, slave *os.File

	former  *term.State // of stdin, while keys go through unseen
	keys    cancelreader.CancelReader
	resized chan os.Signal
	shown   chan struct{} // closed when all that was written has been shown
	typing  sync.WaitGroup
}

func newScreen(stdin, stdout *os.File) (*screen, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("make a terminal for the program: %w", err)
	}
	s := &screen{stdin: stdin, stdout: stdout, master: master, slave: slave, shown: make(chan struct{})}
	s.resize()
	return s, nil
}

// resize gives it the size of ours, of which the kernel tells the program.
func (s *screen) resize() {
	for _, f := range []*os.File{s.stdin, s.stdout} {
		if isTerminal(f) && pty.InheritSize(f, s.master) == nil {
			return
		}
	}
}

// begin shows what the program writes, and passes on what is typed, once the
// program has its side.
func (s *screen) begin() (err error) {
	_ = s.slave.Close() // or we would keep its output open
	if isTerminal(s.stdin) {
		if s.former, err = term.MakeRaw(int(s.stdin.Fd())); err != nil {
			return fmt.Errorf("let the keys of the terminal through: %w", err)
		}
	}
	if s.keys, err = cancelreader.NewReader(s.stdin); err != nil {
		// A file or /dev/null, which epoll does not take: reading never waits.
		if s.keys, err = cancelreader.NewReader(struct{ io.Reader }{s.stdin}); err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
	s.resized = make(chan os.Signal, 1)
	signal.Notify(s.resized, unix.SIGWINCH)
	s.typing.Go(func() {
		for range s.resized {
			s.resize()
		}
	})
	s.typing.Go(func() {
		_, err := io.Copy(s.master, s.keys)
		if err == nil {
			// The end of a file, as a key says it (termios(3), VEOF).
			_, _ = s.master.Write([]byte{4})
		}
	})
	go func() {
		defer close(s.shown)
		_, _ = io.Copy(s.stdout, s.master) // ends with EIO
	}()
	return nil
}

// drain waits until all that the program wrote has been shown.
func (s *screen) drain() {
	select {
	case <-s.shown:
	case <-time.After(patience):
	}
}

// close gives our terminal back as it was.
func (s *screen) close() {
	if s.resized != nil {
		signal.Stop(s.resized)
		close(s.resized)
	}
	if s.keys != nil {
		s.keys.Cancel()
	}
	_ = errors.Join(s.slave.Close(), s.master.Close())
	s.typing.Wait()
	if s.keys != nil {
		_ = s.keys.Close()
		<-s.shown
	}
	if s.former != nil {
		_ = term.Restore(int(s.stdin.Fd()), s.former)
	}
}
