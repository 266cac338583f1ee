package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"p2pmodel/ci/bench/measure"
)

// chapters are the parts in the order of the page; others come after them.
var chapters = []string{"relay", "relay-kernel", "connect", "lab", "lab-curve", "virtual", "agent", "go"}

func newPageCommand() *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use: "page", Short: "Make one page of all that has been measured",
		Long: `Make one page, index.html, with plots of all that has been measured: of the files NAME.json that
the other commands have left in the folder.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			parts, err := measure.Read(folder, chapters...)
			if err != nil {
				return err
			}
			if len(parts) == 0 {
				return usageError{fmt.Errorf("%s has nothing that was measured: run the other commands with --report %s first", folder, folder)}
			}
			var page bytes.Buffer
			if err := measure.Page(&page, parts); err != nil {
				return err
			}
			file := filepath.Join(folder, "index.html")
			if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
				return err
			}
			fmt.Println(file)
			return nil
		},
	}
	reportFlag(cmd, &folder)
	return cmd
}

// reportFlag is where all commands leave what they measured.
func reportFlag(cmd *cobra.Command, folder *string) {
	cmd.Flags().StringVar(folder, "report", "reports/bench", "the `folder` of what was measured")
}

// finish writes a part for people and into the folder, if there is one.
func finish(folder string, p *measure.Part) error {
	var err error
	if folder != "" {
		err = p.Write(folder)
	}
	return errors.Join(p.WriteText(os.Stdout), err)
}

func say(what string) { fmt.Fprintln(os.Stderr, "bench:", what) }

// inFolder has something measured that builds programs, in a folder that is gone
// afterwards.
func inFolder(report string, do func(dir string) (*measure.Part, error)) error {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := do(dir)
	if err != nil {
		return err
	}
	return finish(report, p)
}
