package play

import (
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"

	"p2pmodel/core/shard/field"
)

// canvas is a rectangle of cells, each with a style.
type canvas struct {
	width, height int
	cells         []cell
}

type cell struct {
	text  string // one character, empty: the right half of one that is wide
	style *lipgloss.Style
}

func newCanvas(width, height int) *canvas {
	c := &canvas{width: max(width, 0), height: max(height, 0)}
	c.cells = make([]cell, c.width*c.height)
	for i := range c.cells {
		c.cells[i].text = " "
	}
	return c
}

// put writes text from a cell to the right. What does not fit is cut off.
func (c *canvas) put(x, y int, text string, style *lipgloss.Style) {
	if y < 0 || y >= c.height {
		return
	}
	for len(text) > 0 && x < c.width {
		cluster, rest, width, _ := ansi.FirstGraphemeCluster(text, -1)
		text = rest
		if width == 0 || x+width > c.width {
			continue
		}
		if x >= 0 {
			c.cells[y*c.width+x] = cell{cluster, style}
			for i := 1; i < width; i++ {
				c.cells[y*c.width+x+i] = cell{"", style}
			}
		}
		x += width
	}
}

// free reports whether cells are empty.
func (c *canvas) free(x, y, width int) bool {
	if x < 0 || y < 0 || y >= c.height || x+width > c.width {
		return false
	}
	for i := range width {
		if c.cells[y*c.width+x+i].text != " " {
			return false
		}
	}
	return true
}

// lines are the rows with their styles.
func (c *canvas) lines() []string {
	lines := make([]string, c.height)
	for y := range lines {
		var out strings.Builder
		row := c.cells[y*c.width : (y+1)*c.width]
		for x := 0; x < len(row); {
			end := x
			var text strings.Builder
			for ; end < len(row) && row[end].style == row[x].style; end++ {
				text.WriteString(row[end].text)
			}
			if row[x].style != nil {
				out.WriteString(row[x].style.Render(text.String()))
			} else {
				out.WriteString(text.String())
			}
			x = end
		}
		lines[y] = out.String()
	}
	return lines
}

// drawField draws the field into a rectangle: trails first, then players, then
// their names where there is room for them.
func drawField(s scene, width, height int, t *theme) []string {
	c := newCanvas(width, height)
	if c.width == 0 || c.height == 0 {
		return c.lines()
	}
	at := func(p field.Position) (x, y int) { return p.X * c.width / field.Width, p.Y * c.height / field.Height }
	for _, f := range s.figures {
		for _, p := range f.trail {
			x, y := at(p)
			c.put(x, y, "·", &t.faint)
		}
	}
	for _, f := range s.figures {
		x, y := at(f.At)
		c.put(x, y, f.mark(), t.player(f.Figure))
	}
	for i := range s.figures { // our own name first
		f := s.figures[len(s.figures)-1-i]
		name := ansi.Truncate(printable(f.Player), 10, "…")
		width := ansi.StringWidth(name)
		x, y := at(f.At)
		for _, place := range [][2]int{{x + 2, y}, {x - width - 1, y}, {x - width/2, y - 1}, {x - width/2, y + 1}} {
			if c.free(place[0], place[1], width) {
				c.put(place[0], place[1], name, t.player(f.Figure))
				break
			}
		}
	}
	return c.lines()
}

// mark is a player's character.
func (f figure) mark() string {
	switch {
	case f.own:
		return "◆"
	case f.State == field.Fading:
		return "○"
	}
	return "●"
}
