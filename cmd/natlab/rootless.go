//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"p2pmodel/sim/kernel"
)

func newRootlessCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rootless -- COMMAND [ARG …]",
		Short: "Run a command as root of new user, network and mount namespaces",
		Long: `Run a command as root of new user, network and mount namespaces, where the
system permits them: natlab itself and the test suites need no more than that.
For root the command runs as it is.`,
		Example: `  natlab rootless -- go test ./sim/kernel`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := exec.LookPath(args[0])
			if err != nil {
				return err
			}
			if err := kernel.Enter(); err != nil {
				return err
			}
			signal.Reset()
			if err := syscall.Exec(path, args, os.Environ()); err != nil {
				return fmt.Errorf("run %s: %w", path, err)
			}
			return nil
		},
	}
	// Flags after the command are the command's.
	cmd.Flags().SetInterspersed(false)
	return cmd
}
