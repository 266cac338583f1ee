//go:build linux

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"p2pmodel/sim/kernel/standing"
)

// addLab adds the flag that names a lab.
func addLab(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "lab", "", "the lab's `name`, where several stand")
	_ = cmd.RegisterFlagCompletionFunc("lab", completeLabs) // fails only without the flag
}

// completeLabs gives shells the names of labs.
func completeLabs(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	labs, _ := standing.All(cmd.Context())
	for _, l := range labs {
		if strings.HasPrefix(l.Name, begun) {
			names = append(names, l.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFirst gives shells the names of nodes for the first argument, and leaves
// the others to them.
func completeFirst(nodes ...func(standing.Description) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		wanted := ""
		if f := cmd.Flag("lab"); f != nil {
			wanted = f.Value.String()
		}
		var names []cobra.Completion
		labs, _ := standing.All(cmd.Context())
		for _, l := range labs {
			if wanted != "" && l.Name != wanted {
				continue
			}
			for _, of := range nodes {
				for _, n := range of(l) {
					if strings.HasPrefix(n, begun) {
						names = append(names, n)
					}
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
