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
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"p2pmodel/cmd/commands"
	"p2pmodel/sim/document"
	"p2pmodel/sim/kernel"
)

func main() {
	kernel.Init() // a child that this program started of itself never returns
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the command in good order, the second at once.
	context.AfterFunc(ctx, stop)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	os.Exit(status)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "natlab",
		Short: "Run peer-to-peer scenarios on real NATs, and prove the NATs",
		Long: `natlab builds networks out of Linux namespaces with nftables rules that behave
like any NAT of RFC 4787, proves from outside that each NAT is what it claims,
runs scenarios on them, and judges the outcome by what crossed the wires.

It needs root, or a system that permits user namespaces: natlab doctor tells. With
--fabric virtual, natlab run and matrix need neither: they run in virtual time, as
natlab explore and campaign always can.

Exit status: 0 everything as expected; 1 some verdict is not; 2 usage, bad input,
or a machine that cannot.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("natlab {{.Version}}\n")
	root.SetFlagErrorFunc(explainFlag)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newListCommand(),
		newShowCommand(),
		newRunCommand(),
		newCertifyCommand(),
		newClassifyCommand(),
		newProfilesCommand(),
		newPresetsCommand(),
		newDoctorCommand(),
		newSchemaCommand(),
		newDiagramCommand(),
		newMatrixCommand(),
		newConnectCommand(),
		newSweepCommand(),
		newExploreCommand(),
		newAgreeCommand(),
		newCampaignCommand(),
		newReportCommand(),
		commands.New(),
	)
	root.AddCommand(linuxCommands()...)
	for _, c := range root.Commands() {
		if c.Args != nil {
			c.Args = explainArguments(c.Args)
		}
	}
	return root
}

// explainArguments says what a command takes, where it got something else.
func explainArguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		got := "no argument"
		if len(args) > 0 {
			got = fmt.Sprintf("%q", args)
			got = got[1 : len(got)-1]
		}
		if strings.Contains(cmd.Use, " ") {
			return fmt.Errorf("%s: want %s%s, got %s", cmd.Name(), strings.TrimSuffix(cmd.CommandPath(), cmd.Name()), cmd.Use, got)
		}
		return fmt.Errorf("%s takes no arguments, got %s", cmd.Name(), got)
	}
}

// knownCommand is met when the first argument names no command.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(args[0], cmd.Commands())
}

// unknownCommand names the nearest of the commands that there are.
func unknownCommand(word string, commands []*cobra.Command) error {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return fmt.Errorf("no command %q%s", word, document.Suggest(word, names))
}

// flagKinds are the types of flags in words.
var flagKinds = map[string]string{
	"duration": "a duration, as 20ms, 5s or 1m30s",
	"int":      "a whole number",
	"uint64":   "a whole number from 0",
	"bool":     "true or false",
}

// explainFlag adds the nearest flag to the message about one that is unknown.
func explainFlag(cmd *cobra.Command, err error) error {
	help := fmt.Sprintf("\n%s --help lists the flags", cmd.CommandPath())
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		if want, ok := flagKinds[invalid.GetFlag().Value.Type()]; ok {
			return fmt.Errorf("--%s: want %s, got %q%s", invalid.GetFlag().Name, want, invalid.GetValue(), help)
		}
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return fmt.Errorf("%w%s", err, help)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	slices.Sort(names)
	if near, ok := document.Nearest("--"+unknown.GetSpecifiedName(), names); ok {
		return fmt.Errorf("%w; did you mean %s?%s", err, near, help)
	}
	return fmt.Errorf("%w%s", err, help)
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
