package capsule

import (
	"fmt"
	"strings"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
)

// readme is the capsule's README.md: for whoever finds the file, and nothing else.
func readme(m *Manifest, res *scenarios.Result) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# %s is %s\n", m.ID, m.Verdict)
	line("%s\n", report.Plain(m.Title))
	line("%s\n", verdictWords[m.Verdict])
	line("> %s\n", report.Plain(m.Reason))
	for _, c := range res.Controls {
		if c.Verdict != scenarios.Expected {
			line("- The control *%s* is %s: %s", report.Plain(c.Name), c.Verdict, report.Plain(c.Reason))
		}
	}
	line("\n## Run it again\n\n```sh\n%s\n```\n", m.Replay)
	line("This runs `%s` with seed %d%s. Flags of `natlab run` that are given win. `natlab show` in the place of", scenarioEntry, m.Seed, manner(m))
	if m.Fabric == kernelFabric {
		line("`natlab run` draws it. Keys, payload and losses follow the seed; the order of events on a kernel does not, so a")
		line("failure of timing may need `--repeat 20`.\n")
	} else {
		line("`natlab run` draws it. It ran in virtual time, where the seed fixes everything: the same version of natlab comes to the same.\n")
	}
	line("It was made on %s by %s.\n", m.Made.Format("2006-01-02 at 15:04:05 MST"), m.Versions)
	line("## What is in it\n")
	line("| file | |\n|---|---|")
	line("| `%s` | the scenario, as it was read from %s |", scenarioEntry, report.Plain(m.Scenario.File))
	for _, r := range m.Scenario.Referred {
		line("| `%s` | the file that the scenario calls %s |", r.Entry, report.Plain(r.Name))
	}
	line("| `%s` | how it was run, by which versions, the verdict |", manifestEntry)
	line("| `%s` | the outcome, as `natlab run --report` writes it |", resultsEntry)
	for _, r := range m.Runs {
		what := "the scenario's own run"
		if r.Control != "" {
			what = fmt.Sprintf("the run of the control *%s*, which is %s", report.Plain(r.Control), r.Verdict)
		}
		line("| `%s/` | %s |", r.Folder, what)
	}
	b.WriteString(inARun)
	if len(m.Notes) > 0 {
		line("\n## What is not in it\n")
		for _, n := range m.Notes {
			line("- %s", report.Plain(n))
		}
	}
	return b.String()
}

// verdictWords say what a verdict means to somebody who reads it for the first
// time.
var verdictWords = map[scenarios.Verdict]string{
	scenarios.Expected:   "What had to happen did.",
	scenarios.Unexpected: "Something else happened than the scenario, or the model of its NATs, says must happen.",
	scenarios.Vacuous:    "What had to happen did, but it proves nothing.",
	scenarios.Broken:     "The laboratory failed, so this says nothing of the system that it tried.",
}

func manner(m *Manifest) string {
	var s string
	if m.Fabric != kernelFabric {
		s = fmt.Sprintf(" on the %s fabric", m.Fabric)
	}
	switch {
	case m.RealTime:
		s += ", in real time"
	case m.Scale > 1:
		s += fmt.Sprintf(", times divided by %d", m.Scale)
	}
	if m.SkipControls {
		s += ", without controls"
	}
	return s
}

// inARun says what the files of a run are.
const inARun = `
In the folder of a run:

| file | |
|---|---|
| ` + "`diagram.svg`, `diagram.mmd`" + ` | the network, as a drawing and for Mermaid |
| ` + "`ladder.html`" + ` | what crossed the wires, packet by packet, with addresses before and after each NAT; open it in a browser |
| ` + "`packets.pcapng`" + ` | the packets: open it with Wireshark, or ` + "`tshark -r packets.pcapng`" + `. Each interface is a place of the network: ` + "`nat-a:uplink`" + ` is the outside of nat-a; ` + "`frame.interface_name == \"nat-a:uplink\"`" + ` shows that one alone |
| ` + "`drops.json`" + ` | packets that died: when, where, by which rule, why |
| ` + "`mappings/ROUTER.txt`" + ` | what the NAT had in its table at the end, and the history of its mappings |
| ` + "`mappings.json`" + ` | that history for programs |
| ` + "`rules/ROUTER.txt`" + ` | the router's nftables rules, with counters |
| ` + "`log.txt`, `evidence.txt`" + ` | what laboratory, peers, servers and programs said; the sentences on which the verdict stands |
| ` + "`programs/NAME.txt`" + ` | what a program printed |
`
