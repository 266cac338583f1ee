package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	// pageWidth is how wide text is written that goes to no terminal.
	pageWidth = 120
	// leastWidth is the narrowest terminal that is respected.
	leastWidth = 40
)

// widthOf is how many characters a line of w should have at most.
func widthOf(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return max(width, leastWidth)
		}
	}
	return pageWidth
}

// paint colours text for a terminal (the parameters of ECMA-48 SGR).
func paint(text, code string, color bool) string {
	if !color || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

const (
	lookHeading = "1"
	lookDim     = "2"
)

// cut shortens text to a number of characters; its end says that it did.
func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	if most < 1 {
		return ""
	}
	return strings.TrimRight(string([]rune(text)[:most-1]), " ") + "…"
}

// pad fills text up to a number of characters.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// wrap breaks text into lines of at most width characters, at spaces where it
// can.
func wrap(text string, width int) []string {
	width = max(width, 1)
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
			continue
		default:
			lines = append(lines, line)
			line = word
		}
		for utf8.RuneCountInString(line) > width {
			r := []rune(line)
			lines = append(lines, string(r[:width]))
			line = string(r[width:])
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// paragraph writes wrapped text, the first line after first, the others after
// rest.
func paragraph(w io.Writer, first, rest, text string, width int) {
	prefix := first
	for _, line := range wrap(text, width-utf8.RuneCountInString(rest)) {
		fmt.Fprintln(w, prefix+line)
		prefix = rest
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// sentence makes a sentence of a reason: it begins large and ends with a stop.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	// Names of hosts and files keep their case.
	word, rest, _ := strings.Cut(text, " ")
	name := size == len(word) && word != "a" || strings.HasPrefix(rest, "↔") || strings.ContainsAny(word, "0123456789-_./:")
	if first >= 'a' && first <= 'z' && !name {
		text = strings.ToUpper(text[:size]) + text[size:]
	}
	if !strings.ContainsAny(text[len(text)-1:], ".!?") {
		text += "."
	}
	return text
}
