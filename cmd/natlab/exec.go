//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"p2pmodel/sim/kernel/standing"
)

// execFlags are those of commands that run a program on a host.
type execFlags struct {
	lab, user, dir string
	env            []string
	terminal       bool
}

func (f *execFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	addLab(cmd, &f.lab)
	fl.StringVarP(&f.user, "user", "u", "", "run as this user, a `name` or number (default: who built the lab)")
	fl.StringVarP(&f.dir, "cwd", "w", "", "run in this `folder` (default: the present one)")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set a variable, `KEY=VALUE`; several times")
	// Flags after the host are the program's.
	fl.SetInterspersed(false)
	cmd.ValidArgsFunction = completeFirst(standing.Description.HostNames)
}

// environ is our environment with what is asked for.
func (f *execFlags) environ() ([]string, error) {
	env := os.Environ()
	for _, v := range f.env {
		key, _, ok := strings.Cut(v, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--env is KEY=VALUE, not %q", v)
		}
		env = append(env, v)
	}
	return env, nil
}

func newExecCommand() *cobra.Command {
	f := &execFlags{}
	cmd := &cobra.Command{
		Use:   "exec HOST -- COMMAND [ARG …]",
		Short: "Run a command on a host of a lab that stands",
		Long: `Run a command on a host: in its network, with this machine's files, this folder,
environment, input and output. It gets a terminal of its own if input and output are
one and natlab has it in the foreground, or with --tty. Signals and Ctrl-C go to the program; natlab ends as it does, with
its exit status, 128 plus the signal, 127 where there is no such program and 126 where
it cannot be run. Whatever it leaves behind is killed.

The program finds the lab's addresses in its environment (LAB_ADDR_HOST, …; LAB_NAME,
LAB_HOST), and the names of nodes that its host can reach in /etc/hosts.`,
		Example: `  natlab exec a -- ip address
  natlab exec a -- sh -c 'echo hello | nc -u $LAB_ADDR_SERVER 7'
  natlab exec --lab hotel --user nobody guest -- curl http://server:8080/`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, command := args[0], args[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return errors.New("exec needs a command: natlab exec HOST -- COMMAND")
			}
			tty := f.terminal
			if !cmd.Flags().Changed("tty") {
				tty = inForeground(os.Stdin) && term.IsTerminal(int(os.Stdout.Fd()))
			}
			env, err := f.environ()
			if err != nil {
				return err
			}
			return f.run(standing.Command{Host: host, Path: command[0], Args: command[1:], Env: env, Terminal: tty})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&f.terminal, "tty", "t", false, "give it a terminal of its own; --tty=false: never")
	return cmd
}

// inForeground reports whether the file is a terminal that is ours to use: a job
// that a shell has put into the background (&) would be stopped when it sets one up.
func inForeground(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// run runs a program and ends as it does. Signals are the program's, so that the
// context of commands, which they end, does not count.
func (f *execFlags) run(p standing.Command) error {
	ctx := context.Background()
	lab, err := standing.Find(ctx, f.lab)
	if err != nil {
		return err
	}
	p.Dir, p.User = f.dir, f.user
	p.Stdin, p.Stdout, p.Stderr = os.Stdin, os.Stdout, os.Stderr
	status, err := lab.Exec(ctx, p)
	var refused *standing.NotStarted
	switch {
	case errors.As(err, &refused):
		return errors.Join(err, exitStatus(refused.Code))
	case err != nil:
		return err
	case status != 0:
		return exitStatus(status)
	}
	return nil
}

func newShellCommand() *cobra.Command {
	f := &execFlags{}
	cmd := &cobra.Command{
		Use:   "shell HOST",
		Short: "Open a shell on a host of a lab that stands",
		Long: `Open a shell on a host: your own, or that of --user, with the host's name in its
prompt. It is natlab exec with a terminal.`,
		Example: `  natlab shell a`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			env, err := f.environ()
			if err != nil {
				return err
			}
			shell := shellOf(f.user)
			extra, vars := prompt(filepath.Base(shell), args[0])
			return f.run(standing.Command{Host: args[0], Path: shell, Args: extra, Env: append(env, vars...), Terminal: true})
		},
	}
	f.add(cmd)
	return cmd
}

// shellOf is the shell of a user by /etc/passwd, of us by SHELL; /bin/sh where
// they say nothing.
func shellOf(name string) string {
	if shell := os.Getenv("SHELL"); name == "" && filepath.IsAbs(shell) {
		return shell
	}
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	data, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) == 7 && fields[0] == name && filepath.IsAbs(fields[6]) && !strings.HasSuffix(fields[6], "nologin") && !strings.HasSuffix(fields[6], "/false") {
			return fields[6]
		}
	}
	return "/bin/sh"
}

// prompt gives arguments and variables by which a shell's prompt begins with the
// host's name, whatever its own files make of the rest.
func prompt(shell, host string) (args, env []string) {
	mark := "(" + host + ") "
	switch shell {
	case "bash":
		// Run before the first prompt, after the files that set it.
		return []string{"-i"}, []string{`PROMPT_COMMAND=PS1="` + mark + `$PS1"; unset PROMPT_COMMAND`}
	case "fish":
		return []string{"-C", "functions -c fish_prompt lab_prompt; function fish_prompt; echo -n '" + mark + "'; lab_prompt; end"}, nil
	case "zsh":
		return []string{"-i"}, []string{"PS1=" + mark + "%# "}
	}
	return []string{"-i"}, []string{"PS1=" + mark + "$ "}
}
