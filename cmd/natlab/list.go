package main

import (
	"io"

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
			return report.Narrow(cmd.OutOrStdout(), func(w io.Writer) error { return report.List(w, all) })
		},
	}
}

func newShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID|FILE …",
		Short: "Draw a scenario's topology, and say what must happen",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := loadAll(args)
			if err != nil {
				return err
			}
			for _, sc := range list {
				if err := report.Describe(cmd.OutOrStdout(), sc, colorful(cmd.OutOrStdout())); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
