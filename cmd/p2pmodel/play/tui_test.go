package play

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"p2pmodel/core/shard/field"
	"p2pmodel/core/shard/player"
)

func rune1(text string) tea.KeyMsg { return tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(text)} }

func newModel(g *game, say func(string)) *model {
	m := &model{game: g, theme: plain(), say: say, now: func() time.Time { return noon }, width: 80, height: 24, controls: controls{selected: -1}}
	m.scene = crowded(3)
	return m
}

// press gives the model keys, and carries out what it wants done; it reports
// whether that is to quit.
func press(m *model, keys ...tea.KeyMsg) (quit bool) {
	for _, k := range keys {
		if _, cmd := m.Update(k); cmd != nil {
			if _, ok := cmd().(tea.QuitMsg); ok {
				quit = true
			}
		}
	}
	return quit
}

func TestKeysSteer(t *testing.T) {
	g := newGame(noon, "ann", 0)
	m := newModel(g, nil)
	for key, want := range map[tea.KeyType]field.Direction{
		tea.KeyUp: field.Up, tea.KeyDown: field.Down, tea.KeyLeft: field.Left, tea.KeyRight: field.Right,
		tea.KeySpace: field.Still, tea.KeyHome: field.UpLeft, tea.KeyPgDown: field.DownRight,
	} {
		k := tea.KeyMsg{Type: key}
		if key == tea.KeySpace {
			k.Runes = []rune{' '}
		}
		if press(m, k); g.field.Own().Direction != want {
			t.Errorf("%v steers %v, want %v", k, g.field.Own().Direction, want)
		}
	}
}

func TestTabGoesThroughTheTable(t *testing.T) {
	m := newModel(newGame(noon, "ann", 0), nil)
	var rows []int
	for range 5 {
		press(m, tea.KeyMsg{Type: tea.KeyTab})
		rows = append(rows, m.selected)
	}
	press(m, tea.KeyMsg{Type: tea.KeyShiftTab}, tea.KeyMsg{Type: tea.KeyShiftTab})
	rows = append(rows, m.selected)
	// Back from the first one: none, then the last one.
	if want := []int{0, 1, 2, -1, 0, 2}; !slices.Equal(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
}

func TestTalking(t *testing.T) {
	for _, c := range []struct {
		name string
		keys []tea.KeyMsg
		said string
	}{
		{"a line", []tea.KeyMsg{rune1("t"), rune1("h"), rune1("i"), {Type: tea.KeyEnter}}, "hi"},
		{"in one go, as programs type", []tea.KeyMsg{rune1("thi there"), {Type: tea.KeyEnter}}, "hi there"},
		{"with q and a space", []tea.KeyMsg{rune1("t"), rune1("q"), {Type: tea.KeySpace, Runes: []rune{' '}}, rune1("q"), {Type: tea.KeyEnter}}, "q q"},
		{"corrected", []tea.KeyMsg{rune1("t"), rune1("hé"), {Type: tea.KeyBackspace}, rune1("o"), {Type: tea.KeyEnter}}, "ho"},
		{"thought better of", []tea.KeyMsg{rune1("t"), rune1("x"), {Type: tea.KeyEsc}}, ""},
		{"nothing", []tea.KeyMsg{rune1("t"), {Type: tea.KeyBackspace}, {Type: tea.KeyEnter}}, ""},
		{"pasted with a line end", []tea.KeyMsg{rune1("t"), {Type: tea.KeyRunes, Runes: []rune("a\x1b\nb"), Paste: true}, {Type: tea.KeyEnter}}, "a??b"},
		{"too long", []tea.KeyMsg{rune1("t"), rune1(strings.Repeat("x", 600)), {Type: tea.KeyEnter}}, strings.Repeat("x", 500)},
	} {
		said := ""
		m := newModel(newGame(noon, "ann", 0), func(text string) { said += text })
		if press(m, c.keys...) || said != c.said || m.typing || m.text != "" {
			t.Errorf("%s: said %q, want %q; typing %v", c.name, said, c.said, m.typing)
		}
	}
}

func TestQuitting(t *testing.T) {
	for name, keys := range map[string][]tea.KeyMsg{
		"q": {rune1("q")}, "escape": {{Type: tea.KeyEsc}}, "ctrl-c": {{Type: tea.KeyCtrlC}}, "ctrl-c while typing": {rune1("t"), {Type: tea.KeyCtrlC}},
		"q in a burst": {rune1("xq")},
	} {
		if !press(newModel(newGame(noon, "ann", 0), nil), keys...) {
			t.Errorf("%s does not quit", name)
		}
	}
}

// screen is a terminal's output, which the program writes from another goroutine.
type screen struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// TestTheTerminalIsRestored runs the whole program, and ends it in every way.
func TestTheTerminalIsRestored(t *testing.T) {
	for name, quit := range map[string]func(keys io.Writer, cancel func()){
		"by a key":      func(keys io.Writer, _ func()) { keys.Write([]byte("q")) },
		"by the signal": func(_ io.Writer, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g := newGame(time.Now(), "ann", 0)
			g.event(time.Now(), player.Attached{Agent: "a:1"})
			in, keys := io.Pipe()
			defer keys.Close()
			var out screen
			ended := make(chan error, 1)
			go func() { ended <- terminal(ctx, g, func(string) {}, in, &out) }()
			for end := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), "logged in at a:1"); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("nothing to be seen: %q", out.String())
				}
			}
			quit(keys, cancel)
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it does not end")
			}
			const enter, leave, hide, show = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25l", "\x1b[?25h"
			got := out.String()
			if strings.Count(got, enter) != 1 || !strings.HasPrefix(got[strings.LastIndex(got, "\x1b[?1049"):], leave) {
				t.Error("the other screen is not left")
			}
			if strings.LastIndex(got, show) < strings.LastIndex(got, hide) {
				t.Error("the cursor stays hidden")
			}
		})
	}
}
