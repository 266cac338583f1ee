package play

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/player"
)

// printer prints what happens, a line each: sentences or JSON objects. It may be
// used from any goroutine.
type printer struct {
	json bool
	mu   sync.Mutex
	out  io.Writer
}

// event prints an event of a player. Datagrams are not printed, links tell of
// them.
func (p *printer) event(at time.Time, e player.Event) {
	if p.json {
		if name, attrs := record(e); name != "" {
			p.record(at, name, attrs...)
		}
		return
	}
	if line, _ := sentence(e); line != "" {
		p.line(at, line)
	}
}

// line prints a sentence, unless objects are printed.
func (p *printer) line(at time.Time, text string) {
	if p.json {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%s %s\n", at.Format("15:04:05"), printable(text))
}

// record prints an object, unless sentences are printed. Values that are nil are
// left out.
func (p *printer) record(at time.Time, event string, attrs ...attr) {
	if !p.json {
		return
	}
	var b strings.Builder
	b.WriteString(`{"time":` + quoted(at.UTC().Format(time.RFC3339Nano)) + `,"event":` + quoted(event))
	for _, a := range attrs {
		if a.value != nil {
			b.WriteString("," + quoted(a.name) + ":" + quoted(a.value))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, b.String()+"}")
}

// quoted is a value in JSON. What is printed here always has one.
func quoted(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("print an event: %v", err))
	}
	return string(b)
}

// memberJSON is a member of a room as records have it.
type memberJSON struct {
	Player string `json:"player"`
	Rating int32  `json:"rating"`
	Ready  bool   `json:"ready"`
	Online bool   `json:"online"`
}

func roomAttrs(r *agentv1.Room) []attr {
	members := []memberJSON{}
	for _, m := range r.GetMembers() {
		members = append(members, memberJSON{m.Player, m.Rating, m.Ready, m.Online})
	}
	return []attr{
		{"room", r.GetId()}, {"title", r.GetSettings().GetTitle()}, {"mode", r.GetSettings().GetMode()},
		{"state", stateWord(r.GetState())}, {"revision", r.GetRevision()}, {"members", members},
	}
}

// stateWord is a room's state in records: open, playing, moving, ended.
func stateWord(s agentv1.RoomState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "ROOM_STATE_"))
}

func endedAttrs(e player.Ended) []attr {
	attrs := []attr{{"room", e.Room}, {"reason", text(e.Reason)}}
	if m := e.Match; m != nil {
		attrs = append(attrs, attr{"agreed", m.Agreed}, attr{"moves", m.Moves}, attr{"seconds", float64(m.EndedMs-m.StartedMs) / 1000})
	}
	return attrs
}

// linkJSON is a connection as records have it.
type linkJSON struct {
	Player    string   `json:"player"`
	State     string   `json:"state"`
	Path      pathJSON `json:"path"`
	RTTMs     float64  `json:"rtt_ms"`
	Loss      float64  `json:"loss"`
	SilenceMs float64  `json:"silence_ms"`
	GapMs     float64  `json:"gap_ms"`
	Received  uint64   `json:"received"`
	Late      uint64   `json:"late"`
	Lost      uint64   `json:"lost"`
}

// links prints how all others are connected.
func (p *printer) links(at time.Time, s scene) {
	list := make([]linkJSON, 0, len(s.rows))
	for _, r := range s.rows {
		list = append(list, linkJSON{
			Player: r.player, State: r.state.String(), Path: jsonPath(r.path), RTTMs: milliseconds(r.rtt), Loss: r.link.Loss,
			SilenceMs: milliseconds(r.link.Silence), GapMs: milliseconds(r.link.Gap),
			Received: r.link.Received, Late: r.link.Late, Lost: r.link.Lost,
		})
	}
	p.record(at, "links", attr{"sent", s.sent}, attr{"links", list})
}
