package sim

import (
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// The looks of a drawing's parts in a terminal (ECMA-48 SGR).
const (
	lookRouter = "\x1b[1;36m"
	lookHost   = "\x1b[1;32m"
	lookRoot   = "\x1b[1m"
	lookKind   = "\x1b[36m"
	lookAddr   = "\x1b[2m"
	lookLink   = "\x1b[33m"
	lookOff    = "\x1b[0m"
)

// cell is a piece of a drawing's line, with its look.
type cell struct{ text, look string }

func (c cell) width() int { return utf8.RuneCountInString(c.text) }

// minDetails is the least room for what a node does and its link in a column of
// their own, in characters; with less, they go below the name.
const minDetails = 28

// line is a node of the drawing: its tree, its name, its addresses, and what is
// to be said about it.
type line struct {
	tree, under string // before the name, and before what continues below it
	name, addrs cell
	details     []cell
}

// Draw writes the lab as a tree for a terminal of the given width (0: not
// limited), with colours if wanted. What does not fit in its column is broken;
// on narrow terminals it goes below the name. It fails if the lab is not valid
// or the writer fails.
func (l *Lab) Draw(w io.Writer, width int, color bool) error {
	root, err := l.outline()
	if err != nil {
		return err
	}
	var all []line
	collect(root, "", "", &all)
	names, addrs := 0, 0
	for _, n := range all {
		names = max(names, utf8.RuneCountInString(n.tree)+n.name.width())
		addrs = max(addrs, n.addrs.width())
	}
	room := width - names - addrs - 4
	if width <= 0 {
		room = math.MaxInt
	}
	p := &painter{color: color}
	for _, n := range all {
		if room >= minDetails {
			p.row(n, names, addrs, room)
		} else {
			p.stack(n, max(width, minDetails))
		}
	}
	_, err = io.WriteString(w, p.String())
	return err
}

// collect appends the lines of a branch and of what is behind it.
func collect(b *branch, tree, under string, all *[]line) {
	look := lookHost
	switch {
	case b.name == Internet:
		look = lookRoot
	case b.router:
		look = lookRouter
	}
	n := line{tree: tree, under: under + "    ", name: cell{b.title(), look}, addrs: cell{b.addrs, lookAddr}}
	if len(b.behind) > 0 {
		n.under = under + "│   "
	}
	for _, k := range b.kind {
		n.details = append(n.details, cell{k, lookKind})
	}
	if text := b.impairments(); text != "" {
		n.details = append(n.details, cell{text, lookLink})
	}
	*all = append(*all, n)
	for i, c := range b.behind {
		if i == len(b.behind)-1 {
			collect(c, under+"└── ", under+"    ", all)
		} else {
			collect(c, under+"├── ", under+"│   ", all)
		}
	}
}

// painter writes lines with or without looks.
type painter struct {
	strings.Builder
	color bool
}

func (p *painter) paint(c cell) {
	if p.color && c.text != "" {
		c.text = c.look + c.text + lookOff
	}
	p.WriteString(c.text)
}

// pad writes text and blanks up to a width.
func (p *painter) pad(c cell, width int) {
	p.paint(c)
	p.WriteString(strings.Repeat(" ", max(width-c.width(), 0)))
}

// row writes the node in columns; details are broken to the room that is left,
// each on lines of its own if they do not fit on one.
func (p *painter) row(n line, names, addrs, room int) {
	lines := wrap(n.details, room)
	for i := range max(len(lines), 1) {
		head, at := n.tree, [2]cell{n.name, n.addrs}
		if i > 0 {
			head, at = n.under, [2]cell{}
		}
		inner := &painter{color: p.color}
		inner.WriteString(head)
		inner.pad(at[0], names-utf8.RuneCountInString(head)+2)
		inner.pad(at[1], addrs+2)
		if i < len(lines) {
			for j, c := range lines[i] {
				if j > 0 {
					inner.WriteString("  ")
				}
				inner.paint(c)
			}
		}
		p.WriteString(strings.TrimRight(inner.String(), " ") + "\n")
	}
}

// stack writes the name on a line of its own and the rest below it.
func (p *painter) stack(n line, width int) {
	p.WriteString(n.tree)
	p.paint(n.name)
	p.WriteByte('\n')
	room := width - utf8.RuneCountInString(n.under)
	for _, c := range append([]cell{n.addrs}, n.details...) {
		for _, text := range fold(c.text, room) {
			p.WriteString(n.under)
			p.paint(cell{text, c.look})
			p.WriteByte('\n')
		}
	}
}

// wrap gives the cells on one line if they fit, else on lines of their own.
func wrap(cells []cell, room int) [][]cell {
	total := 0
	for _, c := range cells {
		total += c.width() + 2
	}
	if total-2 <= room {
		return [][]cell{cells}
	}
	var lines [][]cell
	for _, c := range cells {
		for _, text := range fold(c.text, room) {
			lines = append(lines, []cell{{text, c.look}})
		}
	}
	return lines
}

// fold breaks text into lines of at most width characters, after commas where
// that does, else at spaces; a longer word stays whole.
func fold(text string, width int) []string {
	var lines []string
	place := func(piece string) {
		last := len(lines) - 1
		if last >= 0 && utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(piece) <= width {
			lines[last] += " " + piece
		} else {
			lines = append(lines, piece)
		}
	}
	for _, part := range strings.SplitAfter(text, ", ") {
		part = strings.TrimSpace(part)
		if utf8.RuneCountInString(part) <= width && part != "" {
			place(part)
			continue
		}
		for _, word := range strings.Fields(part) {
			place(word)
		}
	}
	return lines
}
