// Command natlab is the laboratory's command line: it runs scenarios on real
// NATs made of Linux namespaces and nftables, certifies NAT behaviours, and says
// what a machine lacks for either.
//
// Exit status: 0 everything as expected; 1 some verdict is not; 2 usage, bad
// input, or a machine that cannot.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"p2pmodel/sim/kernel"
)

// Exit statuses.
const (
	exitOK         = 0
	exitUnexpected = 1
	exitUnable     = 2
)

// errUnexpected ends a command whose outcome has been printed already.
var errUnexpected = errors.New("not everything was as expected")

func main() {
	kernel.Init() // a child that this program started of itself never returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is main with everything passed in; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUnexpected):
		return exitUnexpected
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "natlab: interrupted; everything has been taken down")
		return exitUnable
	default:
		fmt.Fprintf(stderr, "natlab: %v\n", err)
		return exitUnable
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "natlab",
		Short: "Run peer-to-peer scenarios on real NATs, and prove the NATs",
		Long: `natlab builds networks out of Linux namespaces with nftables rules that behave
like any NAT of RFC 4787, proves from outside that each NAT is what it claims,
runs scenarios on them, and judges the outcome by what crossed the wires.

It needs root, or a system that permits user namespaces: natlab doctor tells.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("natlab {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newListCommand(), newShowCommand(), newRunCommand(), newCertifyCommand(),
		newDoctorCommand(), newSchemaCommand(), newRootlessCommand(),
	)
	return root
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v, revision, modified := info.Main.Version, "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	if revision != "" && v == "devel" {
		v += " " + revision + modified
	}
	return v + " " + info.GoVersion
}
