package play

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/player"
)

// everyEvent is one of each type of event that is printed, with every field set,
// and then without those that may be missing.
func everyEvent() []player.Event {
	room := &agentv1.Room{
		Id: "abcdefgh2345", State: agentv1.RoomState_ROOM_STATE_PLAYING, Revision: 7,
		Settings: &agentv1.RoomSettings{Title: "Friday's game", Mode: "field"},
		Members:  []*agentv1.Member{{Player: "ann", Rating: 1500, Ready: true, Online: true}, {Player: "bob"}},
	}
	id := identity.ID{1}
	session := peer.SessionID{2}
	relayed := direct
	relayed.Kind, relayed.Mapped = peer.Relay, relayed.Remote
	return []player.Event{
		player.Attached{Agent: "a:1"},
		player.Joined{Room: room},
		player.RoomChanged{Room: room},
		player.Chat{Room: room.Id, Player: "bob", Text: "a\n\"b\""},
		player.MatchFailed{Reason: "nobody came"},
		player.Started{Room: room.Id, Mesh: "m", Rendezvous: "10.0.0.1:1", Relay: "10.0.0.1:2"},
		player.Started{Room: room.Id, Mesh: "m", Rendezvous: "10.0.0.1:1"},
		player.Listening{Local: "0.0.0.0:40000"},
		player.PeersChanged{Peers: map[string]identity.ID{"bob": id}},
		player.PeerUp{Player: "bob", Peer: id, Session: session, Path: relayed},
		player.PathChanged{Player: "bob", Session: session, Old: relayed, New: direct},
		player.PathLost{Player: "bob", Path: direct, After: 1500 * time.Microsecond},
		player.PathChanged{Player: "bob", Session: session, Old: direct},
		player.Renewed{Expires: noon.Add(time.Hour)},
		player.Disconnected{Err: errors.New("reset")},
		player.Resumed{Agent: "b:1", After: 1300 * time.Millisecond},
		player.Moved{Room: room.Id, Reason: "its shard died", Mesh: "n", Rendezvous: "10.0.0.9:1", Relay: "10.0.0.9:2", After: 40 * time.Millisecond},
		player.PeerDown{Player: "bob", Session: session, Err: peer.ErrClosedByPeer},
		player.PeerDown{Player: "bob", Session: session},
		player.Failed{What: "relay", Err: errors.New("refused")},
		player.Ended{Room: room.Id, Reason: "time", Match: &agentv1.Match{Agreed: true, Moves: 1, StartedMs: 1000, EndedMs: 61500}},
		player.Ended{Room: room.Id},
		player.Stopped{Room: room.Id, Err: errors.New("no address")},
		player.Stopped{Room: room.Id},
		player.Left{Room: room.Id, Reason: "closed"},
		player.Left{Room: room.Id},
	}
}

// TestObjects: what scripts read. The golden file is their contract.
func TestObjects(t *testing.T) {
	var out bytes.Buffer
	p := &printer{json: true, out: &out}
	for _, e := range everyEvent() {
		p.event(noon, e)
	}
	p.links(noon, crowded(3))
	p.event(noon, player.Received{Player: "bob", Payload: []byte("x")}) // not printed
	p.line(noon, "a sentence")                                          // neither
	p.record(noon, "done", attr{"error", nil})
	golden(t, "events.jsonl", out.String())
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if _, err := time.Parse(time.RFC3339Nano, v["time"].(string)); err != nil || v["event"] == "" {
			t.Errorf("no time or no event: %s", line)
		}
	}
}

func TestSentences(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out}
	for _, e := range everyEvent() {
		p.event(noon, e)
	}
	p.record(noon, "links")
	p.line(noon, "evil \x1b[2J")
	golden(t, "sentences.txt", out.String())
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Error("a control sequence is printed")
	}
}

// TestEveryEventIsPrinted finds types of events that have no form.
func TestEveryEventIsPrinted(t *testing.T) {
	text, err := os.ReadFile("../../../core/shard/player/event.go")
	if err != nil {
		t.Fatal(err)
	}
	var printed []string
	for _, e := range everyEvent() {
		name, _ := record(e)
		printed = append(printed, name)
	}
	for _, line := range strings.Split(string(text), "\n") {
		name, _, ok := strings.Cut(strings.TrimSpace(line), " struct")
		if !ok || strings.HasPrefix(name, "//") || name == "Received" {
			continue
		}
		snake := ""
		for i, r := range name {
			if i > 0 && r >= 'A' && r <= 'Z' {
				snake += "_"
			}
			snake += strings.ToLower(string(r))
		}
		if !slices.Contains(printed, snake) {
			t.Errorf("player.%s is not printed as %q, or not tested", name, snake)
		}
	}
}

func TestSummary(t *testing.T) {
	var h histogram
	for i := range 100 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	s := &Summary{
		Bots: 8, LoggedIn: 8, InRooms: 8, Playing: 7, Ended: 1, Seconds: 61.5, TickMs: 50,
		Requests: map[string]Quantiles{"Login": h.quantiles(), "load": h.quantiles()}, Failures: map[string]uint64{"Login: unavailable": 3},
		AgentsLost: 2, Resumes: h.quantiles(), Ticks: h.quantiles(), Gaps: h.quantiles(), Sent: 1000, Received: 990, Loss: 0.01,
		Paths: map[string]int{"direct": 50, "relay": 6}, RTT: h.quantiles(), ResidentBytes: 300 << 20, ResidentBytesPerBot: 130 << 10, Goroutines: 80,
	}
	var table, object bytes.Buffer
	if err := errors.Join(s.table(&table), s.json(&object)); err != nil {
		t.Fatal(err)
	}
	golden(t, "summary.txt", table.String())
	golden(t, "summary.json", object.String())
}

func TestKindsOfFailures(t *testing.T) {
	m := newMeasures()
	m.done("Login", time.Second, nil)
	m.done("Login", time.Second, errors.New("odd"))
	m.done("Login", time.Second, os.ErrDeadlineExceeded)
	m.event(player.Disconnected{})
	m.event(player.Resumed{After: time.Second})
	var s Summary
	s.Requests, s.Failures = map[string]Quantiles{}, map[string]uint64{}
	m.addTo(&s)
	if s.Requests["Login"].Count != 1 || s.Failures["Login: other"] != 2 || m.failed() != 2 || s.AgentsLost != 1 || s.Resumes.Max != 1000 {
		t.Errorf("%+v", s)
	}
}

// golden compares with a file; go test -update writes it anew.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not what %s has (go test -update writes it anew):\n%s", file, got)
	}
}
