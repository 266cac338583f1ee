package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
	"p2pmodel/scenarios/runner"
)

// terminal reports whether w is a terminal that wants colour.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// live shows what is going on while scenarios run: on a terminal one line that
// is rewritten, with a line above it for each scenario that has ended;
// elsewhere the latter only.
type live struct {
	mu      sync.Mutex
	w       io.Writer
	tty     bool
	mute    bool
	started time.Time
	running map[string]string // run → stage
	ended   int
}

func newLive(w io.Writer, mute bool) *live {
	return &live{w: w, tty: terminal(w), mute: mute && !terminal(w), started: time.Now(), running: map[string]string{}}
}

func (l *live) progress(p runner.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := p.Scenario
	if p.Control != "" {
		key += "/" + p.Control
	}
	if p.Stage == "done" {
		delete(l.running, key)
		l.ended++
	} else {
		l.running[key] = p.Stage
	}
	l.status()
}

// done prints the line of a scenario that has ended with all its controls.
func (l *live) done(res *scenarios.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mute {
		return
	}
	l.erase()
	fmt.Fprintln(l.w, report.Line(res, l.tty))
	l.status()
}

func (l *live) status() {
	if !l.tty {
		return
	}
	text := fmt.Sprintf("%5.1f s  %d runs ended, %d under way", time.Since(l.started).Seconds(), l.ended, len(l.running))
	for key, stage := range l.running {
		if len(text) > 60 {
			text += " …"
			break
		}
		text += "  " + key + ": " + stage
	}
	if width, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
		text = string([]rune(text)[:min(len([]rune(text)), max(width-1, 0))])
	}
	fmt.Fprintf(l.w, "\r\x1b[K%s", text)
}

func (l *live) erase() {
	if l.tty {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

func (l *live) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
}
