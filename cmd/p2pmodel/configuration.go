package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"p2pmodel/sim/document"
)

// Names of the flags that say where other flags' values are from.
const (
	configFlag      = "config"
	printConfigFlag = "print-config"
)

// source is where the value of a flag is from; later ones win.
type source int

const (
	fromDefault source = iota
	fromFile
	fromEnvironment
	fromCommandLine
)

func (s source) String() string {
	return [...]string{"default", "file", "environment", "command line"}[s]
}

// configured gives a command's flags two more places where their values may
// stand, the environment and a file, and a way to see what results. Names are
// the same in all three.
func configured(cmd *cobra.Command) *cobra.Command {
	flags := cmd.Flags()
	flags.String(configFlag, "", fmt.Sprintf("YAML `FILE` with flags' names as keys; the environment (%s for --%s) goes before it, the command line before both",
		variable(cmd, configFlag), configFlag))
	flags.Bool(printConfigFlag, false, "print the configuration that results, and where each value is from, then end")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		sources, err := gather(cmd, os.Environ())
		if err != nil {
			return err
		}
		if on, _ := cmd.Flags().GetBool(printConfigFlag); on {
			return printConfiguration(cmd.OutOrStdout(), cmd.Flags(), sources)
		}
		return run(cmd, args)
	}
	return cmd
}

// variable is the environment's name of a flag: P2PMODEL_AGENT_LOG_LEVEL.
func variable(cmd *cobra.Command, flag string) string {
	return strings.ToUpper(strings.ReplaceAll("p2pmodel_"+cmd.Name()+"_"+flag, "-", "_"))
}

// gather gives flags that the command line leaves out the environment's value or
// the file's, and says where the value of each is from.
func gather(cmd *cobra.Command, environ []string) (map[string]source, error) {
	sources := map[string]source{}
	var errs []error
	prefix := variable(cmd, "")
	known := map[string]*pflag.Flag{} // by what follows the prefix
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		known[strings.TrimPrefix(variable(cmd, f.Name), prefix)] = f
		if f.Changed {
			sources[f.Name] = fromCommandLine
		}
	})
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours {
			continue
		}
		f, ok := known[rest]
		if !ok {
			// Somebody else's variable may begin like ours (Kubernetes makes
			// P2PMODEL_AGENT_PORT for a service); a near miss is a mistake.
			if near, ok := document.Nearest(rest, document.Sorted(known)); ok {
				errs = append(errs, usage("the environment's %s is no flag of %s; did you mean %s?", name, cmd.CommandPath(), prefix+near))
			}
			continue
		}
		if sources[f.Name] != fromDefault {
			continue
		}
		if err := set(f, value); err != nil {
			errs = append(errs, usage("the environment's %s=%q: %w", name, value, err))
		}
		sources[f.Name] = fromEnvironment
	}
	if err := errors.Join(errs...); err != nil {
		return nil, usageError{err}
	}
	if file := cmd.Flags().Lookup(configFlag).Value.String(); file != "" {
		if err := readConfiguration(cmd.Flags(), file, sources); err != nil {
			return nil, err
		}
	}
	expandCredentials(cmd.Flags())
	return sources, nil
}

// readConfiguration takes values of flags from a file. All that is wrong with it
// is told at once, each with its place.
func readConfiguration(flags *pflag.FlagSet, file string, sources map[string]source) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return usage("--%s: %w", configFlag, err)
	}
	doc, err := document.Parse(file, text)
	if err != nil {
		return usageError{err}
	}
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != configFlag && f.Name != printConfigFlag && f.Name != "help" {
			names = append(names, f.Name)
		}
	})
	for _, node := range doc.Root().Map(names...).Entries() {
		f := flags.Lookup(node.Name())
		if f == nil {
			continue // an unknown key, which is told already
		}
		values, ok := valuesOf(node)
		if !ok || sources[f.Name] > fromFile {
			continue
		}
		if isFileName(f) {
			for i, name := range values {
				values[i] = besides(file, name)
			}
		}
		if err := setAll(f, values, node.Kind() == document.List); err != nil {
			node.Errorf("%s: %v", f.Name, err)
		}
		sources[f.Name] = fromFile
	}
	if err := doc.Err(); err != nil {
		return usageError{err}
	}
	return nil
}

// valuesOf takes a scalar or a list of scalars as text.
func valuesOf(node *document.Node) (values []string, ok bool) {
	switch node.Kind() {
	case document.Bool:
		return []string{strconv.FormatBool(node.Bool())}, true
	case document.Number, document.Text:
		return []string{node.Text()}, true
	case document.List:
		before := node.Errors()
		values = node.Texts()
		return values, node.Errors() == before
	}
	node.Errorf("%s: want a value or a list of values, not %s", node.Name(), node.Kind())
	return nil, false
}

// set gives a flag a value as the command line would; lists are separated by
// commas.
func set(f *pflag.Flag, value string) error {
	if _, ok := f.Value.(pflag.SliceValue); ok {
		var values []string
		for _, v := range strings.Split(value, ",") {
			if v = strings.TrimSpace(v); v != "" {
				values = append(values, v)
			}
		}
		return setAll(f, values, true)
	}
	return setAll(f, []string{value}, false)
}

func setAll(f *pflag.Flag, values []string, list bool) (err error) {
	slice, isSlice := f.Value.(pflag.SliceValue)
	switch {
	case isSlice:
		err = slice.Replace(values)
	case list:
		return errors.New("want one value, not a list")
	default:
		err = f.Value.Set(values[0])
	}
	f.Changed = true
	return err
}

// isFileName reports whether a flag names a file or a folder, as its help says:
// `FILE`.
func isFileName(f *pflag.Flag) bool {
	what, _ := pflag.UnquoteUsage(f)
	what = strings.ToLower(what)
	return what == "file" || what == "folder"
}

// besides takes a file name of a configuration file as relative to that file, so
// that a folder of files can be moved.
func besides(config, name string) string {
	if name == "" || filepath.IsAbs(name) || strings.HasPrefix(name, credentialsPrefix) {
		return name
	}
	return filepath.Join(filepath.Dir(config), name)
}

// credentialsPrefix begins file names below the folder in which systemd gives a
// unit its credentials.
const credentialsPrefix = "$CREDENTIALS_DIRECTORY/"

func expandCredentials(flags *pflag.FlagSet) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	flags.VisitAll(func(f *pflag.Flag) {
		if rest, ok := strings.CutPrefix(f.Value.String(), credentialsPrefix); ok && isFileName(f) && dir != "" {
			_ = f.Value.Set(filepath.Join(dir, rest))
		}
	})
}

// printConfiguration prints a configuration file that says the same. Secrets are
// in files, of which it has the names.
func printConfiguration(w io.Writer, flags *pflag.FlagSet, sources map[string]source) error {
	var err error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == configFlag || f.Name == printConfigFlag || f.Name == "help" {
			return
		}
		text := f.Value.String()
		switch v := f.Value.(type) {
		case pflag.SliceValue:
			var quoted []string
			for _, s := range v.GetSlice() {
				quoted = append(quoted, strconv.Quote(s))
			}
			text = "[" + strings.Join(quoted, ", ") + "]"
		default:
			if f.Value.Type() == "string" {
				text = strconv.Quote(text)
			}
		}
		if _, e := fmt.Fprintf(w, "%s: %s # %v\n", f.Name, text, sources[f.Name]); err == nil {
			err = e
		}
	})
	return err
}
