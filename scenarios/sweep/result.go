package sweep

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"p2pmodel/scenarios/wilson"
)

// Result is a sweep with its outcomes: what the JSON form holds.
type Result struct {
	Schema     int       `json:"schema"` // 1
	Fabric     string    `json:"fabric"`
	RTTMS      float64   `json:"rtt_ms"`
	Probes     int       `json:"probes"` // that each side sends
	Seed       uint64    `json:"seed"`
	Version    string    `json:"version,omitempty"`
	Started    time.Time `json:"started"`
	DurationMS float64   `json:"duration_ms"`
	Series     []Series  `json:"series"`
}

// Series is one pair of NATs.
type Series struct {
	NameA string `json:"name_a"`
	NameB string `json:"name_b"`
	A     string `json:"a"`
	B     string `json:"b"`
	// Points in order of the offset.
	Points []Point `json:"points"`
}

// Point is one offset: how much later B's first probe left than A's.
type Point struct {
	OffsetMS float64 `json:"offset_ms"`
	// ActualMS is the median of what the offset was in the end.
	ActualMS float64 `json:"actual_ms"`
	Trials   int     `json:"trials"`
	// Direct counts the trials in which each side heard the other one, be it a probe or
	// the answer to its own.
	Direct   int             `json:"direct"`
	Interval wilson.Interval `json:"interval"`
	// Expected is what the model of the NATs gives for this offset. Sharp says that it
	// gives the same for offsets that differ by the precision of a trial; else either
	// outcome may come.
	Expected bool `json:"expected"`
	Sharp    bool `json:"sharp"`
}

// OK reports whether all trials came out as the model says, where it is sharp.
func (p Point) OK() bool {
	want := 0
	if p.Expected {
		want = p.Trials
	}
	return !p.Sharp || p.Direct == want
}

// OK reports whether all points are as the model says.
func (r *Result) OK() bool {
	for _, s := range r.Series {
		for _, p := range s.Points {
			if !p.OK() {
				return false
			}
		}
	}
	return true
}

// WriteJSON writes the result.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// WriteCSV writes a line a point.
func (r *Result) WriteCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	lines := [][]string{{"a", "b", "offset_ms", "actual_ms", "trials", "direct", "share", "low", "high", "expected", "sharp"}}
	for _, s := range r.Series {
		for _, p := range s.Points {
			lines = append(lines, []string{
				s.A, s.B, number(p.OffsetMS), number(p.ActualMS), strconv.Itoa(p.Trials), strconv.Itoa(p.Direct),
				fmt.Sprintf("%.4f", p.Interval.Share), fmt.Sprintf("%.4f", p.Interval.Low), fmt.Sprintf("%.4f", p.Interval.High),
				strconv.FormatBool(p.Expected), strconv.FormatBool(p.Sharp),
			})
		}
	}
	if err := cw.WriteAll(lines); err != nil {
		return err
	}
	return cw.Error()
}
