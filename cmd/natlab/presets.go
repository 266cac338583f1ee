package main

import (
	"io"

	"github.com/spf13/cobra"

	"p2pmodel/nat"
	"p2pmodel/scenarios/report"
)

func newPresetsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "presets [NAME]",
		Short: "List the NAT presets, or say all that is known of one",
		Long: `List the NATs that have a name: what they do, and how well that is known. Evidence is
V (read in the primary text), T (measured on a running Linux), S (quoted by a
secondary source), D (derived) or M (from memory).`,
		Example: `  natlab presets
  natlab presets mikrotik
  natlab presets --json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completePresets,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case asJSON:
				return nat.WritePresetsJSON(cmd.OutOrStdout(), args...)
			case len(args) == 1:
				return report.Narrow(cmd.OutOrStdout(), func(w io.Writer) error { return nat.WritePreset(w, args[0]) })
			}
			return report.Narrow(cmd.OutOrStdout(), nat.WritePresets)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for programs, with all axes, sources and notes")
	return cmd
}

// completePresets gives the shell the names of the presets, each with its title.
func completePresets(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []cobra.Completion
	for _, p := range nat.Presets() {
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			all = append(all, cobra.CompletionWithDesc(name, p.Title))
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}
