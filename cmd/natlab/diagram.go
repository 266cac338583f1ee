package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"p2pmodel/sim"
	"p2pmodel/sim/document"
)

func newDiagramCommand() *cobra.Command {
	var lab, format string
	cmd := &cobra.Command{
		Use:   "diagram [FILE|ID]",
		Short: "Draw a lab that stands, or that of a file",
		Example: `  natlab diagram
  natlab diagram lab.yaml --format svg > lab.svg`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if !known(format, sim.Formats) {
				return fmt.Errorf("--format: no format %q%s", format, document.Suggest(format, sim.Formats))
			}
			if len(args) == 1 {
				if lab != "" {
					return fmt.Errorf("a lab that stands and a file are two: leave out --lab %s or %s", lab, args[0])
				}
				l, _, _, _, err := loadLab(args[0])
				if err != nil {
					return err
				}
				return l.Diagram(out, format, widthOf(out), colorful(out))
			}
			return drawStanding(cmd.Context(), out, lab, format)
		},
	}
	addLab(cmd, &lab)
	cmd.Flags().StringVar(&format, "format", "terminal", "terminal, mermaid or svg")
	return cmd
}

func known(word string, words []string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
