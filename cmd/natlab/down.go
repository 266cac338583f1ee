//go:build linux

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"p2pmodel/sim/kernel/standing"
)

func newDownCommand() *cobra.Command {
	var all bool
	var lab string
	cmd := &cobra.Command{
		Use:   "down [NAME]",
		Short: "Take a lab down, and wait until nothing is left of it",
		Example: `  natlab down
  natlab down --all`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if len(args) == 1 {
				if lab != "" && lab != args[0] {
					return fmt.Errorf("one lab, please: %s or %s", lab, args[0])
				}
				lab = args[0]
			}
			if all && lab != "" {
				return errors.New("--all takes every lab down, and needs no name")
			}
			names := []string{lab}
			if all {
				labs, err := standing.All(ctx)
				if err != nil {
					return err
				}
				names = nil
				for _, l := range labs {
					names = append(names, l.Name)
				}
			}
			var errs []error
			for _, name := range names {
				c, err := standing.Find(ctx, name)
				if err == nil {
					err = c.Down(ctx)
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is down\n", c.Name())
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "take all labs down")
	addLab(cmd, &lab)
	cmd.ValidArgsFunction = completeLabs
	return cmd
}
