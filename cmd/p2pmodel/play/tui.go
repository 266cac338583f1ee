package play

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"

	"p2pmodel/core/shard/field"
	"p2pmodel/core/shard/limits"
)

// frameInterval is how often the terminal is drawn.
const frameInterval = field.TickInterval

// model is the terminal's side of a game.
type model struct {
	game  *game
	theme *theme
	// say tells the room something; it may take a while.
	say    func(text string)
	now    func() time.Time
	width  int
	height int
	scene  scene
	controls
}

// frameMsg asks for the next picture.
type frameMsg struct{}

func nextFrame() tea.Cmd {
	return tea.Tick(frameInterval, func(time.Time) tea.Msg { return frameMsg{} })
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return nextFrame() }

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case frameMsg:
		m.scene = m.game.scene(m.now())
		m.selected = min(m.selected, len(m.scene.rows)-1)
		return m, nextFrame()
	case tea.KeyMsg:
		return m, m.keys(msg)
	}
	return m, nil
}

// View implements tea.Model.
func (m *model) View() string {
	return view(m.scene, m.controls, m.width, m.height, m.theme)
}

var arrows = map[string]field.Direction{
	"up": field.Up, "right": field.Right, "down": field.Down, "left": field.Left,
	"home": field.UpLeft, "pgup": field.UpRight, "end": field.DownLeft, "pgdown": field.DownRight,
	" ": field.Still,
}

// keys takes a key, or characters that came at once because somebody is fast, has
// pasted them, or is a program.
func (m *model) keys(k tea.KeyMsg) tea.Cmd {
	for !m.typing && len(k.Runes) > 1 {
		first := tea.KeyMsg{Type: tea.KeyRunes, Runes: k.Runes[:1]}
		if cmd := m.key(first); cmd != nil {
			return cmd
		}
		k.Runes = k.Runes[1:]
	}
	if m.typing {
		return m.typed(k)
	}
	return m.key(k)
}

func (m *model) key(k tea.KeyMsg) tea.Cmd {
	switch s := k.String(); s {
	case "q", "ctrl+c", "esc":
		return tea.Quit
	case "t", "enter":
		m.typing = true
	case "tab":
		if m.selected++; m.selected >= len(m.scene.rows) {
			m.selected = -1
		}
	case "shift+tab":
		if m.selected--; m.selected < -1 {
			m.selected = len(m.scene.rows) - 1
		}
	default:
		if d, ok := arrows[s]; ok {
			m.game.steer(d)
		}
	}
	return nil
}

// typed takes a key while somebody writes a line.
func (m *model) typed(k tea.KeyMsg) tea.Cmd {
	switch k.Type {
	case tea.KeyCtrlC:
		return tea.Quit
	case tea.KeyEsc:
		m.typing, m.text = false, ""
	case tea.KeyEnter:
		text := strings.TrimSpace(m.text)
		m.typing, m.text = false, ""
		if text != "" {
			return func() tea.Msg { m.say(text); return nil }
		}
	case tea.KeyBackspace:
		_, size := utf8.DecodeLastRuneInString(m.text)
		m.text = m.text[:len(m.text)-size]
	case tea.KeyRunes, tea.KeySpace:
		for _, r := range printable(string(k.Runes)) { // pasted text may have anything
			if utf8.RuneCountInString(m.text) < limits.MaxChat {
				m.text += string(r)
			}
		}
	}
	return nil
}

// terminal shows a game until somebody quits, or ctx ends. The terminal is as it
// was before when it returns.
func terminal(ctx context.Context, g *game, say func(text string), in io.Reader, out io.Writer) error {
	m := &model{game: g, theme: newTheme(out), say: say, now: time.Now, width: 80, height: 24, controls: controls{selected: -1}}
	m.scene = g.scene(m.now())
	program := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithAltScreen(), tea.WithoutSignalHandler())
	_, err := program.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	return err
}
