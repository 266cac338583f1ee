package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"p2pmodel/scenarios"
)

// skipping is a report of one run and two scenarios that were skipped.
func skipping(t *testing.T) *scenarios.Report {
	t.Helper()
	rep := reportOf(good(t))
	rep.Fabric = "virtual"
	rep.Skipped = []scenarios.Skipped{
		{ID: "PRG-01", Reason: "it runs programs (server, client), and those live in the machine's time: only the kernel fabric runs them", Scenario: find(t, "PRG-01")},
		{ID: "SH-02", Reason: "its servers are <processes>"},
	}
	return rep
}

func TestTableTellsOfWhatWasSkipped(t *testing.T) {
	got := render(skipping(t), 80)
	for _, want := range []string{
		"✓  TC-01  expected  direct",
		"–  skipped PRG-01: it runs programs (server, client),",
		"–  skipped SH-02: its servers are <processes>\n",
		"\n1 of 1 scenario as expected; 2 skipped\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, line := range strings.Split(got, "\n") {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
}

// Many have the same reason, which is told once.
func TestReasonsAreToldOnce(t *testing.T) {
	rep := reportOf()
	skip := func(reason string, ids ...string) {
		for _, id := range ids {
			rep.Skipped = append(rep.Skipped, scenarios.Skipped{ID: id, Reason: reason})
		}
	}
	skip("it runs programs (echo), which nobody can", "EV-05")
	skip("it runs programs (server, client), which nobody can", "PRG-01", "PRG-02", "PRG-03", "PRG-05")
	skip("its servers (system:) are processes", "SH-01", "SH-02", "mine", "mine-8", "SH-09", "SH-10")
	want := "–  skipped EV-05, PRG-01…PRG-03, PRG-05, each: it runs programs, which nobody can\n" +
		"–  skipped SH-01, SH-02, mine, mine-8, SH-09, SH-10, each: its servers (system:) are processes\n"
	if got := render(rep, 120); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEveryFileOfAReportTellsOfWhatWasSkipped(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, skipping(t)); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var results struct{ Skipped []map[string]string }
	if err := json.Unmarshal([]byte(read(resultsFile)), &results); err != nil {
		t.Fatal(err)
	}
	if s := results.Skipped; len(s) != 2 || len(s[0]) != 2 || s[0]["id"] != "PRG-01" || !strings.HasPrefix(s[0]["reason"], "it runs programs") {
		t.Errorf("results.json has %v", s)
	}
	for name, want := range map[string][]string{
		summaryFile: {"– **PRG-01** was skipped: It runs programs", "its servers are &lt;processes&gt;", "; 2 skipped"},
		junitFile:   {`skipped="2"`, "PRG-01 iperf3 through a NAT", `failures="0"`},
		indexFile:   {"<summary>Skipped: 2</summary>", "PRG-01<small>iperf3 through a NAT</small>", "Its servers are &lt;processes&gt;."},
	} {
		got := read(name)
		for _, w := range want {
			if !strings.Contains(strings.ToLower(got), strings.ToLower(w)) {
				t.Errorf("%s has no %q", name, w)
			}
		}
	}
}

func TestACommandNamesItsFabric(t *testing.T) {
	rep := skipping(t)
	if got := Replay(rep, rep.Scenarios[0]); got != "natlab run TC-01 --seed 7 --fabric virtual" {
		t.Errorf("the command is %q", got)
	}
	rep.Fabric = "kernel"
	if got := Replay(rep, rep.Scenarios[0]); got != "natlab run TC-01 --seed 7" {
		t.Errorf("the command is %q", got)
	}
}
