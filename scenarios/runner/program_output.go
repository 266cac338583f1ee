package runner

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"p2pmodel/sim"
)

// Bounds of what is kept of a program's output: lines for the log, bytes for what
// is expected of it.
const (
	loggedLines = 2000
	keptOutput  = 1 << 20
)

// output is what a program has printed, both outputs together.
type output struct {
	mu     sync.Mutex
	text   strings.Builder
	lines  int
	recent []string
}

func newOutput() *output { return &output{} }

// add takes a line, and gives what of it is for the log: false when there are too
// many.
func (o *output) add(l sim.Line) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len()+len(l.Text) < keptOutput {
		o.text.WriteString(l.Text)
		o.text.WriteByte('\n')
	}
	if strings.TrimSpace(l.Text) == "" {
		return "", false
	}
	o.recent = append(o.recent, l.Text)
	o.recent = o.recent[max(0, len(o.recent)-tailLines):]
	switch o.lines++; {
	case o.lines > loggedLines:
		return "", false
	case o.lines == loggedLines:
		return fmt.Sprintf("(what it prints from here on is left out, after %d lines)", loggedLines), true
	case l.Stderr:
		return "! " + l.Text, true
	}
	return l.Text, true
}

// size is how much it has printed, for matches.
func (o *output) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Len()
}

// matches reports whether what it printed after a place matches, line by line for ^
// and $ where the expression says (?m).
func (o *output) matches(re *regexp.Regexp, after int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return re.MatchString(o.text.String()[min(after, o.text.Len()):])
}

// last says what it printed last.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.recent) == 0 {
		return "it printed nothing"
	}
	return "it printed last: " + strings.Join(o.recent, " / ")
}
