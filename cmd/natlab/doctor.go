package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"p2pmodel/sim/kernel"
)

func newDoctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine lacks for the laboratory, and what mends it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return diagnose(cmd.OutOrStdout(), kernel.Doctor())
		},
	}
}

// diagnose prints what a machine has and lacks; it fails where labs cannot run.
func diagnose(w io.Writer, checks []kernel.Check) error {
	marks := map[kernel.State]string{kernel.Ready: "✓", kernel.Limited: "○", kernel.Missing: "✗"}
	able := true
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		fmt.Fprintf(tw, "%s %s\t%s\t%s\n", marks[c.State], c.Name, c.State, c.Detail)
		if c.Fix != "" {
			fmt.Fprintf(tw, "\t\t→ %s\n", c.Fix)
		}
		able = able && c.State != kernel.Missing
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if !able {
		return errors.New("this machine cannot run the laboratory yet: what is marked ✗ is missing")
	}
	fmt.Fprintln(w, "\nThis machine can run the laboratory.")
	return nil
}
