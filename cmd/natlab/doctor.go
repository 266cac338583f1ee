package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios"
	"p2pmodel/sim/kernel"
)

func newDoctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine lacks for the laboratory, and what mends it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := cmd.OutOrStdout()
			able := true
			tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			for _, c := range kernel.Doctor() {
				fmt.Fprintf(tw, "%s\t%s\t%s\n", c.State, c.Name, c.Detail)
				if c.Mend != "" {
					fmt.Fprintf(tw, "\t\t→ %s\n", c.Mend)
				}
				able = able && !c.Fatal()
			}
			if err := tw.Flush(); err != nil {
				return err
			}
			if !able {
				return fmt.Errorf("this machine cannot run the laboratory yet: see the lines marked above")
			}
			fmt.Fprintln(w, "\nthis machine can run the laboratory")
			return nil
		},
	}
}

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of scenario files, for editors",
		Example: `  natlab schema > scenario.schema.json
  # first line of a scenario file, for the YAML language server:
  # yaml-language-server: $schema=scenario.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(scenarios.Schema())
		},
	}
}

func newRootlessCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rootless -- COMMAND [ARG …]",
		Short: "Run a command as root of new user, network and mount namespaces",
		Long: `Run a command as root of new user, network and mount namespaces, where the
system permits them: natlab itself and the test suites need no more than that.
For root the command runs as it is.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := kernel.Enter(); err != nil {
				return err
			}
			path, err := exec.LookPath(args[0])
			if err != nil {
				return err
			}
			signal.Reset()
			if err := syscall.Exec(path, args, os.Environ()); err != nil {
				return fmt.Errorf("run %s: %w", path, err)
			}
			return nil
		},
	}
}
