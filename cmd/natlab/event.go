//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel/standing"
)

func newEventCommand() *cobra.Command {
	var lab string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "event [EVENT [KEY=VALUE …]]",
		Short: "Do something to a lab that stands, and prove it",
		Long: `Do an event to a lab that stands, and tell what was seen of it. Without an event:
list those that were done, those of the file's timeline among them. One that lasts (for=…)
takes its time; Ctrl-C ends it. ✓ stands before what was seen to have an effect, ○ before
what met nothing that it could have had one on.

Exit status: 0 it was done; 2 it could not be.

  ` + strings.Join(sim.EventUsage(), "\n  "),
		Example: `  natlab event reboot home new-address=true
  natlab event cut a for=2s
  natlab event impair link=home delay=80ms loss=5%`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, out := cmd.Context(), cmd.OutOrStdout()
			c, err := standing.Find(ctx, lab)
			if err != nil {
				return err
			}
			var all []standing.Happened
			if len(args) > 0 {
				h, err := c.Event(ctx, args)
				if ctx.Err() != nil {
					return errors.New("interrupted: what the event had begun is ended; the lab stands as before")
				}
				if err != nil {
					return err
				}
				all = append(all, h)
			} else if all, err = c.Events(ctx); err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(out)
				enc.SetEscapeHTML(false)
				var errs []error
				for _, h := range all {
					errs = append(errs, enc.Encode(h))
				}
				return errors.Join(errs...)
			}
			for _, h := range all {
				tellEvent(out, h)
			}
			return nil
		},
	}
	addLab(cmd, &lab)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, a line for each event")
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var kinds []cobra.Completion
		for _, k := range sim.EventKinds() {
			if len(args) == 0 && strings.HasPrefix(string(k), begun) {
				kinds = append(kinds, cobra.CompletionWithDesc(string(k), sim.EventHelp(k)))
			}
		}
		return kinds, cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// proofMarks are the marks before events.
var proofMarks = map[sim.ProofState]string{sim.Proved: "✓", sim.Pending: "…", sim.Nothing: "○"}

// tellEvent prints an event and what was seen of it.
func tellEvent(w io.Writer, h standing.Happened) {
	mark := proofMarks[h.Proof.State]
	text := h.Proof.Text
	if mark == "" || h.Proof.State == sim.Pending && text == "" {
		mark, text = proofMarks[sim.Pending], "in force; what it takes is told when it ends"
	}
	fmt.Fprintf(w, "%s %s  %s: %s\n", mark, h.At.Format("15:04:05.000"), h.Event, text)
	for _, l := range h.Proof.Before {
		fmt.Fprintf(w, "    before  %s\n", l)
	}
	for _, l := range h.Proof.After {
		fmt.Fprintf(w, "    after   %s\n", l)
	}
}
