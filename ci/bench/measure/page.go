package measure

import (
	_ "embed"
	"html/template"
	"io"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"bars":  func(c Comparison) bars { return c.draw() },
	"chead": func(c Comparison) []string { return c.head() },
	"crows": func(c Comparison) [][]string { return c.rows() },
	"curve": func(c Curve) drawing { return c.draw() },
	"head":  func(c Curve) []string { return c.head() },
	"rows":  func(c Curve) [][]string { return c.rows() },
	"goals": func(c Comparison) (all []verdict) {
		for _, g := range c.Goals {
			text, reached := g.judge(&c)
			all = append(all, verdict{c.Title, text, reached})
		}
		return all
	},
}).Parse(pageText))

// verdict is what became of a goal.
type verdict struct {
	Title, Text string
	Reached     bool
}

// Page writes the parts as one page that needs nothing else.
func Page(to io.Writer, parts []Part) error { return pageTemplate.Execute(to, parts) }
