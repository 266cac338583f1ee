package room_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/identity"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
)

var epoch = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

const id = "roomaaaaaaaa"

// scene is a room with a clock and what it has said.
type scene struct {
	t    testing.TB
	r    *room.Room
	now  time.Time
	said []string // "Kind→session session"
	// effects of the last drain, tells left out
	saves   []room.Save
	ended   []*agentv1.Match
	dropped bool
}

func settings(change func(*agentv1.RoomSettings)) *agentv1.RoomSettings {
	s := &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "A room", Mode: "duel", Capacity: 4}
	if change != nil {
		change(s)
	}
	return s
}

func open(t testing.TB, change func(*room.Config), players ...string) *scene {
	t.Helper()
	cfg := room.Config{ID: id, Shard: "a", Epoch: 3, Settings: settings(nil)}
	for i, p := range players {
		cfg.Members = append(cfg.Members, &insidev1.Participant{Session: "s-" + p, Player: p, Leader: i == 0})
	}
	if change != nil {
		change(&cfg)
	}
	r, err := room.Open(epoch, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, r: r, now: epoch}
	s.drain()
	return s
}

// drain takes the effects and answers saves.
func (s *scene) drain() {
	for {
		e, ok := s.r.PollEffect()
		if !ok {
			return
		}
		switch e := e.(type) {
		case room.Tell:
			kind := fmt.Sprintf("%T", e.Event.Kind)
			s.said = append(s.said, kind[strings.LastIndexByte(kind, '_')+1:]+"→"+strings.Join(e.Sessions, ","))
		case room.Save:
			s.saves = append(s.saves, e)
			s.r.Saved(s.now, room.Kept)
		case room.Ended:
			s.ended = append(s.ended, e.Match)
		case room.Drop:
			s.dropped = true
		}
	}
}

// pass lets time pass, with all timeouts in between.
func (s *scene) pass(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for i := 0; ; i++ {
		next := s.r.PollTimeout()
		if next.IsZero() || next.After(end) {
			break
		}
		if i > 10000 {
			s.t.Fatalf("the room wants to be called at %v again and again", next.Sub(epoch))
		}
		if next.After(s.now) {
			s.now = next
		}
		s.r.HandleTimeout(s.now)
		s.drain()
	}
	s.now = end
}

func (s *scene) caller(player string) room.Caller {
	return room.Caller{Session: "s-" + player, Player: player, Rating: 1500, Generation: 1, Until: s.now.Add(time.Minute)}
}

func (s *scene) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	s.drain()
}

func (s *scene) refused(err error, code connect.Code) {
	s.t.Helper()
	if rpc.CodeOf(err) != code {
		s.t.Errorf("got %v, want %v", err, code)
	}
	s.drain()
}

// heard gives what was said since it was asked last.
func (s *scene) heard() string {
	said := strings.Join(s.said, " ")
	s.said = nil
	return said
}

func (s *scene) expect(what string, got, want any) {
	s.t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		s.t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// roster is who is in the room: * leads, + is ready, ? is offline.
func (s *scene) roster() string {
	var list []string
	for _, m := range s.r.View().Members {
		text := m.Player
		if m.Leader {
			text += "*"
		}
		if !m.Online {
			text += "?"
		}
		if m.Ready {
			text += "+"
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

// alive keeps players online for a while.
func (s *scene) alive(d time.Duration, players ...string) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		s.pass(min(20*time.Second, end.Sub(s.now)))
		for _, p := range players {
			s.do(s.r.Presence(s.now, s.caller(p), true))
		}
	}
}

func peer(name string) identity.ID {
	var seed [identity.Size]byte
	copy(seed[:], name)
	return identity.KeyFromSeed(seed).ID()
}
