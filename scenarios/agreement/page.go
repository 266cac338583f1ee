package agreement

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"

	"p2pmodel/scenarios/report"
)

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("agreement").Funcs(template.FuncMap{
	"millis": report.Millis, "seconds": report.Seconds,
	"ratio": func(v float64) string { return fmt.Sprintf("%.3f", v) },
}).Parse(pageHTML))

// HTML writes the page.
func (r *Result) HTML(w io.Writer) error {
	return page.Execute(w, struct {
		*Result
		Style template.CSS
	}{r, report.Style()})
}

// Write writes the page, JSON and CSV into a directory, which is made if need be.
func (r *Result) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		report.WriteFile(report.Index(dir), r.HTML),
		report.WriteFile(filepath.Join(dir, "agreement.json"), r.WriteJSON),
		report.WriteFile(filepath.Join(dir, "agreement.csv"), r.WriteCSV),
	)
}
