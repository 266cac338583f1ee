package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios"
	campaigns "p2pmodel/scenarios/campaign"
	"p2pmodel/sim/document"
)

// schemaFiles are the sorts of files that have a schema.
var schemaFiles = []string{"scenario", "population"}

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [scenario|population]",
		Short: "Print the JSON Schema of scenario files or populations, for editors",
		Example: `  natlab schema > scenario.schema.json
  natlab schema population > population.schema.json
  # first line of a scenario file, for the YAML language server:
  # yaml-language-server: $schema=scenario.schema.json`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: schemaFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			schema := scenarios.Schema
			if len(args) == 1 {
				switch args[0] {
				case "scenario":
				case "population":
					schema = campaigns.Schema
				default:
					return fmt.Errorf("no schema of %q%s", args[0], document.Suggest(args[0], schemaFiles))
				}
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			enc.SetEscapeHTML(false)
			return enc.Encode(schema())
		},
	}
}
