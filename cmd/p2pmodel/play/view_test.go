package play

import (
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"p2pmodel/core/peer"
	"p2pmodel/core/shard/field"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// crowded is a scene with others of every kind.
func crowded(others int) scene {
	s := scene{
		player: "ann", agent: "agent-1", online: true, room: "abcdefgh2345", state: "playing", elapsed: 83 * time.Second, members: others + 1,
	}
	for i := range others {
		f := figure{Figure: field.Figure{
			Player: fmt.Sprintf("bot-%d", i+1), Colour: uint8(i+1) % field.Colours,
			At: field.Position{X: (150 + 370*i) % field.Width, Y: (90 + 210*i) % field.Height},
		}}
		for j := range 6 {
			f.trail = append(f.trail, field.Position{X: max(f.At.X-36*(6-j), 0), Y: f.At.Y})
		}
		r := row{
			player: f.Player, colour: f.Colour, rtt: time.Duration(i*i)*3*time.Millisecond + 400*time.Microsecond,
			link: field.Link{Received: 1600, Gap: 61 * time.Millisecond, Loss: float64(i) / 50},
			path: peer.Path{
				Kind: peer.Direct, Local: netip.MustParseAddrPort("192.168.1.2:40001"), Mapped: netip.MustParseAddrPort("198.18.10.1:61003"),
				Remote: netip.MustParseAddrPort(fmt.Sprintf("198.18.%d.1:5000%d", 20+i, i%10)),
			},
		}
		switch i % 4 {
		case 1:
			r.path.Kind, r.path.Mapped = peer.Relay, r.path.Local
		case 2:
			f.State, r.state = field.Fading, field.Fading
			r.link.Silence, r.link.Gap = 1300*time.Millisecond, 1300*time.Millisecond
		case 3:
			r.state, r.path, r.rtt, r.link = field.Gone, peer.Path{}, 0, field.Link{}
		}
		s.rows = append(s.rows, r)
		if r.state != field.Gone {
			s.figures = append(s.figures, f)
		}
	}
	s.figures = append(s.figures, figure{own: true, Figure: field.Figure{Player: "ann", At: field.Position{X: 800, Y: 400}}})
	for i, l := range []logLine{
		{text: "in room abcdefgh2345: Friday's game"}, {text: "the match runs"},
		{text: "bot-1: direct 192.168.1.2:40001 → 198.18.20.1:50000", kind: lineGood},
		{text: "bot-3: the path stopped answering 2s ago", kind: lineBad}, {text: "bot-1 says: hello, everybody", kind: lineChat},
	} {
		l.at = noon.Add(time.Duration(i) * time.Second)
		s.log = append(s.log, l)
	}
	return s
}

// plain is a theme without colours.
func plain() *theme {
	t := newTheme(io.Discard)
	t.renderer.SetColorProfile(termenv.Ascii)
	return t
}

func TestViews(t *testing.T) {
	lonely := scene{player: "ann", agent: "127.0.0.1:8443", state: "waiting", online: true}
	lost := crowded(2)
	lost.online, lost.player, lost.rows[1].player = false, strings.Repeat("ann and bob, ", 9), "a name that is much too long for a table"
	for _, c := range []struct {
		name          string
		scene         scene
		controls      controls
		width, height int
	}{
		{"nine-80x24", crowded(9), controls{selected: 0}, 80, 24},
		{"nine-120x40", crowded(9), controls{selected: 1}, 120, 40},
		{"forty-80x24", crowded(40), controls{selected: -1}, 80, 24},
		{"lonely-80x24", lonely, controls{selected: -1}, 80, 24},
		{"typing-60x16", crowded(2), controls{selected: -1, typing: true, text: "a long line that somebody types into the small terminal of theirs"}, 60, 16},
		{"lost-80x24", lost, controls{selected: 1}, 80, 24},
		{"small-40x10", lonely, controls{}, 40, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := view(c.scene, c.controls, c.width, c.height, plain()) + "\n"
			lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
			if len(lines) != c.height && !strings.HasPrefix(c.name, "small") {
				t.Errorf("%d lines, want %d", len(lines), c.height)
			}
			for i, l := range lines {
				if w := ansi.StringWidth(l); w > c.width {
					t.Errorf("line %d is %d wide, want at most %d: %q", i, w, c.width, l)
				}
			}
			golden(t, "view-"+c.name+".txt", got)
		})
	}
}

// TestColoursChangeNothingElse: what a terminal with colours shows is what one
// without shows.
func TestColoursChangeNothingElse(t *testing.T) {
	colourful := newTheme(io.Discard)
	colourful.renderer.SetColorProfile(termenv.ANSI)
	for _, size := range [][2]int{{80, 24}, {120, 40}} {
		c := controls{selected: 2}
		a := view(crowded(9), c, size[0], size[1], plain())
		b := view(crowded(9), c, size[0], size[1], colourful)
		if a == b {
			t.Error("no colours at all")
		}
		if ansi.Strip(b) != a {
			t.Errorf("with colours:\n%s\nwithout:\n%s", ansi.Strip(b), a)
		}
	}
}

func TestTextOfOthersIsHarmless(t *testing.T) {
	s := crowded(2)
	evil := "\x1b[2J\x1b]0;gotcha\a\u202eevil\r\n\u2028x"
	s.player, s.rows[0].player, s.figures[0].Player, s.log[0].text = evil, evil, evil, evil
	for _, c := range []controls{{selected: 0}, {typing: true, text: evil}} {
		for _, r := range strings.ReplaceAll(view(s, c, 80, 24, plain()), "\n", "") {
			if r < ' ' || r == 0x7f || r == '\u202e' || r == '\u2028' {
				t.Fatalf("the character %U reaches the terminal", r)
			}
		}
	}
}
