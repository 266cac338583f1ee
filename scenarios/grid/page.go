package grid

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
)

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("grid").Funcs(template.FuncMap{
	"millis":  report.Millis,
	"axes":    report.Axes,
	"seconds": report.Seconds,
	"percent": func(v float64) string { return fmt.Sprintf("%.0f %%", v*100) },
}).Parse(pageHTML))

// The files of a grid's report.
const (
	indexFile = "index.html"
	jsonFile  = "grid.json"
	csvFile   = "grid.csv"
	cellDir   = "cells"
)

// pageData is what the page shows.
type pageData struct {
	*Result
	Style template.CSS
	Rows  []pageRow
	Wrong []pageCell
	RTT   time.Duration
}

type pageRow struct {
	Side  Side
	Cells []pageCell
}

type pageCell struct {
	Cell
	Page string
}

// Summary and OK are methods of Result; the page needs them as values.
func (p pageData) Summary() string { return p.Result.Summary() }

// OtherPaths are those seen in some cell that are neither direct nor relayed.
func (p pageData) OtherPaths() (others []scenarios.Path) {
	for _, c := range p.Cells {
		if c.Observed != scenarios.Direct && c.Observed != scenarios.Relay && !slices.Contains(others, c.Observed) {
			others = append(others, c.Observed)
		}
	}
	slices.Sort(others)
	return others
}

// HTML writes the heat map. Its cells lead to reports in the folder beside it.
func (r *Result) HTML(w io.Writer) error {
	data := pageData{Result: r, Style: report.Style(), RTT: r.rtt}
	n := len(r.Sides)
	for i, side := range r.Sides {
		row := pageRow{Side: side}
		for j := range n {
			c := pageCell{r.Cells[i*n+j], cellPage(i, j)}
			row.Cells = append(row.Cells, c)
			if !c.OK() {
				data.Wrong = append(data.Wrong, c)
			}
		}
		data.Rows = append(data.Rows, row)
	}
	return page.Execute(w, data)
}

func cellPage(i, j int) string { return report.Index(filepath.Join(cellDir, cellName(i, j))) }

func cellName(i, j int) string { return fmt.Sprintf("%d-%d", i+1, j+1) }

// Write writes a whole report into a directory, which is made if need be: the heat
// map, JSON, CSV, and a report for each cell.
func (r *Result) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	n := len(r.Sides)
	for k, c := range r.Cells {
		rep := &scenarios.Report{
			Schema: 1, Fabric: r.Fabric, Seed: r.Seed, Version: r.Version, Started: r.Started, Scenarios: c.Results,
		}
		if err := report.Write(filepath.Join(dir, cellDir, cellName(k/n, k%n)), rep); err != nil {
			return fmt.Errorf("%s × %s: %w", c.NameA, c.NameB, err)
		}
	}
	return errors.Join(
		report.WriteFile(filepath.Join(dir, jsonFile), r.WriteJSON),
		report.WriteFile(filepath.Join(dir, csvFile), r.WriteCSV),
		report.WriteFile(filepath.Join(dir, indexFile), r.HTML),
	)
}
