package report

import (
	"strings"
	"testing"
	"unicode/utf8"

	"p2pmodel/scenarios"
)

func render(rep *scenarios.Report, width int) string {
	var b strings.Builder
	table(&b, rep, width, false)
	return b.String()
}

func TestTable(t *testing.T) {
	const want = `   ID     VERDICT   PATH    1ST BYTE  DIRECT  CONTROLS  TOOK   TITLE
✓  TC-01  expected  direct  81 ms     82 ms   1/1       1.2 s  Full cone ↔ full cone

1 of 1 scenario as expected
`
	if got := render(reportOf(good(t)), 120); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTableExplainsWhatFailed(t *testing.T) {
	got := render(reportOf(good(t), roaming(t), random(t), failed(t)), 100)
	for _, want := range []string{
		"✗  TC-06  unexpected  relay ×2 → direct",
		"○  TC-07  vacuous     relay",
		"!  TC-03  broken      none, not relay",
		"✗ TC-06 is unexpected:\n    Phase \"Wi-Fi\": mobile ↔ peer: expected direct, observed relay.",
		"again: natlab run TC-06 --seed 7\n",
		"The lab could not be built: no room.",
		"1 of 4 scenarios as expected, 1 unexpected, 1 vacuous, 1 broken\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "why"); n != 1 {
		t.Errorf("the control's reason is there %d times, want once, as part of the verdict's:\n%s", n, got)
	}
}

func TestTableFits(t *testing.T) {
	rep := reportOf(good(t), roaming(t), random(t), failed(t))
	rep.Scenarios[0].Title = strings.Repeat("a very long title ", 20)
	for _, width := range []int{80, 100, 120, 200} {
		for i, line := range strings.Split(render(rep, width), "\n") {
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("width %d: line %d has %d characters: %s", width, i+1, n, line)
			}
		}
	}
	if narrow := render(rep, 80); !strings.Contains(narrow, "CONTROLS") {
		t.Errorf("80 columns have room for controls:\n%s", narrow)
	}
}

func TestTableCountsRepetitions(t *testing.T) {
	got := render(repeated(t), 120)
	for _, want := range []string{
		// The median of 80, 90 and 100 ms, and of the two times that came.
		"✗  TC-01  2/3 expected  relay, not direct  90 ms     82 ms   3/3",
		"✗ TC-01, seed 8 is unexpected:\n    Seed 8 went wrong.\n    again: natlab run TC-01 --seed 8",
		"2 of 3 runs of 1 scenario as expected, 1 unexpected",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestTableOfNothing(t *testing.T) {
	if got, want := render(reportOf(), 80), "\nno scenario was run\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLine(t *testing.T) {
	for _, tt := range []struct {
		res   *scenarios.Result
		width int
		want  string
	}{
		{good(t), 0, "✓ TC-01   expected   direct, 1 control as expected, 1.2 s"},
		{good(t), 30, "✓ TC-01   expected   direct,…"},
		{roaming(t), 0, `✗ TC-06   unexpected phase "Wi-Fi": mobile ↔ peer: expected direct, observed relay`},
	} {
		if got := Line(tt.res, false, tt.width); got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
	if got := Line(good(t), true, 0); !strings.HasPrefix(got, "\x1b[32m✓\x1b[0m ") {
		t.Errorf("no colour: %q", got)
	}
}

func TestMarkdown(t *testing.T) {
	hostile := random(t)
	hostile.Title = "a | b\n<script>alert(1)</script> *x* `y` [z](http://example.org)"
	var b strings.Builder
	if err := Markdown(&b, reportOf(good(t), roaming(t), hostile)); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"## 1 of 3 scenarios as expected, 1 unexpected, 1 vacuous.\n",
		"| ✓ | TC-01 | Full cone ↔ full cone | expected | direct | direct | 81 ms | 82 ms | 1/1 |\n",
		"| ✗ | TC-06 | 4G ↔ Wi-Fi | unexpected | relay → direct ×2 → relay | relay ×2 → direct → relay | 130 ms | – | – |\n",
		`| ○ | TC-07 | a \| b &lt;script&gt;alert(1)&lt;/script&gt; \*x\* \` + "`y\\`" + ` \[z\](http://example.org) |`,
		"**TC-06 is unexpected.** Phase \"Wi-Fi\": mobile ↔ peer: expected direct, observed relay.\n",
		"```sh\nnatlab run TC-06 --seed 7\n```\n",
		"| TC-06 | Wi-Fi | direct | relay | 412 ms | 500 ms | 3 | 1 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
