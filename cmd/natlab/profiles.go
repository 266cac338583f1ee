package main

import (
	"github.com/spf13/cobra"

	"p2pmodel/scenarios/report"
	"p2pmodel/sim"
)

func newProfilesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "profiles",
		Short: "List the link profiles: what 4g, wifi or starlink mean in a lab",
		Example: `  natlab profiles
  natlab profiles --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return sim.WriteProfilesJSON(cmd.OutOrStdout())
			}
			return report.Narrow(cmd.OutOrStdout(), sim.WriteProfiles)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for programs, with the source of each")
	return cmd
}
