package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
	"p2pmodel/scenarios/runner"
)

// screen gives w as a terminal that can be drawn on, or nil.
func screen(w io.Writer) *os.File {
	if f, ok := w.(*os.File); ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// colorful reports whether w is a terminal that wants colour (no-color.org).
func colorful(w io.Writer) bool { return screen(w) != nil && os.Getenv("NO_COLOR") == "" }

// widthOf is the width of a terminal, 0 for what is none.
func widthOf(w io.Writer) int {
	if f := screen(w); f != nil {
		return width(f)
	}
	return 0
}

// refresh is how often the status line is rewritten, so that its clock runs.
const refresh = 200 * time.Millisecond

// live shows what is going on while scenarios run: on a terminal a line that is
// rewritten, with a line above it for each scenario that has ended; elsewhere the
// latter only. A mute one leaves those lines out unless there is a terminal.
type live struct {
	mu      sync.Mutex
	w       io.Writer
	tty     *os.File // nil: no terminal
	color   bool
	mute    bool
	total   int // runs
	started time.Time
	running map[string]string // run → stage
	ended   int

	quit    chan struct{}
	stopped sync.WaitGroup
}

// newLive begins to show the progress of so many runs. It must be closed.
func newLive(w io.Writer, mute bool, total int) *live {
	l := &live{
		w: w, tty: screen(w), color: colorful(w), total: total, started: time.Now(),
		running: map[string]string{}, quit: make(chan struct{}),
	}
	l.mute = mute && l.tty == nil
	if l.tty != nil {
		l.stopped.Go(l.tick)
	}
	return l
}

func (l *live) tick() {
	t := time.NewTicker(refresh)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			l.mu.Lock()
			l.status()
			l.mu.Unlock()
		case <-l.quit:
			return
		}
	}
}

// progress takes what the runner tells of a round.
func (l *live) progress(round int, p runner.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := p.Scenario
	if round > 0 {
		key += fmt.Sprintf(" (%d)", round+1)
	}
	if p.Control != "" {
		key += "/" + p.Control
	}
	if p.Stage == "done" {
		delete(l.running, key)
		l.ended++
	} else {
		l.running[key] = p.Stage
	}
}

// done prints the line of a scenario that has ended with all its controls.
func (l *live) done(res *scenarios.Result) {
	if l.mute {
		return
	}
	most := 0
	if l.tty != nil {
		most = width(l.tty)
	}
	l.say(report.Line(res, l.color, most) + "\n")
}

// say prints text above the status line.
func (l *live) say(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	fmt.Fprint(l.w, text)
	l.status()
}

// width is how many characters a line of the terminal has.
func width(terminal *os.File) int {
	width, _, err := term.GetSize(int(terminal.Fd()))
	if err != nil || width < 20 {
		return 80
	}
	return width
}

// status rewrites the status line.
func (l *live) status() {
	if l.tty == nil {
		return
	}
	text := fmt.Sprintf("%6.1f s  %d of %d runs", time.Since(l.started).Seconds(), l.ended, l.total)
	var parts []string
	for key, stage := range l.running {
		parts = append(parts, key+": "+stage)
	}
	slices.Sort(parts)
	text += "  " + strings.Join(parts, " · ")
	fmt.Fprintf(l.w, "\r\x1b[K%s", fitted(l.tty, text))
}

// fitted cuts a status line to the terminal's width, which echoes ^C behind it.
func fitted(terminal *os.File, text string) string {
	if r, most := []rune(text), width(terminal)-3; len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func (l *live) erase() {
	if l.tty != nil {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

// close takes the status line away.
func (l *live) close() {
	close(l.quit)
	l.stopped.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
}
