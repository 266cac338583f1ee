//go:build linux

package standing

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// execution is the argument of exec. Standard input, output and error come
// with it as descriptors.
type execution struct {
	Host     string   `json:"host"`
	Path     string   `json:"path"` // absolute
	Args     []string `json:"args"`
	Env      []string `json:"env"`
	Dir      string   `json:"dir"`
	User     string   `json:"user,omitempty"`
	Terminal bool     `json:"terminal,omitempty"`
}

// execState is what a client hears of its program: that it was started, then how
// it ended.
type execState struct {
	PID  int  `json:"pid,omitempty"`
	Exit *int `json:"exit,omitempty"`
	// Refused is why it was not started, as an exit code: 126 it cannot be, 127 it
	// is not there; 0: the error is about something else.
	Refused int `json:"refused,omitempty"`
}

// execSignal is what a client says while its program runs.
type execSignal struct {
	Signal int `json:"signal"`
}

// Exit codes of programs that did not run, as shells have them.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// answerExec runs a program until it ends, or its client does.
func (s *server) answerExec(c *conn, arguments json.RawMessage) error {
	files := c.take()
	defer closeAll(files)
	var a execution
	if err := json.Unmarshal(arguments, &a); err != nil {
		return err
	}
	if len(files) != maxFiles {
		return errors.New("a program needs standard input, output and error")
	}
	host, err := s.host(a.Host)
	if err != nil {
		return err
	}
	signals := make(chan int, 16)
	ctx, cancel := s.attend(c, func(line json.RawMessage) {
		var said execSignal
		if json.Unmarshal(line, &said) == nil && said.Signal > 0 {
			select {
			case signals <- said.Signal:
			default: // nobody needs more than these
			}
		}
	})
	defer cancel()
	if a.User != "" && a.Terminal {
		giveTerminal(files, a.User)
	}
	program, err := host.Start(ctx, sim.Program{
		Path: a.Path, Args: a.Args, Env: s.environ(a), Dir: a.Dir, User: a.User,
		Hosts: sim.HostsFile(s.network, a.Host), Terminal: a.Terminal,
		Stdin: files[0], Stdout: files[1], Stderr: files[2],
	})
	if err != nil {
		return errors.Join(c.value(execState{Refused: refusal(err)}), err)
	}
	defer program.(*kernel.Program).Forget()
	s.programs.Add(1)
	defer s.programs.Add(-1)
	if err := c.value(execState{PID: program.PID()}); err != nil {
		_ = program.Kill()
		return err
	}
	// An event may restart it, so it is not its first life that is waited for; and
	// each life needs the descriptors.
	ended := make(chan struct{})
	s.calls.Go(func() {
		defer close(ended)
		_ = program.Wait()
	})
	for running := true; running; {
		select {
		case n := <-signals:
			_ = program.Signal(n) // one that has ended needs none
		case <-ended:
			running = false
		}
	}
	closeAll(files) // the client reads a terminal to its end
	code := program.State().Code
	return c.value(execState{Exit: &code})
}

// giveTerminal lets another user open the terminal by its name, as login does.
func giveTerminal(files []*os.File, name string) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return
		}
	}
	if uid, err := strconv.Atoi(u.Uid); err == nil {
		_ = files[0].Chown(uid, -1)
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// refusal is the exit code for a program that was not started, or 0.
func refusal(err error) int {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return exitNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return exitCannotRun
	}
	return 0
}

// environ is the client's environment with what is known of the lab. Another
// user has a home of his own.
func (s *server) environ(a execution) []string {
	env := slices.DeleteFunc(slices.Clone(a.Env), func(v string) bool {
		key, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(key, "LAB_") || a.User != "" && slices.Contains([]string{"HOME", "USER", "LOGNAME", "MAIL"}, key)
	})
	env = append(env, "LAB_NAME="+s.spec.Name, "LAB_HOST="+a.Host)
	return append(env, sim.Environ(s.network.Lab(), s.network.Plan())...)
}
