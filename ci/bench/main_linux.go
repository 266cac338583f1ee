package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"p2pmodel/ci/bench/forward"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "bench", Short: "Measure systems beside each other",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(newRelayCommand(), newConnectCommand(), newLabCommand(), newVirtualCommand(), newAgentCommand(), newGoCommand(), newPageCommand(), newForwardCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(exitCode(err))
	}
}

// usageError is a mistake of the command line: code 2.
type usageError struct{ error }

func exitCode(err error) int {
	var u usageError
	if errors.As(err, &u) {
		return 2
	}
	return 1
}

func newForwardCommand() *cobra.Command {
	var f forward.Forwarder
	var manner, listen, to, relayed string
	cmd := &cobra.Command{
		Use: "forward", Short: "Forward datagrams and do nothing else: what `bench relay` measures as the ceiling", Hidden: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			f.Manner = forward.Manner(manner)
			var errs [3]error
			f.Listen, errs[0] = netip.ParseAddrPort(listen)
			f.To, errs[1] = netip.ParseAddrPort(to)
			f.Relayed, errs[2] = netip.ParseAddr(relayed)
			if err := errors.Join(errs[:]...); err != nil {
				return usageError{err}
			}
			return f.Run(cmd.Context(), func() { fmt.Println("listening on", f.Listen) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&manner, "manner", string(forward.Plain), "how: plain, batched or offloaded")
	flags.StringVar(&listen, "listen", "", "`IP:PORT` that clients come to")
	flags.StringVar(&to, "to", "", "`IP:PORT` that all is forwarded to")
	flags.StringVar(&relayed, "relayed", "", "`IP` that it is forwarded from")
	flags.BoolVar(&f.OneSocket, "one-socket", false, "forward from one socket, not from one for each client")
	flags.BoolVar(&f.Ports, "ports", false, "with --one-socket: mark what is sent with a port of each client")
	return cmd
}
