package report

import (
	"bytes"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// narrowIndent is before what did not fit into a line.
const narrowIndent = "      "

// Narrow passes on what write writes. If w is a terminal, lines that are wider
// break at spaces, and their rest is indented.
func Narrow(w io.Writer, write func(io.Writer) error) error {
	f, ok := w.(*os.File)
	if !ok {
		return write(w)
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return write(w)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	_, err = io.WriteString(w, narrow(b.String(), max(width, leastWidth)))
	return err
}

// narrow breaks the lines of a text. Up to the break they keep their columns.
func narrow(text string, width int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		if utf8.RuneCountInString(line) > width {
			runes := []rune(line)
			at := strings.LastIndexByte(string(runes[:width+1]), ' ')
			if head := strings.TrimRight(string(runes[:width+1])[:max(at, 0)], " "); strings.TrimSpace(head) != "" {
				b.WriteString(head + "\n")
				line = line[at:]
				for _, rest := range wrap(line, width-len(narrowIndent)) {
					b.WriteString(narrowIndent + rest + "\n")
				}
				continue
			}
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
