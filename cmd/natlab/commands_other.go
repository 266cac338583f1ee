//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"p2pmodel/sim/kernel"
)

// linuxCommands stand in for those that need Linux, and say so.
func linuxCommands() []*cobra.Command {
	var all []*cobra.Command
	for _, name := range linuxNames {
		all = append(all, &cobra.Command{
			Use: name, Short: "Needs Linux", Hidden: true, DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return fmt.Errorf("natlab %s: labs that stand: %w", name, kernel.ErrNotLinux)
			},
		})
	}
	return all
}

// drawStanding fails: no labs stand here.
func drawStanding(context.Context, io.Writer, string, string) error {
	return errors.New("no labs stand here, which takes Linux: name the file of one, as in natlab diagram lab.yaml")
}

// addLab adds the flag that names a lab.
func addLab(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "lab", "", "the lab's `name`, where several stand")
}
