// Command p2pmodel runs the parts of the system: the rendezvous, the relay, a
// peer.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"p2pmodel/cmd/commands"
)

// Exit codes.
const (
	exitFailed = 1 // the program could not do its work
	exitUsage  = 2 // bad arguments or input
)

// usageError is a mistake of whoever typed the command.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage makes an error that exits with 2.
func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, newRootCommand()))
}

// run executes the command and gives the exit code.
func run(ctx context.Context, root *cobra.Command) int {
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(root.ErrOrStderr(), "p2pmodel: %v\n", err)
	var bad usageError
	if errors.As(err, &bad) {
		return exitUsage
	}
	return exitFailed
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "p2pmodel",
		Short:         "A hybrid peer-to-peer network: rendezvous, relay, peer",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; see p2pmodel --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see %s --help", err, cmd.CommandPath())
	})
	for _, cmd := range []*cobra.Command{
		newRendezvousCommand(), newRelayCommand(), newPeerCommand(), newTokenCommand(), newAccountCommand(),
		newAllCommand(), newEngineCommand(), newDirectoryCommand(), newShardCommand(), newAgentCommand(),
		newShardsCommand(), newDrainCommand(), newInitCommand(), newPlayCommand(), newICECommand(), newSignalCommand(),
	} {
		root.AddCommand(configured(cmd))
	}
	root.AddCommand(commands.New())
	return root
}

// noArguments is cobra.NoArgs with our exit code.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unexpected argument %q; see %s --help", args[0], cmd.CommandPath())
	}
	return nil
}

// version is the module's version, with the commit where it was built from one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
