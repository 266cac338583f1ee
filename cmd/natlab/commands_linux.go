package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"p2pmodel/sim/kernel/standing"
)

// linuxCommands are those about labs that stand, and those about namespaces.
// Elsewhere they say that they are not there (linuxNames).
func linuxCommands() []*cobra.Command {
	return []*cobra.Command{
		newRootlessCommand(),
		newUpCommand(),
		newHoldCommand(),
		newPsCommand(),
		newExecCommand(),
		newShellCommand(),
		newEventCommand(),
		newMappingsCommand(),
		newRulesCommand(),
		newCaptureCommand(),
		newDownCommand(),
	}
}

// drawStanding draws a lab that stands.
func drawStanding(ctx context.Context, out io.Writer, lab, format string) error {
	c, err := standing.Find(ctx, lab)
	if err != nil {
		return err
	}
	text, err := c.Diagram(ctx, format, widthOf(out), colorful(out))
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}
