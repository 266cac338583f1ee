package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
)

func newListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the scenarios of the catalogue",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := scenarios.Catalogue()
			if err != nil {
				return err
			}
			return list(cmd.OutOrStdout(), all)
		},
	}
}

func list(w io.Writer, all []*scenarios.Scenario) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tMUST HAPPEN\tCONTROLS\tTITLE")
	for _, sc := range all {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\n", sc.ID, report.MustHappen(sc), len(sc.Controls), sc.Title)
	}
	return tw.Flush()
}

func newShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID|FILE",
		Short: "Draw a scenario's topology, and say what must happen",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sc, err := load(args[0])
			if err != nil {
				return err
			}
			return report.Describe(cmd.OutOrStdout(), sc, terminal(cmd.OutOrStdout()))
		},
	}
}
