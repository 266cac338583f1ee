package play

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"p2pmodel/core/peer"
	"p2pmodel/core/shard/field"
)

// scene is what there is to be seen at a moment: values only, so that a view of
// it is a function.
type scene struct {
	player, agent string
	online        bool // the Agent can be reached
	room          string
	state         string        // of the room, or what we wait for
	elapsed       time.Duration // of the match; 0: none runs
	members       int
	figures       []figure // we ourselves last, on top of the others
	rows          []row
	log           []logLine
	sent          uint64
}

// figure is a player on the field, with where it was, oldest first.
type figure struct {
	field.Figure
	own   bool
	trail []field.Position
}

// row is a line of the table of the others.
type row struct {
	player string
	colour uint8
	path   peer.Path
	rtt    time.Duration // of the game's datagrams, or else of the path's checks
	link   field.Link
	state  field.State
}

// logLine is something that happened.
type logLine struct {
	at   time.Time
	text string
	kind lineKind
}

type lineKind uint8

const (
	lineInfo lineKind = iota
	lineGood
	lineBad
	lineChat
)

// printable makes text of others harmless to a terminal: one line, no controls,
// nothing that turns the direction of writing.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			return '?'
		}
		return r
	}, text)
}

// short writes a duration in at most six characters.
func short(d time.Duration) string {
	switch {
	case d <= 0:
		return "–"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm", int(d.Minutes()))
}

// percent writes a part of 1 in at most four characters.
func percent(p float64) string {
	if p > 0 && p < 0.0995 {
		return fmt.Sprintf("%.1f%%", 100*p)
	}
	return fmt.Sprintf("%.0f%%", 100*p)
}

// clockText is a duration as minutes and seconds.
func clockText(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// pathKind is a word for a path.
func pathKind(p peer.Path) string {
	if p.Kind == peer.NoPath {
		return "none"
	}
	return p.Kind.String()
}

// pathPair is the pair of addresses of a path, and ours as the peer sees it where
// a NAT has changed it.
func pathPair(p peer.Path) string {
	if p.Kind == peer.NoPath {
		return ""
	}
	own := p.Local.String()
	if p.Mapped.IsValid() && p.Mapped != p.Local {
		own += " (" + mapped(p.Local, p.Mapped) + ")"
	}
	return own + " → " + p.Remote.String()
}

// mapped is a mapped address, by its port only if the address is the same.
func mapped(local, mapped netip.AddrPort) string {
	if local.Addr() == mapped.Addr() {
		return fmt.Sprintf(":%d", mapped.Port())
	}
	return mapped.String()
}
