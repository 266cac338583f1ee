package sweep

import (
	_ "embed"
	"errors"
	"html/template"
	"io"
	"os"
	"path/filepath"

	"p2pmodel/scenarios/report"
)

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("sweep").Funcs(template.FuncMap{"seconds": report.Seconds, "axes": report.Axes}).Parse(pageHTML))

type plotted struct {
	Series
	Drawing template.HTML
}

// HTML writes the page with a plot for each pair.
func (r *Result) HTML(w io.Writer) error {
	data := struct {
		*Result
		OK    bool
		Style template.CSS
		Plots []plotted
	}{Result: r, OK: r.OK(), Style: report.Style()}
	for _, s := range r.Series {
		data.Plots = append(data.Plots, plotted{s, s.SVG(r.RTTMS)})
	}
	return page.Execute(w, data)
}

// Write writes the page, JSON and CSV into a directory, which is made if need be.
func (r *Result) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		report.WriteFile(report.Index(dir), r.HTML),
		report.WriteFile(filepath.Join(dir, "sweep.json"), r.WriteJSON),
		report.WriteFile(filepath.Join(dir, "sweep.csv"), r.WriteCSV),
	)
}
