package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/ci/bench/measure"
	"p2pmodel/ci/bench/virtual"
)

func newVirtualCommand() *cobra.Command {
	var folder string
	r := virtual.Run{Say: say}
	cmd := &cobra.Command{
		Use: "virtual", Short: "Measure connections in virtual time, beside pion/ice on pion's virtual network",
		Long: `Measure how many connections one core plays in a second, ours in virtual time and pion/ice's on
pion's vnet, behind the same pairs of NATs, and what a trial costs as there are more of them.`,
		Example: `  bench virtual --most 1000000     # a million trials, a quarter of an hour`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Rounds < 1 || r.Each <= 0 || r.Most < 1000 {
				return usageError{fmt.Errorf("--rounds %d, --each %v, --most %d: want 1, more than 0 and 1000 at least", r.Rounds, r.Each, r.Most)}
			}
			return inFolder(folder, func(dir string) (*measure.Part, error) { return r.Do(cmd.Context(), dir) })
		},
	}
	reportFlag(cmd, &folder)
	cmd.Flags().IntVar(&r.Rounds, "rounds", 3, "how often all are measured")
	cmd.Flags().DurationVar(&r.Each, "each", 2*time.Second, "how long one measurement takes")
	cmd.Flags().IntVar(&r.Most, "most", 100_000, "`trials` at the end of the curve, ten times as many from place to place")
	return cmd
}
