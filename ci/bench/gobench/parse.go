package gobench

import (
	"fmt"
	"strconv"
	"strings"
)

// Result is one line of a benchmark.
type Result struct {
	// Name is without "Benchmark" and without the number of processors: "Trial/strangers".
	Name string
	// Values are by their units: "ns/op", "trials/s/core".
	Values map[string]float64
}

// Parse reads the lines of benchmarks out of what a test program wrote, in the format that
// golang.org/design/14313-benchmark-format describes; other lines are left out.
func Parse(output string) (all []Result, err error) {
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || len(fields)%2 != 0 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			continue // a line of a log
		}
		r := Result{Name: strings.TrimPrefix(fields[0], "Benchmark"), Values: map[string]float64{}}
		if i := strings.LastIndexByte(r.Name, '-'); i >= 0 {
			if _, err := strconv.Atoi(r.Name[i+1:]); err == nil {
				r.Name = r.Name[:i]
			}
		}
		for i := 2; i < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %q is no figure of %s", r.Name, fields[i], fields[i+1])
			}
			r.Values[fields[i+1]] = v
		}
		all = append(all, r)
	}
	return all, nil
}

// Value gives a figure of the benchmark of a name.
func (r *Ran) Value(name, unit string) (float64, error) {
	for _, b := range r.Results {
		if b.Name != name {
			continue
		}
		if v, ok := b.Values[unit]; ok {
			return v, nil
		}
		return 0, fmt.Errorf("benchmark %s says nothing of %s", name, unit)
	}
	return 0, fmt.Errorf("no benchmark %s in:\n%s", name, strings.TrimSpace(r.Output))
}
