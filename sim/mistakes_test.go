package sim

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"p2pmodel/sim/document"
)

// mistake is what a person may do to a line of a lab's file.
type mistake struct {
	what    string
	at      *regexp.Regexp
	instead string
	// elsewhere says that the error may be found on another line.
	elsewhere bool
}

// value is one that is no list and no mapping, and not quoted.
const value = `[^][{}",]+`

var mistakes = []mistake{
	{"unknown key", regexp.MustCompile(`\b(nat|behind|uplinks|addresses|active|firewall|up|down|delay|jitter|loss|duplicate|corrupt|burst|overtake|wander|rate|trace|queue|mtu|size|icmp|every|share|gap|inbound|reject|portal|allow|between|from|to|udp|tcp): `), "$1-of-old: ", false},
	{"a mapping for a word", regexp.MustCompile(`\b(nat|behind|addresses|active|delay|jitter|loss|duplicate|corrupt|rate|queue|inbound|reject|from|to): ` + value), "$1: {of: 1}", false},
	{"a list for a word", regexp.MustCompile(`\b(nat|behind|addresses|active|delay|jitter|loss|duplicate|corrupt|rate|queue|mtu): ` + value), "$1: [1, 2]", false},
	{"a word for a mapping", regexp.MustCompile(`(?m)\b(uplinks|up|down|wander|burst): \{.*$`), "$1: 17.5}", false},
	{"too many addresses", regexp.MustCompile(`addresses: \d+`), "addresses: 17", false},
	{"no addresses", regexp.MustCompile(`addresses: \d+`), "addresses: none", false},
	{"a time before", regexp.MustCompile(`\b(delay|jitter): ` + value), "$1: -1ms", false},
	{"a time without a unit", regexp.MustCompile(`\b(delay|jitter|every): ` + value), "$1: 20", false},
	{"more than all", regexp.MustCompile(`\b(loss|duplicate|corrupt): ` + value), "$1: 100.5%", false},
	{"less than none", regexp.MustCompile(`\b(loss|duplicate|corrupt|p|r): ` + value), "$1: -1%", false},
	{"no rate", regexp.MustCompile(`\brate: ` + value), "rate: 0", false},
	{"an MTU for nothing", regexp.MustCompile(`\bmtu: \d+`), "mtu: 20", false},
	{"a trace that is not there", regexp.MustCompile(`trace: "[^"]+"`), "trace: /nowhere/at.all", false},
	{"a port of none", regexp.MustCompile(`\b(udp|tcp): \[[^]]*\]`), "$1: [70000]", false},
	{"a range backwards", regexp.MustCompile(`range=\d+-\d+`), "range=4000-1", false},
	{"an unknown axis", regexp.MustCompile(`nat: "mapping=`), `nat: "mappings=`, false},
	{"an unknown value", regexp.MustCompile(`filtering=\w+`), `filtering=APDM`, false},
	{"an unknown preset", regexp.MustCompile(`nat: [a-z]` + value), `nat: full-conne`, false},
	{"an unknown profile", regexp.MustCompile(`(?m)^(    [a-z0-9/]+): [a-z0-9-]+$`), `$1: wifi-worst`, false},
	{"behind nothing", regexp.MustCompile(`behind: \w+`), "behind: nowhere", false},
	{"behind a host", regexp.MustCompile(`(?m)^    h0: .*$`), "    h0: {behind: h0}", false},
	{"no such uplink", regexp.MustCompile(`active: \w+`), "active: 9g", false},
	{"a rule about nobody", regexp.MustCompile(`\b(from|to): \w+`), "$1: nobody", false},
	{"a link of nobody", regexp.MustCompile(`(?m)^    [a-z0-9/]+: (.*(delay|loss|rate|wander|burst).*)$`), "    nobody: $1", false},
	{"the same twice", regexp.MustCompile(`(?m)^    .*$`), "$0\n$0", false},
	{"a section twice", regexp.MustCompile(`(?m)^  (routers|hosts|links):\n(    .*\n)`), "$0  $1:\n$2", true},
	{"an unknown section", regexp.MustCompile(`(?m)^  (routers|hosts|links):`), "  ${1}s:", false},
	{"a brace too few", regexp.MustCompile(`(?m)\}$`), "", true},
	{"a brace too many", regexp.MustCompile(`(?m)\}$`), "}}", true},
	{"a tab", regexp.MustCompile(`(?m)^    `), "\t", true},
	{"an anchor", regexp.MustCompile(`(?m)^    (\w+): `), "    $1: *nothing ", true},
}

// TestMistakesInRandomLabsAreRefusedWithTheirPlace spoils one line of a valid
// lab's file.
func TestMistakesInRandomLabsAreRefusedWithTheirPlace(t *testing.T) {
	met := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		text := string(labs().Draw(t, "lab").YAML())
		// Each kind of mistake has the same chance, however many places it has.
		var possible []mistake
		for _, m := range mistakes {
			if m.at.MatchString(text) {
				possible = append(possible, m)
			}
		}
		s := rapid.SampledFrom(possible).Draw(t, "mistake")
		at := rapid.SampledFrom(s.at.FindAllStringSubmatchIndex(text, -1)).Draw(t, "place")
		spoiled := text[:at[0]] + string(s.at.ExpandString(nil, s.instead, text, at)) + text[at[1]:]
		if spoiled == text {
			return // it was like that before
		}
		line := 1 + strings.Count(text[:at[0]], "\n")
		if s.what == "the same twice" {
			line++
		}
		lab, err := ParseLab("lab.yaml", []byte(spoiled))
		if err == nil {
			t.Fatalf("%s in line %d is not refused:\n%s\nas read:\n%s", s.what, line, spoiled, lab.YAML())
		}
		var all document.Errors
		if !errors.As(err, &all) || len(all) == 0 {
			t.Fatalf("%s in line %d: the error has no place: %v", s.what, line, err)
		}
		there := s.elsewhere
		for _, e := range all {
			there = there || e.Line == line
			if place := fmt.Sprintf("lab.yaml:%d:%d: ", e.Line, e.Column); e.Line < 1 || e.Column < 1 || !strings.Contains(err.Error(), place) {
				t.Fatalf("%s in line %d: the error has no place: %v", s.what, line, err)
			}
		}
		if !there {
			t.Fatalf("%s in line %d of\n%s\nis told of as of another: %v", s.what, line, spoiled, err)
		}
		met[s.what]++
	})
	var unmet []string
	for _, m := range mistakes {
		if met[m.what] == 0 {
			unmet = append(unmet, m.what)
		}
	}
	t.Logf("%d of %d kinds of mistakes were met; not %q", len(met), len(mistakes), unmet)
}
