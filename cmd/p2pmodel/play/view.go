package play

import (
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"

	"p2pmodel/core/peer"
	"p2pmodel/core/shard/field"
)

// The least terminal in which everything has its place.
const (
	leastWidth  = 60
	leastHeight = 16
)

// theme is how things look. On a terminal without colours all styles are plain.
type theme struct {
	renderer *lipgloss.Renderer
	title    lipgloss.Style
	faint    lipgloss.Style
	good     lipgloss.Style
	middling lipgloss.Style
	bad      lipgloss.Style
	chat     lipgloss.Style
	border   lipgloss.Style
	players  [field.Colours]lipgloss.Style
	fading   [field.Colours]lipgloss.Style
}

// newTheme makes the theme for an output; colours are those of the terminal's own
// sixteen, which fit its background.
func newTheme(out io.Writer) *theme {
	r := lipgloss.NewRenderer(out)
	colour := func(c string) lipgloss.Style { return r.NewStyle().Foreground(lipgloss.Color(c)) }
	t := &theme{
		renderer: r,
		title:    r.NewStyle().Bold(true),
		faint:    r.NewStyle().Faint(true),
		good:     colour("2"), middling: colour("3"), bad: colour("1"), chat: colour("6"),
		border: colour("8"),
	}
	for i, c := range [field.Colours]string{"10", "12", "13", "11", "14", "9", "2", "5"} {
		t.players[i] = colour(c).Bold(true)
		t.fading[i] = colour(c).Faint(true)
	}
	return t
}

func (t *theme) player(f field.Figure) *lipgloss.Style {
	if f.State != field.Fresh {
		return &t.fading[f.Colour%field.Colours]
	}
	return &t.players[f.Colour%field.Colours]
}

// controls is what the person at the terminal is doing.
type controls struct {
	typing   bool
	text     string // typed so far
	selected int    // row of the table; -1: none
}

// view shows a scene in a terminal of this size.
func view(s scene, c controls, width, height int, t *theme) string {
	if width < leastWidth || height < leastHeight {
		return fit(fmt.Sprintf("The terminal has %d×%d characters: make it at least %d×%d.  q quits.", width, height, leastWidth, leastHeight), width)
	}
	var lines []string
	lines = append(lines, header(s, width, t))
	if height >= 32 && width >= 100 {
		lines = append(lines, tallBody(s, c, width, height-2, t)...)
	} else {
		lines = append(lines, wideBody(s, c, width, height-2, t)...)
	}
	lines = append(lines, footer(s, c, width, t))
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, width, "")
	}
	return strings.Join(lines, "\n")
}

func header(s scene, width int, t *theme) string {
	left := t.title.Render("P2PModel") + "  " + printable(s.player)
	if s.room != "" {
		left += "  room " + s.room
	}
	left += "  " + s.state
	if s.elapsed > 0 {
		left += " " + clockText(s.elapsed)
	}
	if s.members == 1 {
		left += "  alone"
	} else if s.members > 1 {
		left += fmt.Sprintf("  %d players", s.members)
	}
	mark := t.good.Render("●")
	if !s.online {
		mark = t.bad.Render("○ lost")
	}
	right := mark + " " + s.agent
	if gap := width - ansi.StringWidth(left) - ansi.StringWidth(right); gap >= 2 {
		return left + strings.Repeat(" ", gap) + right
	}
	return fit(left, width-ansi.StringWidth(mark)-1) + " " + mark
}

// wideBody puts the field to the left and the table to the right, with the log
// below: for 80×24.
func wideBody(s scene, c controls, width, height int, t *theme) []string {
	logLines := max(3, height/5)
	top := height - logLines
	const table = 37
	fieldWidth := width - table - 3
	left := frame(drawField(s, fieldWidth-2, top-2, t), fieldWidth, t)
	detail := 4
	right := tableLines(s, c, table, top-detail, false, t)
	for len(right) < top-detail {
		right = append(right, "")
	}
	right = append(right, detailLines(s, c, table, t)...)
	var lines []string
	for i := range top {
		lines = append(lines, fit(left[i], fieldWidth)+"  "+right[i])
	}
	return append(lines, logView(s, width, logLines, t)...)
}

// tallBody puts field, table and log below each other: for terminals in which
// addresses have their place in the table.
func tallBody(s scene, c controls, width, height int, t *theme) []string {
	logLines := max(5, height/6)
	rows := min(len(s.rows)+1, height/3)
	top := height - logLines - rows - 1
	lines := frame(drawField(s, width-2, top-2, t), width, t)
	lines = append(lines, tableLines(s, c, width, rows, true, t)...)
	lines = append(lines, "")
	return append(lines, logView(s, width, logLines, t)...)
}

// frame draws a border around lines.
func frame(lines []string, width int, t *theme) []string {
	edge := strings.Repeat("─", width-2)
	framed := []string{t.border.Render("╭" + edge + "╮")}
	side := t.border.Render("│")
	for _, l := range lines {
		framed = append(framed, side+l+side)
	}
	return append(framed, t.border.Render("╰"+edge+"╯"))
}

// tableLines is the table of the others, the heading included, in at most height
// lines.
func tableLines(s scene, c controls, width, height int, addresses bool, t *theme) []string {
	name := 11
	if addresses {
		name = 18
	}
	lines := []string{t.faint.Render(fmt.Sprintf("  %-*s %-6s %6s %4s %6s", name-2, "player", "path", "rtt", "loss", "gap"))}
	if addresses {
		lines[0] += t.faint.Render("  addresses")
	}
	shown := len(s.rows)
	if shown > height-1 {
		shown = max(height-2, 0)
	}
	for i, r := range s.rows[:shown] {
		lines = append(lines, tableRow(r, i == c.selected, name, width, addresses, t))
	}
	if more := len(s.rows) - shown; more > 0 {
		lines = append(lines, t.faint.Render(fmt.Sprintf("  … and %d more", more)))
	}
	if len(s.rows) == 0 {
		lines = append(lines, t.faint.Render("  nobody else yet"))
	}
	return lines[:min(len(lines), height)]
}

func tableRow(r row, selected bool, name, width int, addresses bool, t *theme) string {
	mark := "  "
	if selected {
		mark = "▸ "
	}
	player := t.players[r.colour%field.Colours]
	kind, loss := t.bad, "–"
	if r.link.Received > 0 {
		loss = percent(r.link.Loss)
	}
	switch r.path.Kind {
	case peer.Direct:
		kind = t.good
	case peer.Relay:
		kind = t.middling
	}
	if r.state != field.Fresh {
		player = t.fading[r.colour%field.Colours]
	}
	line := mark + player.Render(fit(printable(r.player), name-2)) + " " + kind.Render(fmt.Sprintf("%-6s", pathKind(r.path))) +
		fmt.Sprintf(" %6s %4s %6s", short(r.rtt), loss, short(r.link.Gap))
	if addresses {
		line += "  " + pathPair(r.path)
	}
	return ansi.Truncate(line, width, "…")
}

// detailLines are the addresses of the selected row.
func detailLines(s scene, c controls, width int, t *theme) []string {
	lines := make([]string, 4)
	if c.selected < 0 || c.selected >= len(s.rows) {
		if len(s.rows) > 0 {
			lines[3] = t.faint.Render("  tab shows a path's addresses")
		}
		return lines
	}
	r := s.rows[c.selected]
	if r.path.Kind == peer.NoPath {
		lines[0] = "  no path at present"
		return lines
	}
	lines[0] = "  " + r.path.Local.String()
	lines[1] = "  → " + r.path.Remote.String()
	if r.path.Mapped.IsValid() && r.path.Mapped != r.path.Local {
		lines[2] = "  it sees us at " + r.path.Mapped.String()
	}
	lines[3] = t.faint.Render(fmt.Sprintf("  %d got, %d late, %d lost", r.link.Received, r.link.Late, r.link.Lost))
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, width, "…")
	}
	return lines
}

// logView is the last lines of the log.
func logView(s scene, width, height int, t *theme) []string {
	lines := make([]string, 0, height)
	for _, l := range s.log[max(0, len(s.log)-height):] {
		style := t.renderer.NewStyle()
		switch l.kind {
		case lineGood:
			style = t.good
		case lineBad:
			style = t.bad
		case lineChat:
			style = t.chat
		}
		lines = append(lines, t.faint.Render(l.at.Format("15:04:05"))+" "+style.Render(ansi.Truncate(printable(l.text), width-9, "…")))
	}
	for len(lines) < height {
		lines = append(lines, "")
	}
	return lines
}

func footer(s scene, c controls, width int, t *theme) string {
	if c.typing {
		// The end of what is typed stays in sight.
		text := printable(c.text)
		if over := ansi.StringWidth(text) - (width - 8); over > 0 {
			text = "…" + ansi.TruncateLeft(text, over+1, "")
		}
		return "say: " + text + "█"
	}
	return t.faint.Render(fit("arrows move   space stops   tab paths   t talk   q quit", width))
}

// fit makes text exactly so wide.
func fit(text string, width int) string {
	if w := ansi.StringWidth(text); w <= width {
		return text + strings.Repeat(" ", max(width-w, 0))
	}
	return ansi.Truncate(text, width, "…")
}
