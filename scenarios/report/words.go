package report

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"p2pmodel/scenarios"
)

// MustHappen says in a few words what a scenario expects.
func MustHappen(sc *scenarios.Scenario) string {
	paths := make([]scenarios.Path, len(sc.Phases))
	for i, p := range sc.Phases {
		paths[i] = p.Expect.Path
	}
	return pathsWords(paths)
}

// pathWord is a path in a word; a dash where there are no peers.
func pathWord(p scenarios.Path) string {
	if p == scenarios.NoPath {
		return "–"
	}
	return string(p)
}

// pathsWords writes paths one after the other: "relay → direct ×2 → relay".
func pathsWords(paths []scenarios.Path) string {
	var parts []string
	for i := 0; i < len(paths); {
		n := 1
		for i+n < len(paths) && paths[i+n] == paths[i] {
			n++
		}
		text := pathWord(paths[i])
		if n > 1 {
			text += fmt.Sprintf(" ×%d", n)
		}
		parts = append(parts, text)
		i += n
	}
	return strings.Join(parts, " → ")
}

// pathWords says which path was observed, in each phase if there are several.
func pathWords(res *scenarios.Result) string {
	if len(res.Phases) < 2 {
		return pathWord(res.Observed.Path)
	}
	paths := make([]scenarios.Path, len(res.Phases))
	for i, p := range res.Phases {
		paths[i] = p.Observed
	}
	return pathsWords(paths)
}

// expectedWords says which path had to come, in each phase if there are several.
func expectedWords(res *scenarios.Result) string {
	if len(res.Phases) < 2 {
		return pathWord(res.Expected.Path)
	}
	paths := make([]scenarios.Path, len(res.Phases))
	for i, p := range res.Phases {
		paths[i] = p.Expected
	}
	return pathsWords(paths)
}

// pathVerdict says which path came, and which should have where they differ.
func pathVerdict(res *scenarios.Result) string {
	observed, expected := pathWords(res), expectedWords(res)
	if observed == expected {
		return observed
	}
	return observed + ", not " + expected
}

// goodControls counts the controls that came out as they have to.
func goodControls(res *scenarios.Result) (good int) {
	for _, c := range res.Controls {
		if c.Verdict == scenarios.Expected {
			good++
		}
	}
	return good
}

func controlWords(res *scenarios.Result) string {
	good, all := goodControls(res), plural(len(res.Controls), "control", "controls")
	switch {
	case len(res.Controls) == 0:
		return "no controls"
	case good == len(res.Controls):
		return all + " as expected"
	}
	return fmt.Sprintf("%d of %s as expected", good, all)
}

// Millis writes a time of a report; a dash where it never came.
func Millis(ms float64) string {
	switch {
	case ms < 0:
		return "–"
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return Seconds(ms)
}

// gap is Millis for what a phase without a change has not.
func gap(ms float64) string {
	if ms == 0 {
		return "–"
	}
	return Millis(ms)
}

// Seconds writes milliseconds as seconds: "2.9 s".
func Seconds(ms float64) string { return fmt.Sprintf("%.1f s", ms/1000) }

// kernelFabric is the one that commands mean where they name none.
const kernelFabric = "kernel"

// Replay is the command that runs a result's scenario again in the same way.
func Replay(rep *scenarios.Report, res *scenarios.Result) string {
	name := res.ID
	if res.Scenario != nil {
		name = replayName(res.Scenario)
	}
	command := fmt.Sprintf("natlab run %s --seed %d", name, res.Seed)
	if rep.Fabric != "" && rep.Fabric != kernelFabric {
		command += " --fabric " + rep.Fabric
	}
	if rep.RealTime {
		command += " --real-time"
	}
	return command
}

// shellWord quotes text for a shell if it needs to be.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:,@%", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// actionWords says what an action does.
func actionWords(a scenarios.Action) string {
	if a.Event.Kind != "" {
		return eventWords(a.Event)
	}
	switch a.Kind {
	case scenarios.ActRestart:
		if peer, ok := a.PeerOf(); ok {
			return peer + " restarts"
		}
		return "the " + a.Target + " restarts"
	case scenarios.ActStop:
		return "the " + a.Target + " stops"
	case scenarios.ActQuiet:
		return "no payload for " + durationWords(a.For)
	case scenarios.ActWait:
		return "payload flows for " + durationWords(a.For)
	case scenarios.ActSend:
		return fmt.Sprintf("%s alone sends %s", a.Target, plural(a.Count, "datagram", "datagrams"))
	}
	return systemActionWords(a)
}

func actionsWords(actions []scenarios.Action) string {
	words := make([]string, len(actions))
	for i, a := range actions {
		words[i] = actionWords(a)
	}
	return strings.Join(words, "; ")
}

// expectWords says what a phase expects.
func expectWords(e scenarios.Expect) string {
	text := string(e.Path)
	if e.Path == scenarios.NoPath {
		return strings.TrimPrefix(programExpectWords(e), ", ")
	}
	for _, peer := range slices.Sorted(maps.Keys(e.Mapping)) {
		text += fmt.Sprintf(", %s's mapping %s", peer, e.Mapping[peer])
	}
	if e.Gap > 0 {
		text += fmt.Sprintf(", silent for %v at most", e.Gap)
	}
	if e.Probes > 0 {
		text += fmt.Sprintf(", %d ports probed at most", e.Probes)
	}
	if e.Reaches != "" {
		text += ", payload dies at " + e.Reaches
	}
	return text + systemExpectWords(e) + programExpectWords(e)
}

func natWords(c scenarios.NATChoice) string {
	if c.Preset != "" {
		return c.Preset
	}
	return c.Behavior.String()
}

// durationWords writes minutes as seconds: timeouts are told in seconds, and
// 150s compares with 30s better than 2m30s.
func durationWords(d time.Duration) string {
	if d >= time.Minute && d < 10*time.Minute {
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
	}
	return d.String()
}
