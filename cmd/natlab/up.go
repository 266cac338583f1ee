//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/kernel/standing"
)

// holdCommand is the hidden command of a process that holds a lab by itself.
const holdCommand = "hold"

func newUpCommand() *cobra.Command {
	var spec standing.Spec
	var detach bool
	cmd := &cobra.Command{
		Use:   "up FILE",
		Short: "Build a lab and leave it standing, for any program",
		Long: `Build the lab of a file, measure its NATs, and leave it standing until Ctrl-C, or
with --detach until natlab down. The file has a lab alone (under the key lab), or is a
scenario, by its path or its id, whose lab is taken.

The lab is a part of the process that holds it: when that ends, by kill -9 too, the
kernel takes down the lab and all programs in it.`,
		Example: `  natlab up lab.yaml --detach
  natlab exec a -- ping -c 1 server
  natlab down`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var note string
			var err error
			if spec.Lab, spec.Events, spec.File, note, err = loadLab(args[0]); err != nil {
				return err
			}
			if spec.Name == "" {
				spec.Name = standing.NameFor(spec.File)
			}
			if err := standing.CheckName(spec.Name); err != nil {
				return err
			}
			if spec.Directory, err = standing.Directory(); err != nil {
				return err
			}
			if long := longestTimeout(spec.Lab); long > patient && !spec.Uncertified {
				fmt.Fprintf(cmd.ErrOrStderr(), "natlab: the NATs are measured, which takes longer than the longest timeout, %v; --no-certify leaves it out\n", long)
			}
			out := cmd.OutOrStdout()
			ready := func(s standing.Standing) error { return tellStanding(out, spec, s, note, detach) }
			if detach {
				s, err := standing.Detach(cmd.Context(), spec, holdCommand)
				if err != nil {
					return err
				}
				return ready(s)
			}
			if err := enterToHold(spec.Directory); err != nil {
				return err
			}
			spec.OnEvent = func(h standing.Happened) { tellEvent(out, h) }
			return endOfHold(cmd.ErrOrStderr(), standing.Hold(cmd.Context(), spec, ready))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&spec.Name, "name", "", "the lab's `name` (default: the file's, without its extension)")
	fl.BoolVarP(&detach, "detach", "d", false, "have a process of its own hold the lab, and return when it stands")
	fl.Uint64Var(&spec.Seed, "seed", 1, "seed of losses and jitter")
	linksFlag(fl, &spec.Links)
	fl.BoolVar(&spec.Uncertified, "no-certify", false, "do not measure the NATs")
	return cmd
}

// patient is how long people wait without being told what for.
const patient = 3 * time.Second

// longestTimeout is that of the lab's NATs, as far as they are measured.
func longestTimeout(lab *sim.Lab) (longest time.Duration) {
	for _, r := range lab.Routers {
		if r.NAT != nil {
			longest = max(longest, r.NAT.Timeout)
		}
	}
	return longest
}

// enterToHold gets this process what it takes to build labs. What becomes of it
// then looks for labs in the same folder.
func enterToHold(dir string) error {
	if err := os.Setenv(standing.DirectoryEnv, dir); err != nil {
		return err
	}
	if err := standing.MarkHolder(); err != nil {
		return err
	}
	return kernel.Enter()
}

// endOfHold says why a lab is gone that was held in the foreground. That somebody
// asked for it is no failure.
func endOfHold(w io.Writer, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "natlab: everything has been taken down")
		return nil
	case err == nil:
		fmt.Fprintln(w, "natlab: taken down by natlab down")
	}
	return err
}

func newHoldCommand() *cobra.Command {
	return &cobra.Command{
		Use:    holdCommand,
		Short:  "Hold a lab that another natlab asks for on standard input",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := standing.MarkHolder(); err != nil {
				return err
			}
			if err := kernel.Enter(); err != nil {
				return err
			}
			return standing.Serve(cmd.Context(), os.Stdin, os.Stdout)
		},
	}
}

// tellStanding says what stands and how to go on.
func tellStanding(w io.Writer, spec standing.Spec, s standing.Standing, note string, detached bool) error {
	if note != "" {
		fmt.Fprintln(w, note)
	}
	fmt.Fprintf(w, "Lab %s stands: %s, %s, built in %v", s.Name, count(len(s.Hosts), "host"), count(len(s.Routers), "router"), s.Built.Round(time.Millisecond))
	if n := len(s.NATs); n > 0 {
		fmt.Fprintf(w, "; %s measured as declared, in %v", count(n, "NAT"), s.Certifying.Round(100*time.Millisecond))
	}
	fmt.Fprint(w, ".\n\n")
	if err := spec.Lab.Draw(w, widthOf(w), colorful(w)); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s", howToGoOn(s))
	if !detached {
		fmt.Fprintln(w, "\nCtrl-C takes it down.")
	}
	return nil
}

// howToGoOn are commands for this lab, with names that it has.
func howToGoOn(s standing.Standing) string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-36s # %s\n", "natlab "+fmt.Sprintf(format, args...), what)
	}
	if len(s.Hosts) > 0 {
		host := s.Hosts[0].Name
		line("a command on a host", "exec %s -- COMMAND", host)
		line("a shell there", "shell %s", host)
		line("its packets, as they pass", "capture %s", host)
	}
	for _, r := range s.Routers {
		if r.NAT != "" {
			line("what its NAT has in mind", "mappings %s --watch", r.Name)
			break
		}
	}
	line("take it down", "down %s", s.Name)
	return b.String()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
