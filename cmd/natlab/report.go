package main

import (
	"fmt"

	"github.com/spf13/cobra"

	campaigns "p2pmodel/scenarios/campaign"
	"p2pmodel/scenarios/report"
)

func newReportCommand() *cobra.Command {
	var out string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Join the parts of a campaign to one report",
		Long: `Join the parts of a campaign, which natlab campaign --shard has played, to what one
run would have given: the same page, JSON and CSV, byte by byte.`,
		Example: `  natlab report merge part-0 part-1 part-2 --out whole
  natlab report merge parts --out whole   # all folders in parts`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(args[0], cmd.Commands())
			}
			return cmd.Help()
		},
	}
	merge := &cobra.Command{
		Use:   "merge PART …",
		Short: "Join the parts of a campaign",
		Long: `Join the parts of a campaign: files, folders that --out has written, or a folder of
such folders. All parts have to be there, each once, and be of one population, seed,
number of trials and version; else nothing is written, and the errors name them.

Exit status: 0 joined; 2 the parts do not fit, or cannot be read or written.`,
		Example: `  natlab report merge part-0 part-1 part-2 --out whole
  natlab report merge parts --out whole --json`,
		Args: explainArguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out != "" {
				if err := report.Writable(out); err != nil {
					return fmt.Errorf("--out: %w", err)
				}
			}
			parts, err := campaigns.Parts(args)
			if err != nil {
				return err
			}
			res, err := campaigns.MergeFiles(parts)
			if err != nil {
				return err
			}
			return tellCampaign(res, out, asJSON, cmd.OutOrStdout())
		},
	}
	fl := cmd.PersistentFlags()
	fl.StringVar(&out, "out", "", "write the page, JSON and CSV to this `directory`")
	fl.BoolVar(&asJSON, "json", false, "JSON on standard output, instead of text")
	cmd.AddCommand(merge)
	return cmd
}
