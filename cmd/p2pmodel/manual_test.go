package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"p2pmodel/core/freeport"
	"p2pmodel/core/shard/client"
)

var update = flag.Bool("update", false, "write what docs/operating.md says of flags and metrics anew")

const manual = "../../docs/operating.md"

// section gives what stands between two marks of the manual, or writes it.
func section(t *testing.T, name, want string) {
	t.Helper()
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := fmt.Sprintf("<!-- %s -->\n", name), fmt.Sprintf("<!-- end of %s -->\n", name)
	before, rest, ok1 := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("docs/operating.md has no %s … %s", begin, end)
	}
	if got == want {
		return
	}
	if *update {
		if err := os.WriteFile(manual, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("docs/operating.md does not say of %s what is so; go test ./cmd/p2pmodel -run Manual -update writes it:\n%s", name, want)
}

// configurable are the commands whose flags the manual lists.
var configurable = []string{"all", "engine", "directory", "shard", "agent", "rendezvous", "relay", "init", "token", "account", "shards", "drain"}

func TestTheManualHasEveryFlag(t *testing.T) {
	root := newRootCommand()
	var b strings.Builder
	of := map[string][]string{} // flag with its line → commands
	var order []string
	for _, name := range configurable {
		cmd, _, err := root.Find([]string{name})
		if err != nil || cmd.Name() != name {
			t.Fatalf("there is no command %s", name)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			line := flagLine(cmd, f)
			if of[line] == nil {
				order = append(order, line)
			}
			of[line] = append(of[line], name)
		})
	}
	slices.SortStableFunc(order, func(x, y string) int { return strings.Compare(strings.Trim(x, "| "), strings.Trim(y, "| ")) })
	b.WriteString("| flag | default | | of |\n|---|---|---|---|\n")
	for _, line := range order {
		fmt.Fprintf(&b, "%s %s |\n", line, strings.Join(of[line], ", "))
	}
	section(t, "flags", b.String())
}

// flagLine is a flag's row, but for the commands that have it.
func flagLine(cmd *cobra.Command, f *pflag.Flag) string {
	what, text := pflag.UnquoteUsage(f)
	name := "`--" + f.Name + "`"
	if what != "" {
		name = "`--" + f.Name + " " + what + "`"
	}
	value := f.DefValue
	if value == "[]" || value == "" || value == "0" && strings.Contains(text, "default:") || value == "0s" || value == "false" {
		value = ""
	}
	if value != "" {
		value = "`" + value + "`"
	}
	if f.Name == configFlag {
		text = "YAML file with flags' names as keys"
	}
	return fmt.Sprintf("| %s | %s | %s |", name, value, strings.ReplaceAll(text, "|", "\\|"))
}

var (
	helpLine   = regexp.MustCompile(`(?m)^# HELP (p2pmodel_[a-z_]+) (.*)$`)
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (p2pmodel_[a-z_]+) ([a-z]+)$`)
	metricName = regexp.MustCompile(`"(p2pmodel_[a-z_]+[a-z])"`)
)

func TestTheManualHasEveryMetric(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("`(p2pmodel_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = true
	}
	// Those that the sources name.
	known := map[string]bool{}
	err = filepath.Walk("../../core/shard", func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range metricName.FindAllSubmatch(source, -1) {
			known[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Those that a process shows that players have played on.
	scraped := scrape(t)
	for _, m := range helpLine.FindAllStringSubmatch(scraped, -1) {
		known[m[1]] = true
	}
	if len(known) < 40 {
		t.Errorf("only %d metrics are known", len(known))
	}
	for name := range known {
		if !documented[name] {
			t.Errorf("docs/operating.md does not have the metric %s%s", name, row(scraped, name))
		}
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("docs/operating.md has the metric %s, which nothing shows", name)
		}
	}
}

// row is what the manual would say of a metric.
func row(scraped, name string) string {
	kind, help := "", ""
	for _, m := range typeLine.FindAllStringSubmatch(scraped, -1) {
		if m[1] == name {
			kind = m[2]
		}
	}
	for _, m := range helpLine.FindAllStringSubmatch(scraped, -1) {
		if m[1] == name {
			help = m[2]
		}
	}
	return fmt.Sprintf(": | `%s` | %s | %s |", name, kind, help)
}

// scrape gives the metrics of everything in one process, after a match.
func scrape(t *testing.T) string {
	t.Helper()
	data, metrics := filepath.Join(t.TempDir(), "data"), freeport.Of(t).String()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out output
	ended := make(chan int, 1)
	go func() {
		code, _ := execute(ctx, &out, "all", "--data-dir", data, "--listen", "127.0.0.1:0", "--udp-port", fmt.Sprint(freeport.Row(t, 2)), "--metrics-listen", metrics)
		ended <- code
	}()
	agent := awaitText(t, &out, "  agent", ended)
	ca := trust(t, filepath.Join(data, "ca.crt"))
	meet(t, newGamer(t, "ann", ca, client.Account("ann", "any"), agent), newGamer(t, "bob", ca, client.Account("bob", "any"), agent))
	response, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d", code)
	}
	return text.String()
}
