package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"p2pmodel/ci/bench/lab"
)

func newLabCommand() *cobra.Command {
	var folder string
	var pairs, grow []int
	var rounds int
	cmd := &cobra.Command{
		Use: "lab", Short: "Measure how long labs take: ours, and the same ones by ip and nft",
		Long: `Measure how long labs of peers behind NATs take to build and to take down: by this library, by a
script of ip and nft, and by one with as few processes as do; and what ours cost as they grow.
Rounds alternate; compare ratios. It takes root, and Debian's iproute2, nftables and procps.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rounds < 1 {
				return usageError{fmt.Errorf("--rounds %d: want one or more", rounds)}
			}
			for _, n := range append(pairs, grow...) {
				if n < 1 {
					return usageError{fmt.Errorf("--peers and --grow: %d: want one or more", n)}
				}
			}
			for _, tool := range []string{"ip", "nft", "sysctl"} {
				if _, err := exec.LookPath(tool); err != nil {
					return fmt.Errorf("%s: %w (apt-get install iproute2 nftables procps)", tool, err)
				}
			}
			return measureLab(cmd.Context(), folder, lab.Run{Pairs: pairs, Rounds: rounds}, lab.Run{Pairs: grow, Rounds: min(rounds, 3)})
		},
	}
	reportFlag(cmd, &folder)
	flags := cmd.Flags()
	flags.IntSliceVar(&pairs, "peers", []int{2, 50}, "`how many` peers, each behind a NAT of its own, labs to compare have")
	flags.IntSliceVar(&grow, "grow", []int{2, 24, 99, 499}, "the same of labs that grow: 6, 50, 200 and 1000 namespaces")
	flags.IntVar(&rounds, "rounds", 10, "how often each lab is built by each; those that grow three times at most")
	return cmd
}

func measureLab(ctx context.Context, folder string, compared, growing lab.Run) error {
	say := func(what string) { fmt.Fprintln(os.Stderr, "bench: lab:", what) }
	compared.Say, growing.Say = say, say
	if len(compared.Pairs) > 0 {
		p, err := compared.Compare(ctx)
		if err == nil {
			err = finish(folder, p)
		}
		if err != nil {
			return err
		}
	}
	if len(growing.Pairs) == 0 {
		return nil
	}
	p, err := growing.Curve(ctx)
	if err != nil {
		return err
	}
	return finish(folder, p)
}
