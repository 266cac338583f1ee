//go:build linux

package kernel

import (
	"bytes"
	"io"
	"sync"
	"time"

	"p2pmodel/sim"
)

// maxLine is the longest piece of a line that is given to whoever reads lines.
const maxLine = 64 << 10

// lineWriter cuts what a program writes to one of its outputs into lines.
type lineWriter struct {
	together *sync.Mutex // shared by both outputs
	stderr   bool
	now      func() time.Time
	onLine   func(sim.Line)
	rest     []byte // of a line whose end has not come yet
}

// linesOf makes the writers for both outputs.
func linesOf(onLine func(sim.Line), now func() time.Time) []*lineWriter {
	together := new(sync.Mutex)
	return []*lineWriter{
		{together: together, now: now, onLine: onLine},
		{together: together, now: now, onLine: onLine, stderr: true},
	}
}

// beside writes to another writer, too, if there is one.
func (w *lineWriter) beside(other io.Writer) io.Writer {
	if other == nil {
		return w
	}
	return io.MultiWriter(other, w)
}

// Write gives the lines that are complete now. It never fails.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.together.Lock()
	defer w.together.Unlock()
	at := w.now()
	w.rest = append(w.rest, p...)
	for {
		line, rest, complete := bytes.Cut(w.rest, []byte("\n"))
		if len(line) > maxLine {
			line, rest, complete = w.rest[:maxLine], w.rest[maxLine:], true
		}
		if !complete {
			break
		}
		w.onLine(sim.Line{At: at, Stderr: w.stderr, Text: string(line)})
		w.rest = rest
	}
	w.rest = append([]byte(nil), w.rest...)
	return len(p), nil
}

// end gives a last line that has no end.
func (w *lineWriter) end() {
	w.together.Lock()
	defer w.together.Unlock()
	if len(w.rest) > 0 {
		w.onLine(sim.Line{At: w.now(), Stderr: w.stderr, Text: string(w.rest)})
		w.rest = nil
	}
}
