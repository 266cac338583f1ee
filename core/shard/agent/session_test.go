package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/rpc"
)

// changes collects what a client is notified of.
type changes struct {
	mu  sync.Mutex
	all []client.Change
}

func (c *changes) add(x client.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, x)
}

func (c *changes) states() (s []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.all {
		s = append(s, x.State.String())
	}
	return s
}

func (c *changes) last() client.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[len(c.all)-1]
}

// watched is a player whose changes are collected.
func (w *world) watched(name string, agents ...*running) (*client.Client, *changes) {
	w.t.Helper()
	seen := &changes{}
	cfg := w.clientConfig(name, agents...)
	cfg.Notify = seen.add
	c := w.client(cfg)
	if _, err := c.Login(w.t.Context()); err != nil {
		w.t.Fatalf("%s logs in: %v", name, err)
	}
	return c, seen
}

func simulate(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t).simulated()) })
}

func TestPassesAreRenewedAtHalfTheirLife(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		ann := w.player("ann", a)
		room, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(28 * time.Second)
		if n := w.called("RenewPass"); n != 0 {
			t.Errorf("%d renewals before half of 60 s", n)
		}
		time.Sleep(5 * time.Second)
		if n := w.called("RenewPass"); n != 1 {
			t.Errorf("%d renewals after 33 s, want 1", n)
		}
		time.Sleep(10 * time.Minute)
		if n := w.called("RenewPass"); n < 19 || n > 23 {
			t.Errorf("%d renewals in 10.5 minutes, want about 21", n)
		}
		if _, err := ann.GetRoom(t.Context(), room.Id); err != nil {
			t.Errorf("after ten minutes: %v", err)
		}
	})
}

func TestADirectoryThatIsAwayIsAskedAgainUntilThePassEnds(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		ann, seen := w.watched("ann", a)
		room, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		w.fail("RenewPass", rpc.Errorf(connect.CodeUnavailable, "no leader"))
		time.Sleep(50 * time.Second)
		if n := w.called("RenewPass"); n < 7 {
			t.Errorf("asked %d times in 20 s", n)
		}
		if _, err := ann.GetRoom(t.Context(), room.Id); err != nil {
			t.Errorf("the pass is still good: %v", err)
		}
		w.fail("RenewPass", nil)
		time.Sleep(5 * time.Second)
		if got := seen.states(); !slices.Equal(got, []string{"attached"}) {
			t.Errorf("the client saw %v", got)
		}
	})
}

func TestASessionThatWasResumedElsewhereEndsHere(t *testing.T) {
	elsewhere := func(t *testing.T, w *world, after func(ann *client.Client, room string)) {
		a := w.run("agent-1", nil)
		// The player's own client would resume, and here everything is refused.
		ann, seen := w.watched("ann", a)
		room, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		w.supersede(ann.Session().Id)
		w.fail("ResumeSession", rpc.Errorf(connect.CodeUnauthenticated, "used"))
		after(ann, room.Id)
		synctest.Wait()
		if got := seen.states(); !slices.Equal(got, []string{"attached", "away", "ended"}) {
			t.Fatalf("the client saw %v", got)
		}
		if a.Sessions() != 0 {
			t.Errorf("%d sessions are left", a.Sessions())
		}
		if online, told := w.isOnline(room.Id, "ann"); told && !online {
			t.Error("the room was told that the player is offline, who is elsewhere")
		}
	}
	t.Run("found out by the renewal", func(t *testing.T) {
		simulate(t, func(t *testing.T, w *world) {
			elsewhere(t, w, func(*client.Client, string) { time.Sleep(40 * time.Second) })
		})
	})
	t.Run("found out by a request", func(t *testing.T) {
		simulate(t, func(t *testing.T, w *world) {
			elsewhere(t, w, func(ann *client.Client, room string) {
				for _, v := range w.verify { // shards have seen the later generation
					v.Verify(w.passOf(ann.Session().Id), time.Now())
				}
				_, err := ann.GetRoom(t.Context(), room)
				if !errors.Is(err, client.ErrEnded) {
					t.Errorf("the request got %v", err)
				}
			})
		})
	})
}

func TestRoomsAreToldWhoIsThere(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		ann := w.player("ann", a)
		room, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(22 * time.Second)
		if online, told := w.isOnline(room.Id, "ann"); !online || !told {
			t.Fatalf("after 22 s: online %v, told %v", online, told)
		}
		time.Sleep(200 * time.Second)
		if n := w.called("Presence"); n < 9 || n > 13 {
			t.Errorf("%d times in 222 s, want about 11", n)
		}
		ann.Close()
		time.Sleep(9 * time.Second)
		if online, _ := w.isOnline(room.Id, "ann"); !online || a.Sessions() != 1 {
			t.Error("detached before 10 s")
		}
		time.Sleep(2 * time.Second)
		if online, _ := w.isOnline(room.Id, "ann"); online || a.Sessions() != 0 {
			t.Errorf("after 11 s without connection: online %v, %d sessions attached", online, a.Sessions())
		}
	})
}

func TestARequestKeepsASessionWithoutAStreamAttached(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		c := w.raw(a)
		session := w.login(c, "ann")
		for range 10 {
			time.Sleep(8 * time.Second)
			if _, err := c.ListRooms(t.Context(), bearer(session, &agentv1.ListRoomsRequest{})); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(11 * time.Second)
		_, err := c.ListRooms(t.Context(), bearer(session, &agentv1.ListRoomsRequest{}))
		wantCode(t, err, connect.CodeUnauthenticated)
	})
}

func TestAnAgentThatEndsSendsItsClientsToAnother(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		one, two := w.run("agent-1", nil), w.run("agent-2", nil)
		ann, seen := w.watched("ann", one, two)
		room, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		first := ann.Session()
		one.stop()
		<-one.ended
		time.Sleep(5 * time.Second)
		if got := seen.states(); !slices.Equal(got, []string{"attached", "away", "resumed"}) {
			t.Fatalf("the client saw %v", got)
		}
		last := seen.last()
		if last.Away > time.Second || last.Endpoint != two.endpoint || len(last.Rooms) != 1 || last.Rooms[0].Id != room.Id {
			t.Errorf("resumed: %+v", last)
		}
		if now := ann.Session(); now.Id != first.Id || now.ResumeToken == first.ResumeToken || now.AccessToken == first.AccessToken {
			t.Errorf("the session was %v and is %v", first, now)
		}
		if _, err := ann.GetRoom(t.Context(), room.Id); err != nil {
			t.Error(err)
		}
		if online, _ := w.isOnline(room.Id, "ann"); !online {
			t.Error("the Agent that ended made the player offline, who was back already")
		}
	})
}

func TestAnAgentThatDiesLosesNobody(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		one, two := w.run("agent-1", nil), w.run("agent-2", nil)
		var all []*changes
		var clients []*client.Client
		for i := range 20 {
			c, seen := w.watched(fmt.Sprintf("player-%d", i), one, two)
			clients, all = append(clients, c), append(all, seen)
		}
		w.die("agent-1")
		time.Sleep(5 * time.Second)
		for i, seen := range all {
			if got := seen.states(); !slices.Equal(got, []string{"attached", "away", "resumed"}) {
				t.Fatalf("client %d saw %v", i, got)
			}
			if last := seen.last(); last.Away > 4*time.Second {
				t.Errorf("client %d was away for %v", i, last.Away)
			}
			if _, err := clients[i].ListRooms(t.Context(), &agentv1.ListRoomsRequest{}); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAStreamThatDoesNotKeepUpIsToldSo(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", func(c *agent.Config) { c.Limits.Events = 16 })
		c := w.raw(a)
		session := w.login(c, "ann")
		for i := range 50 {
			w.publish(shardNames[0], session.Id, said(fmt.Sprint(i)))
			synctest.Wait()
		}
		stream, err := c.Events(t.Context(), bearer(session, &agentv1.EventsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		var got []string
		for len(got) < 18 && stream.Receive() {
			switch k := stream.Msg().Kind.(type) {
			case *agentv1.Event_Hello:
				got = append(got, "hello")
			case *agentv1.Event_Overflow:
				got = append(got, fmt.Sprintf("missed %d", k.Overflow.Missed))
			case *agentv1.Event_Chat:
				got = append(got, k.Chat.Text)
			}
		}
		want := []string{"hello", "missed 34"}
		for i := 34; i < 50; i++ {
			want = append(want, fmt.Sprint(i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v (%v)\nwant %v", got, stream.Err(), want)
		}
	})
}

func TestEventsThatAreLargeMakeRoomToo(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", func(c *agent.Config) { c.Limits.EventBytes = 4 << 10 })
		c := w.raw(a)
		session := w.login(c, "ann")
		for range 10 {
			w.publish(shardNames[0], session.Id, said(string(make([]byte, 1000))))
			synctest.Wait()
		}
		stream, err := c.Events(t.Context(), bearer(session, &agentv1.EventsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		stream.Receive() // Hello
		if !stream.Receive() || stream.Msg().GetOverflow().GetMissed() != 7 {
			t.Errorf("got %v, want Overflow of 7: three of a thousand bytes fit into 4 KiB", stream.Msg())
		}
	})
}

func TestAnIdleStreamIsKeptAlive(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		c := w.raw(a)
		session := w.login(c, "ann")
		stream, err := c.Events(t.Context(), bearer(session, &agentv1.EventsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		began := time.Now()
		stream.Receive() // Hello
		for i := 1; i <= 20; i++ {
			if !stream.Receive() || stream.Msg().Kind != nil {
				t.Fatalf("%v, %v", stream.Msg(), stream.Err())
			}
			if at := time.Since(began); at != time.Duration(i)*15*time.Second {
				t.Errorf("a sign of life at %v", at)
			}
		}
	})
}

func TestASecondStreamEndsTheFirst(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		c := w.raw(a)
		session := w.login(c, "ann")
		first, err := c.Events(t.Context(), bearer(session, &agentv1.EventsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		first.Receive()
		second, err := c.Events(t.Context(), bearer(session, &agentv1.EventsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if !first.Receive() || !first.Msg().GetGoodbye().GetFinal() || first.Receive() {
			t.Errorf("the first got %v, %v; want Goodbye and no more", first.Msg(), first.Err())
		}
		second.Receive()
		w.publish(shardNames[0], session.Id, said("for the second"))
		if !second.Receive() || second.Msg().GetChat().GetText() != "for the second" {
			t.Errorf("the second got %v, %v", second.Msg(), second.Err())
		}
	})
}

func TestResumeGivesTheRoomsAndEndsTheOldAttachment(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		c := w.raw(a)
		old := w.login(c, "ann")
		created, err := c.CreateRoom(t.Context(), bearer(old, &agentv1.CreateRoomRequest{Settings: settings()}))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := c.Events(t.Context(), bearer(old, &agentv1.EventsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		stream.Receive()
		// The room moves while the Agent believes it where it was.
		w.move(created.Msg.Room.Id)
		resumed, err := c.Resume(t.Context(), connect.NewRequest(&agentv1.ResumeRequest{ResumeToken: old.ResumeToken}))
		if err != nil {
			t.Fatal(err)
		}
		if got := resumed.Msg.Rooms; len(got) != 1 || got[0].Id != created.Msg.Room.Id || got[0].State != agentv1.RoomState_ROOM_STATE_OPEN {
			t.Errorf("rooms: %v", got)
		}
		if !stream.Receive() || stream.Msg().GetGoodbye() == nil || stream.Msg().GetGoodbye().Final {
			t.Errorf("the old stream got %v", stream.Msg())
		}
		_, err = c.ListRooms(t.Context(), bearer(old, &agentv1.ListRoomsRequest{}))
		wantCode(t, err, connect.CodeUnauthenticated)
		if _, err = c.ListRooms(t.Context(), bearer(resumed.Msg.Session, &agentv1.ListRoomsRequest{})); err != nil {
			t.Error(err)
		}
		// A room whose shard cannot be asked is on its way.
		w.fail("Presence", rpc.Errorf(connect.CodeUnavailable, "fenced"))
		again, err := c.Resume(t.Context(), connect.NewRequest(&agentv1.ResumeRequest{ResumeToken: resumed.Msg.Session.ResumeToken}))
		if err != nil || len(again.Msg.Rooms) != 1 || again.Msg.Rooms[0].State != agentv1.RoomState_ROOM_STATE_MOVING {
			t.Errorf("with the shard away: %v, %v", again, err)
		}
	})
}

func TestCallsFollowARoom(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		ann := w.player("ann", a)
		room, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		w.move(room.Id)
		if err := ann.Chat(t.Context(), room.Id, "still here"); err != nil {
			t.Fatal(err)
		}
		if n := w.called("FindRoom"); n != 1 {
			t.Errorf("the directory was asked %d times, want once", n)
		}
		if n := w.called("Chat"); n != 2 {
			t.Errorf("Chat was sent %d times, want once to each shard", n)
		}
		// The same place again: the shard's word counts.
		w.fail("Chat", rpc.Errorf(connect.CodeAborted, "epoch"))
		err = ann.Chat(t.Context(), room.Id, "and here")
		wantCode(t, err, connect.CodeUnavailable)
		if n := w.called("Chat"); n != 3 {
			t.Errorf("Chat was repeated at the same shard")
		}
	})
}

// A room is on its way for some time: its former shard has let go of it, and the
// next one has not taken it yet. Calls wait for that, each room's for itself; a
// resumption does not.
func TestCallsWaitForARoomOnItsWay(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		ann := w.player("ann", a)
		room, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		w.move(room.Id)
		w.fail("FindRoom", rpc.Errorf(connect.CodeUnavailable, "it is on its way"))
		time.AfterFunc(2*time.Second, func() { w.fail("FindRoom", nil) })
		began := time.Now()
		if err := ann.Chat(t.Context(), room.Id, "still here"); err != nil {
			t.Errorf("a call to a room on its way: %v", err)
		}
		if took := time.Since(began); took < 2*time.Second || took > 2500*time.Millisecond {
			t.Errorf("it took %v, want as long as the way", took)
		}
		// Nobody takes it.
		w.move(room.Id)
		w.fail("FindRoom", rpc.Errorf(connect.CodeUnavailable, "it is on its way"))
		began = time.Now()
		wantCode(t, ann.Chat(t.Context(), room.Id, "anybody?"), connect.CodeUnavailable)
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("it was given up after %v, want within the client's own patience", took)
		}
		w.fail("Presence", rpc.Errorf(connect.CodeUnavailable, "fenced"))
		began = time.Now()
		resumed, err := w.raw(a).Resume(t.Context(), connect.NewRequest(&agentv1.ResumeRequest{ResumeToken: ann.Session().ResumeToken}))
		if err != nil || len(resumed.Msg.Rooms) != 1 || resumed.Msg.Rooms[0].State != agentv1.RoomState_ROOM_STATE_MOVING {
			t.Errorf("resumed: %v, %v; want the room, as one that moves", resumed, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the resumption took %v, want no wait for the room", took)
		}
	})
}

// What was published while the Agent was cut off from the engine has not come, and
// nobody knows what it was: sessions are told so.
func TestSessionsAskAnewWhenTheEngineWasAway(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		ann := w.player("ann", a)
		a.engine.Disconnect()
		time.Sleep(time.Second)
		a.engine.Reconnect()
		select {
		case e := <-ann.Events():
			if e.GetOverflow().GetMissed() == 0 {
				t.Errorf("got %v, want Overflow", e)
			}
		case <-time.After(5 * time.Second):
			t.Error("nothing came, want Overflow")
		}
	})
}

// said is a line of chat as an event.
func said(text string) *agentv1.Event {
	return &agentv1.Event{Kind: &agentv1.Event_Chat{Chat: &agentv1.ChatMessage{Player: "bob", Text: text}}}
}
