package campaign

import (
	"bytes"
	"encoding/csv"
	"regexp"
	"strings"
	"testing"
)

// The page needs nothing but itself, and says all that a campaign has to say.
func TestThePage(t *testing.T) {
	p := smallPopulation(t)
	r := run(t, Campaign{Population: p, Trials: 3000, Seed: 1, stage: stageForetold})
	_, _, html := files(t, r)
	for _, want := range []string{
		"What becomes of pairs", "How fast", "What it costs", "Hard NATs", "What hangs on the weights", "Published figures", "The population",
		"What the model cannot know", "Theory, not measured", "Measured: 0 predicted", "and derived from it", "battery", "99.97 %",
		"GB</b>leave the relay", "EUR", "not modelled", "prefers-color-scheme: dark",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	if n := strings.Count(html, "<svg "); n != 4 {
		t.Errorf("%d drawings, want 4", n)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if m[1] != jsonFile && m[1] != csvFile {
			t.Errorf("the page refers to %s", m[1])
		}
	}
	if m := regexp.MustCompile(`NaN|Inf|%!|&lt;nil`).FindString(html); m != "" {
		t.Errorf("the page has %s", m)
	}
}

// What a file says is shown as text.
func TestThePageEscapes(t *testing.T) {
	p, err := Parse("evil.yaml", []byte(strings.NewReplacer("Homes and phones", `"<script>alert(1)</script>"`, "wifi: {weight: 50", `wifi: {weight: 50, link: wifi`).Replace(small)))
	if err != nil {
		t.Fatal(err)
	}
	_, _, html := files(t, run(t, Campaign{Population: p, Trials: 300, stage: stageForetold}))
	if strings.Contains(html, "<script>") {
		t.Error("a title became a script")
	}
}

func TestTheTables(t *testing.T) {
	p := smallPopulation(t)
	r := run(t, Campaign{Population: p, Trials: 3000, Seed: 1, stage: stageForetold})
	_, text, _ := files(t, r)
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) != 1+len(r.Counts.Cells) {
		t.Errorf("%v: %d rows, want one for each of %d pairs", err, len(rows), len(r.Counts.Cells))
	}
	var terminal, list, known bytes.Buffer
	if err := r.WriteText(&terminal); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"OUTCOME", "TIME TO", "home ↔ phone", "home, one home", "relay ", "EUR at 0.1 a GB", "keepalive, direct", "in theory", "home/symmetric", "dcutr-2025"} {
		if !strings.Contains(terminal.String(), want) {
			t.Errorf("the terminal does not show %q:\n%s", want, &terminal)
		}
	}
	if err := WriteCatalogue(&list); err != nil || !strings.Contains(list.String(), "field-study") {
		t.Errorf("%v\n%s", err, &list)
	}
	if err := WriteFigures(&known); err != nil || !strings.Contains(known.String(), "ford-2005") {
		t.Errorf("%v\n%s", err, &known)
	}
}
