package grid

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/wilson"
)

// Result is a grid with its outcomes: what the JSON form holds.
type Result struct {
	Schema     int       `json:"schema"` // 1
	Stack      string    `json:"stack"`  // the template's scenario
	Techniques []string  `json:"techniques"`
	Fabric     string    `json:"fabric"`
	Seed       uint64    `json:"seed"`
	Repeat     int       `json:"repeat"`
	Version    string    `json:"version,omitempty"`
	Started    time.Time `json:"started"`
	DurationMS float64   `json:"duration_ms"`
	// Cells by rows: a is the row, b the column, in the order of Sides.
	Cells []Cell `json:"cells"`

	Sides []Side `json:"-"`

	rtt time.Duration // between the peers, for the page
}

// Cell is what came of one pair of NATs.
type Cell struct {
	// A and B are the behaviours in full, of the first and the second peer.
	A string `json:"a"`
	B string `json:"b"`
	// NameA and NameB are what they were called.
	NameA string `json:"name_a"`
	NameB string `json:"name_b"`
	// Expected is the oracle's path, Class its outcome (D, S, 1, 1+1, 2, -), Why its
	// sentence.
	Expected scenarios.Path `json:"expected"`
	// Or is another path that may come by chance; empty: none.
	Or    scenarios.Path `json:"or,omitempty"`
	Class string         `json:"class"`
	Why   string         `json:"why"`
	// Observed is the path of most runs that were not broken; "broken" if all were.
	Observed scenarios.Path `json:"observed"`
	Runs     int            `json:"runs"`
	// AsExpected and Broken count runs.
	AsExpected int `json:"as_expected"`
	Broken     int `json:"broken,omitempty"`
	// Interval is of the share of runs as expected, of those that were not broken.
	Interval wilson.Interval `json:"interval"`
	// Paths counts the runs by observed path.
	Paths map[scenarios.Path]int `json:"paths"`
	// Reason is why the first run that was not as expected was not.
	Reason string `json:"reason,omitempty"`
	// FirstByteMS and DirectMS are medians over runs in which they came; -1: never.
	FirstByteMS float64 `json:"first_byte_ms"`
	DirectMS    float64 `json:"direct_ms"`

	// Results are the runs that are kept for a report: the first, and failures.
	Results []*scenarios.Result `json:"-"`

	firstByte, direct []float64
}

// OK reports whether all runs were as expected.
func (c Cell) OK() bool { return c.Runs > 0 && c.AsExpected == c.Runs }

// OK reports whether all cells are as expected.
func (r *Result) OK() bool {
	return !slices.ContainsFunc(r.Cells, func(c Cell) bool { return !c.OK() })
}

// keptFailures is how many failed runs of a cell keep what was recorded.
const keptFailures = 3

// add takes the outcome of a run.
func (c *Cell) add(res *scenarios.Result) {
	c.Runs++
	chance := c.Or != "" && res.Observed.Path == c.Or && res.Verdict == scenarios.Unexpected
	if chance {
		c.AsExpected++
	}
	switch res.Verdict {
	case scenarios.Broken:
		c.Broken++
	// Whether a control was convincing, and whether the direct path was tried where
	// none can be, is no matter of a grid.
	case scenarios.Expected, scenarios.Vacuous:
		c.AsExpected++
	}
	if res.Verdict != scenarios.Broken {
		c.Paths[res.Observed.Path]++
		if v := res.Observed.TimeToFirstByteMS; v >= 0 {
			c.firstByte = append(c.firstByte, v)
		}
		if v := res.Observed.TimeToDirectMS; v >= 0 {
			c.direct = append(c.direct, v)
		}
	}
	failed := res.Verdict == scenarios.Broken || res.Verdict == scenarios.Unexpected && !chance
	if failed && c.Reason == "" {
		c.Reason = res.Reason
	}
	if c.Runs > 1 && (!failed || c.Runs-c.AsExpected > keptFailures) {
		res.Run = nil
	}
	c.Results = append(c.Results, res)
}

// conclude computes what follows from all runs.
func (c *Cell) conclude() {
	c.Observed = "broken"
	most := 0
	for _, p := range []scenarios.Path{scenarios.Direct, scenarios.Relay, scenarios.Mixed, scenarios.None} {
		if n := c.Paths[p]; n > most {
			c.Observed, most = p, n
		}
	}
	c.Interval = wilson.Of(c.AsExpected, c.Runs-c.Broken)
	c.FirstByteMS, c.DirectMS = median(c.firstByte), median(c.direct)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return -1
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// WriteJSON writes the result.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// ReadJSON reads what WriteJSON wrote. The error says what is wrong with the file.
func ReadJSON(r io.Reader) (*Result, error) {
	var res Result
	if err := json.NewDecoder(r).Decode(&res); err != nil {
		return nil, fmt.Errorf("no grid in JSON: %w", err)
	}
	if res.Schema != 1 || len(res.Cells) == 0 {
		return nil, fmt.Errorf("no grid that this version reads: schema %d with %d cells", res.Schema, len(res.Cells))
	}
	return &res, nil
}

// WriteCSV writes a line a cell.
func (r *Result) WriteCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	lines := [][]string{{"a", "b", "class", "expected", "observed", "runs", "as_expected", "broken", "share", "low", "high", "first_byte_ms", "direct_ms"}}
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	for _, c := range r.Cells {
		lines = append(lines, []string{
			c.A, c.B, c.Class, string(c.Expected), string(c.Observed), strconv.Itoa(c.Runs), strconv.Itoa(c.AsExpected), strconv.Itoa(c.Broken),
			fmt.Sprintf("%.4f", c.Interval.Share), fmt.Sprintf("%.4f", c.Interval.Low), fmt.Sprintf("%.4f", c.Interval.High),
			number(c.FirstByteMS), number(c.DirectMS),
		})
	}
	if err := cw.WriteAll(lines); err != nil {
		return err
	}
	return cw.Error()
}

// Regression is a cell that has become worse than in a baseline.
type Regression struct {
	Cell   Cell
	Before Cell
}

func (r Regression) String() string {
	return fmt.Sprintf("%s × %s: %d of %d runs as expected, %s observed; before %d of %d, %s",
		r.Cell.NameA, r.Cell.NameB, r.Cell.AsExpected, r.Cell.Runs, r.Cell.Observed, r.Before.AsExpected, r.Before.Runs, r.Before.Observed)
}

// Regressions compares with a baseline. A cell is worse when fewer of its runs are
// as expected and chance does not explain it (the intervals do not meet), or when
// its runs take another path and were all as expected before. Cells of the baseline
// that are not in this grid are given back as missing.
func (r *Result) Regressions(base *Result) (worse []Regression, missing []string) {
	cells := map[[2]string]Cell{}
	for _, c := range r.Cells {
		cells[[2]string{c.A, c.B}] = c
	}
	for _, before := range base.Cells {
		c, ok := cells[[2]string{before.A, before.B}]
		if !ok {
			missing = append(missing, before.A+" × "+before.B)
			continue
		}
		explained := c.Interval.High >= before.Interval.Low
		changed := before.OK() && !c.OK() && c.Observed != before.Observed
		if c.Interval.Share < before.Interval.Share && !explained || changed {
			worse = append(worse, Regression{c, before})
		}
	}
	return worse, missing
}

// Summary says in a sentence what came out.
func (r *Result) Summary() string {
	cells, runs, as, broken := 0, 0, 0, 0
	paths := map[scenarios.Path]int{}
	for _, c := range r.Cells {
		if c.OK() {
			cells++
		}
		runs, as, broken = runs+c.Runs, as+c.AsExpected, broken+c.Broken
		paths[c.Observed]++
	}
	var parts []string
	for _, p := range []scenarios.Path{scenarios.Direct, scenarios.Relay, scenarios.Mixed, scenarios.None, "broken"} {
		if n := paths[p]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, p))
		}
	}
	text := fmt.Sprintf("%d of %d cells as expected (%s); %d of %d runs", cells, len(r.Cells), strings.Join(parts, ", "), as, runs)
	if broken > 0 {
		text += fmt.Sprintf(", %d broken", broken)
	}
	return text
}
