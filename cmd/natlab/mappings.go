//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"p2pmodel/sim/kernel/standing"
)

func newMappingsCommand() *cobra.Command {
	var lab string
	var watch bool
	cmd := &cobra.Command{
		Use:   "mappings ROUTER",
		Short: "Print the live mappings of a NAT",
		Long: `Print the live mappings of a router's NAT: inside, outside, what they are for, who may
send in, and how long they have left. With --watch they are shown anew on a terminal,
and elsewhere a line is printed for each that comes (+) or goes (-), until Ctrl-C.`,
		Example: `  natlab mappings home --watch`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, out := cmd.Context(), cmd.OutOrStdout()
			c, err := standing.Find(ctx, lab)
			if err != nil {
				return err
			}
			if !watch {
				ms, err := c.Mappings(ctx, args[0])
				if err != nil {
					return err
				}
				return printMappings(out, ms)
			}
			onScreen := screen(out) != nil
			show := mappingChanges(out)
			if onScreen {
				show = func(ms []standing.Mapping) error {
					fmt.Fprint(out, "\x1b[H\x1b[2J") // to the corner, and clear
					return printMappings(out, ms)
				}
			}
			return untilInterrupted(ctx, c.WatchMappings(ctx, args[0], onScreen, show))
		},
	}
	addLab(cmd, &lab)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on until Ctrl-C")
	cmd.ValidArgsFunction = completeFirst(standing.Description.RouterNames)
	return cmd
}

func newRulesCommand() *cobra.Command {
	var lab string
	cmd := &cobra.Command{
		Use:     "rules ROUTER",
		Short:   "Print the nftables rules of a router, with their counters",
		Example: `  natlab rules home`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := standing.Find(cmd.Context(), lab)
			if err != nil {
				return err
			}
			text, err := c.Rules(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	addLab(cmd, &lab)
	cmd.ValidArgsFunction = completeFirst(standing.Description.RouterNames)
	return cmd
}

func printMappings(w io.Writer, ms []standing.Mapping) error {
	if len(ms) == 0 {
		_, err := fmt.Fprintln(w, "no mappings")
		return err
	}
	for _, m := range ms {
		if _, err := fmt.Fprintln(w, m.Text); err != nil {
			return err
		}
	}
	return nil
}

// mappingChanges prints what comes and goes.
func mappingChanges(w io.Writer) func([]standing.Mapping) error {
	before := map[string]bool{}
	return func(ms []standing.Mapping) error {
		now := map[string]bool{}
		for _, m := range ms {
			now[m.What] = true
		}
		for _, m := range ms {
			if !before[m.What] {
				if _, err := fmt.Fprintln(w, "+ "+m.What); err != nil {
					return err
				}
			}
		}
		for what := range before {
			if !now[what] {
				if _, err := fmt.Fprintln(w, "- "+what); err != nil {
					return err
				}
			}
		}
		before = now
		return nil
	}
}

// untilInterrupted takes Ctrl-C for the end of a command that has no other.
func untilInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
