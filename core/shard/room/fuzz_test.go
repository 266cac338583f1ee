package room_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/room"
)

// FuzzAdopt takes records as they may come: one that is taken makes a room that
// keeps its word.
func FuzzAdopt(f *testing.F) {
	playing := open(f, func(cfg *room.Config) { cfg.Start = true }, "ann", "bob")
	for _, p := range []string{"ann", "bob"} {
		if _, err := playing.r.Ticket(playing.now, playing.caller(p), peer(p)); err != nil {
			f.Fatal(err)
		}
	}
	playing.do(playing.r.Finish(playing.now, playing.caller("ann"), []byte("1:0")))
	ended := open(f, func(cfg *room.Config) { cfg.Start = true }, "ann")
	ended.do(ended.r.Finish(ended.now, ended.caller("ann"), nil))
	for _, s := range []*scene{open(f, nil, "ann"), playing, ended} {
		raw, err := proto.Marshal(s.r.Record(s.now))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec := &insidev1.RoomRecord{}
		if proto.Unmarshal(raw, rec) != nil {
			return
		}
		r, err := room.Adopt(epoch, "b", rec, "fuzz", room.Times{})
		if err != nil {
			return
		}
		view := r.View()
		if len(view.Members) > int(rec.Settings.Capacity) {
			t.Errorf("%d members in a room of %d", len(view.Members), rec.Settings.Capacity)
		}
		leaders := 0
		for _, m := range view.Members {
			if m.Leader {
				leaders++
			}
		}
		if len(view.Members) > 0 && leaders != 1 {
			t.Errorf("%d leaders", leaders)
		}
		c := room.Caller{Session: "s-new", Player: "new", Until: epoch.Add(time.Minute)}
		_ = r.Join(epoch, c)
		_, _ = r.Ticket(epoch, c, peer("new"))
		for _, m := range view.Members {
			_ = r.Report(epoch, c, []*agentv1.Connection{{Player: m.Player, Path: direct}})
		}
		_ = r.Finish(epoch, c, []byte("x"))
		again := r.Record(epoch)
		if n := proto.Size(again); n > room.MaxRecord+len(raw) {
			t.Errorf("its record has %d bytes", n)
		}
		for now, i := epoch, 0; !r.Closed() && i < 1000; i++ {
			for e, ok := r.PollEffect(); ok; e, ok = r.PollEffect() {
				if _, is := e.(room.Save); is {
					r.Saved(now, room.Kept)
				}
			}
			next := r.PollTimeout()
			if next.IsZero() {
				break
			}
			if next.After(now) {
				now = next
			}
			r.HandleTimeout(now)
		}
		if !r.Closed() {
			t.Error("a room that nobody cares for does not end")
		}
	})
}
