// Command interop prints the table of interoperability from what go test -json says
// on standard input, and writes it as Markdown and JSON beside:
//
//	go test -json -run … ./core/relay ./scenarios/foreign | interop [DIRECTORY]
//
// It ends with 1 if a test failed, and with 2 if it read no tests or cannot write.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"p2pmodel/scenarios/interop"
	"p2pmodel/scenarios/report"
)

func main() {
	dir := "reports/interop"
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	table, err := run(os.Stdin, os.Stdout, os.Stderr, dir)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(2)
	case !table.OK():
		os.Exit(1)
	}
}

func run(in io.Reader, out, progress io.Writer, dir string) (*interop.Table, error) {
	table, err := interop.Read(in, func(r interop.Row) { fmt.Fprintln(progress, r.Line()) })
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	fmt.Fprintln(out)
	return table, errors.Join(
		table.WriteText(out),
		report.WriteFile(filepath.Join(dir, "table.md"), table.WriteMarkdown),
		report.WriteFile(filepath.Join(dir, "table.json"), table.WriteJSON),
	)
}
