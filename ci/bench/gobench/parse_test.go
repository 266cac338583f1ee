package gobench

import (
	"reflect"
	"strings"
	"testing"
)

const said = `goos: linux
pkg: p2pmodel/scenarios/trial
BenchmarkTrial/known-2         	   14454	    495928 ns/op	      1933 trials/s/core	  165126 B/op	    1317 allocs/op
    bench_test.go:12: failed: BenchmarkTrial is busy now
BenchmarkPairs/full-cone+full-cone-16   	1	 0 ns/op	 1e+03 trials/s
BenchmarkLinear/1000	1	 51.5 µs/trial
PASS
`

func TestParse(t *testing.T) {
	got, err := Parse(said)
	want := []Result{
		{"Trial/known", map[string]float64{"ns/op": 495928, "trials/s/core": 1933, "B/op": 165126, "allocs/op": 1317}},
		{"Pairs/full-cone+full-cone", map[string]float64{"ns/op": 0, "trials/s": 1000}},
		{"Linear/1000", map[string]float64{"µs/trial": 51.5}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}
	r := &Ran{Results: got, Output: said}
	if v, err := r.Value("Linear/1000", "µs/trial"); err != nil || v != 51.5 {
		t.Errorf("%v, %v", v, err)
	}
	for _, wrong := range [][2]string{{"Linear/10", "µs/trial"}, {"Linear/1000", "trials/s"}} {
		if v, err := r.Value(wrong[0], wrong[1]); err == nil || !strings.Contains(err.Error(), wrong[0]) {
			t.Errorf("%v: %v, %v; want an error that names it", wrong, v, err)
		}
	}
}

func TestParseRefusesWhatIsNoFigure(t *testing.T) {
	if got, err := Parse("BenchmarkX-2 1 many ns/op\n"); err == nil {
		t.Fatalf("%+v", got)
	}
}
