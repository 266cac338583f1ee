package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios"
)

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of scenario files, for editors",
		Example: `  natlab schema > scenario.schema.json
  # first line of a scenario file, for the YAML language server:
  # yaml-language-server: $schema=scenario.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			enc.SetEscapeHTML(false)
			return enc.Encode(scenarios.Schema())
		},
	}
}
