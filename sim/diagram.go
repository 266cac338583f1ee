package sim

import (
	"fmt"
	"io"

	"p2pmodel/sim/document"
)

// Formats are those of a diagram.
var Formats = []string{"terminal", "mermaid", "svg"}

// Diagram writes the lab in one of the formats; width and color are for a terminal.
func (l *Lab) Diagram(w io.Writer, format string, width int, color bool) error {
	switch format {
	case "terminal":
		return l.Draw(w, width, color)
	case "mermaid":
		return l.Mermaid(w)
	case "svg":
		return l.SVG(w)
	}
	return fmt.Errorf("no format %q%s", format, document.Suggest(format, Formats))
}
