// Package commands makes the page of the documents that has the commands of a
// program, with their flags, from the commands themselves.
package commands

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// New is the hidden command that prints a program's part of the page.
func New() *cobra.Command {
	return &cobra.Command{
		Use:    "reference",
		Short:  "Print the reference of all commands, in Markdown",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(Page(cmd.Root()))
			return err
		},
	}
}

// Page describes a program and all of its commands that are not hidden.
func Page(root *cobra.Command) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "## %s\n\n", root.Name())
	describe(&out, root)
	for _, cmd := range root.Commands() {
		if cmd.Hidden || !cmd.IsAvailableCommand() || cmd.Name() == "help" {
			continue
		}
		fmt.Fprintf(&out, "### %s\n\n%s.\n\n", cmd.CommandPath(), escape(cmd.Short))
		fmt.Fprintf(&out, "    %s\n\n", cmd.UseLine())
		describe(&out, cmd)
		examples(&out, cmd)
		flags(&out, cmd)
	}
	return out.Bytes()
}

// describe writes what a command says of itself at length: paragraphs, and what is
// indented as it is.
func describe(out *bytes.Buffer, cmd *cobra.Command) {
	if cmd.Long == "" {
		return
	}
	indented := false
	for _, line := range strings.Split(strings.TrimSpace(cmd.Long), "\n") {
		is := strings.HasPrefix(line, "  ")
		switch {
		case is && !indented:
			out.WriteString("```text\n")
		case !is && indented:
			out.WriteString("```\n")
		}
		indented = is
		if is {
			fmt.Fprintf(out, "%s\n", line[2:])
		} else {
			fmt.Fprintf(out, "%s\n", escape(line))
		}
	}
	if indented {
		out.WriteString("```\n")
	}
	out.WriteString("\n")
}

func examples(out *bytes.Buffer, cmd *cobra.Command) {
	if cmd.Example == "" {
		return
	}
	out.WriteString("```console\n")
	for _, line := range strings.Split(strings.Trim(cmd.Example, "\n"), "\n") {
		fmt.Fprintf(out, "%s\n", strings.TrimPrefix(line, "  "))
	}
	out.WriteString("```\n\n")
}

func flags(out *bytes.Buffer, cmd *cobra.Command) {
	rows := 0
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if rows == 0 {
			out.WriteString("| flag | default | |\n|---|---|---|\n")
		}
		rows++
		kind, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if kind != "" {
			name += " " + strings.ToUpper(kind)
		}
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		def := f.DefValue
		switch def {
		case "false", "[]", "", "0", "0s":
			def = ""
		default:
			def = "`" + def + "`"
		}
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", name, cell(def), cell(escape(usage)))
	})
	if rows > 0 {
		out.WriteString("\n")
	}
}

// escape keeps what Markdown would take for marks.
func escape(text string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "_", `\_`, "[", `\[`).Replace(text)
}

func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}
