package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
)

var two = []string{"a", "b"}

func states(all []client.Change) (s []string) {
	for _, x := range all {
		s = append(s, x.State.String())
	}
	return s
}

func wantStates(t *testing.T, seen *changes, want ...string) {
	t.Helper()
	if got := states(seen.get()); !slices.Equal(got, want) {
		t.Fatalf("notified of %v, want %v", got, want)
	}
}

func TestConfigurationsThatAreWrong(t *testing.T) {
	for _, endpoints := range [][]string{nil, {""}, {"a"}, {"a:443", "b"}, {":443"}, {"a:"}} {
		if _, err := client.New(client.Config{Endpoints: endpoints}); err == nil {
			t.Errorf("%q was taken", endpoints)
		}
	}
	c, err := client.New(client.Config{Endpoints: []string{"a:443"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(t.Context()); err == nil || !strings.Contains(err.Error(), "credential") {
		t.Errorf("without credential: %v", err)
	}
	if _, err := c.GetRoom(t.Context(), "r"); !errors.Is(err, client.ErrNotLoggedIn) {
		t.Errorf("before Login: %v", err)
	}
	c.Close()
	if _, open := <-c.Events(); open {
		t.Error("events after Close")
	}
	if _, err := c.GetRoom(t.Context(), "r"); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestLoginTriesOneAgentAfterAnother(t *testing.T) {
	for _, row := range []struct {
		name string
		a    func(a *fakeAgent)
		took time.Duration
	}{
		{"the first is there", func(*fakeAgent) {}, 0},
		{"the first refuses connections", func(a *fakeAgent) { a.dead = true }, 0},
		{"the first says nothing", func(a *fakeAgent) { a.mute = true }, 1500 * time.Millisecond},
		{"the first is full", func(a *fakeAgent) {
			a.fail["Login"] = connect.NewError(connect.CodeResourceExhausted, errors.New("full"))
		}, 0},
		{"the first ends", func(a *fakeAgent) { a.fail["Login"] = leaving() }, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			simulate(t, two, func(t *testing.T, w *world) {
				w.agents["a"].set(func() { row.a(w.agents["a"]) })
				began := time.Now()
				c, seen := w.player(two...)
				if took := time.Since(began); took != row.took {
					t.Errorf("took %v, want %v", took, row.took)
				}
				want := "b:443"
				if row.name == "the first is there" {
					want = "a:443"
				}
				if c.Endpoint() != want || c.Session().Player != "ann" {
					t.Errorf("attached to %s as %v", c.Endpoint(), c.Session())
				}
				wantStates(t, seen, "attached")
				if _, err := c.Login(t.Context()); !errors.Is(err, client.ErrLoggedIn) {
					t.Errorf("a second Login: %v", err)
				}
			})
		})
	}
}

func TestACredentialThatIsRefusedIsNotTriedElsewhere(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		asked := 0
		c := w.with(client.Config{
			Endpoints: []string{"a:443", "b:443"}, TLS: &tls.Config{RootCAs: w.trust}, Dial: w.dial,
			Credential: func(ctx context.Context) (*agentv1.LoginRequest, error) {
				asked++
				return client.Token([]string{"bad", "good"}[asked-1])(ctx)
			},
		})
		_, err := c.Login(t.Context())
		if connect.CodeOf(err) != connect.CodeUnauthenticated || asked != 1 || len(w.order) != 1 {
			t.Fatalf("%v after %d credentials at %v", err, asked, w.order)
		}
		if _, err := c.Login(t.Context()); err != nil {
			t.Errorf("with another credential: %v", err)
		}
	})
}

func TestLoginEndsWithItsContext(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		for _, a := range w.agents {
			a.set(func() { a.dead = true })
		}
		c, _ := w.client(two...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if _, err := c.Login(ctx); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%v, want what was wrong last", err)
		}
		if took := time.Since(began); took < 55*time.Second || took > time.Minute {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestTheSessionGoesOnAtAnotherAgent(t *testing.T) {
	for _, row := range []struct {
		name  string
		event func(w *world, a *fakeAgent)
		most  time.Duration // away
	}{
		{"its connection is cut", func(_ *world, a *fakeAgent) { a.cut() }, 250 * time.Millisecond},
		{"it says goodbye", func(_ *world, a *fakeAgent) { a.events <- goodbye(false) }, 250 * time.Millisecond},
		{"its machine falls", func(_ *world, a *fakeAgent) { a.fall() }, 3 * time.Second},
		{"its machine falls, and the next one says nothing", func(w *world, a *fakeAgent) {
			a.fall()
			w.agents["b"].set(func() { w.agents["b"].mute = true })
		}, 5 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			simulate(t, []string{"a", "b", "c"}, func(t *testing.T, w *world) {
				c, seen := w.player("a", "b", "c")
				w.rooms = []*agentv1.Room{{Id: "r", Revision: 7}}
				old := c.Session()
				began := time.Now()
				row.event(w, w.agents["a"])
				room, err := c.GetRoom(t.Context(), "r") // waits for it
				if err != nil || room.Id != "r" {
					t.Fatalf("%v, %v", room, err)
				}
				if took := time.Since(began); took > row.most {
					t.Errorf("a request waited for %v, at most %v", took, row.most)
				}
				time.Sleep(row.most) // the request may have been answered before the farewell was heard
				synctest.Wait()
				wantStates(t, seen, "attached", "away", "resumed")
				last := seen.get()[2]
				if last.Away > row.most+time.Second || len(last.Rooms) != 1 || seen.get()[1].Err == nil || seen.get()[1].Endpoint != "a:443" {
					t.Errorf("notified of %+v", seen.get()[1:])
				}
				if now := c.Session(); now.ResumeToken == old.ResumeToken {
					t.Error("the resume token is the old one")
				}
				if e := <-c.Events(); e.GetRoomChanged().GetRoom().GetRevision() != 7 {
					t.Errorf("the first event is %v, want the room as it is", e)
				}
				w.agents[c.Endpoint()[:1]].events <- said("hello")
				if e := <-c.Events(); e.GetChat().GetText() != "hello" {
					t.Errorf("got %v", e)
				}
			})
		})
	}
}

func TestARefusedAccessTokenIsReplaced(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		c, seen := w.player(two...)
		w.agents["a"].set(func() { w.agents["a"].access = "another" })
		if err := c.Chat(t.Context(), "r", "hello"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantStates(t, seen, "attached", "away", "resumed")
	})
}

func TestRequestsAreRepeatedWhereTheyMayBe(t *testing.T) {
	for _, row := range []struct {
		name           string
		prepare        func(a *fakeAgent)
		chat, room     bool // is done in the end
		chats, gotRoom int  // times at the first Agent
	}{
		{"an Agent that ends", func(a *fakeAgent) { a.fail["Chat"], a.fail["GetRoom"] = leaving(), leaving() }, true, true, 1, 1},
		{"a connection that breaks meanwhile", func(a *fakeAgent) {
			a.before = func(m string) {
				if m == "Chat" || m == "GetRoom" {
					a.cut()
				}
			}
		}, false, true, 1, 1},
		{"an error of the service", func(a *fakeAgent) {
			for _, m := range []string{"Chat", "GetRoom"} {
				a.fail[m] = connect.NewError(connect.CodeUnavailable, errors.New("the shard is away"))
			}
		}, false, false, 1, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, method := range []string{"Chat", "GetRoom"} {
				simulate(t, two, func(t *testing.T, w *world) {
					c, _ := w.player(two...)
					a := w.agents["a"]
					a.set(func() { row.prepare(a) })
					var err error
					want := row.chat
					if method == "Chat" {
						err = c.Chat(t.Context(), "r", "hello")
					} else {
						want = row.room
						_, err = c.GetRoom(t.Context(), "r")
					}
					if (err == nil) != want {
						t.Errorf("%s: %v, want it to be done: %v", method, err, want)
					}
					if n := a.called(method); n != 1 {
						t.Errorf("%s was sent %d times to the first Agent", method, n)
					}
					if n := w.agents["b"].called(method); (n == 1) != want || n > 1 {
						t.Errorf("%s was sent %d times to the second Agent", method, n)
					}
				})
			}
		})
	}
}

func TestASessionThatCannotBeResumedEnds(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		c, seen := w.player(two...)
		w.refuse = true
		w.agents["a"].cut()
		for range c.Events() {
		}
		wantStates(t, seen, "attached", "away", "ended")
		_, err := c.GetRoom(t.Context(), "r")
		if !errors.Is(err, client.ErrEnded) || connect.CodeOf(err) != connect.CodeUnauthenticated || !errors.Is(c.Err(), client.ErrEnded) {
			t.Errorf("a request got %v", err)
		}
	})
}

func TestAFinalGoodbyeIsTheEnd(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		c, seen := w.player(two...)
		w.agents["a"].events <- goodbye(true)
		for range c.Events() {
		}
		wantStates(t, seen, "attached", "ended")
		if w.agents["b"].called("Resume") != 0 || !strings.Contains(c.Err().Error(), "enough") {
			t.Errorf("resumed %d times; ended by %v", w.agents["b"].called("Resume"), c.Err())
		}
	})
}

func TestLogoutIsTheEnd(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		c, seen := w.player(two...)
		if err := c.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range c.Events() {
		}
		wantStates(t, seen, "attached", "ended")
	})
}

func TestAgentsThatAreAllAwayAreTriedUntilOneIsThere(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		c, seen := w.player(two...)
		for _, a := range w.agents {
			a.fall()
		}
		time.Sleep(time.Minute)
		wantStates(t, seen, "attached", "away")
		_, err := c.GetRoom(t.Context(), "r")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a request meanwhile: %v", err)
		}
		b := w.agents["b"]
		b.set(func() { b.dead, b.live = false, nil })
		time.Sleep(4 * time.Second)
		wantStates(t, seen, "attached", "away", "resumed")
		if away := seen.get()[2].Away; away < time.Minute || away > 75*time.Second {
			t.Errorf("away for %v", away)
		}
	})
}

func TestAStreamThatEndsIsOpenedAgain(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		c, seen := w.player(two...)
		a := w.agents["a"]
		a.events <- nil // ends the stream without a word
		time.Sleep(time.Second)
		a.events <- said("hello")
		if e := <-c.Events(); e.GetChat().GetText() != "hello" {
			t.Errorf("got %v", e)
		}
		wantStates(t, seen, "attached")
		// One that is refused again and again is the Agent's end for us.
		a.set(func() { a.fail["Events"] = connect.NewError(connect.CodeInternal, errors.New("broken")) })
		a.events <- nil
		time.Sleep(2 * time.Second)
		wantStates(t, seen, "attached", "away", "resumed")
	})
}

func TestASilentStreamIsNotBelieved(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		_, seen := w.player(two...)
		a := w.agents["a"] // answers pings, and its events have stopped
		for range 10 {
			time.Sleep(40 * time.Second)
			a.events <- &agentv1.Event{} // a sign of life
		}
		synctest.Wait()
		wantStates(t, seen, "attached")
		time.Sleep(46 * time.Second)
		wantStates(t, seen, "attached", "away", "resumed")
	})
}

func TestEventsThatNobodyReadsAreCounted(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		c := w.with(client.Config{Endpoints: []string{"a:443"}, TLS: &tls.Config{RootCAs: w.trust}, Dial: w.dial, Credential: client.Token("good"), Events: 3})
		if _, err := c.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			w.agents["a"].events <- said(fmt.Sprint(i))
		}
		synctest.Wait()
		var got []string
		take := func(n int) {
			for range n {
				switch k := (<-c.Events()).Kind.(type) {
				case *agentv1.Event_Chat:
					got = append(got, k.Chat.Text)
				case *agentv1.Event_Overflow:
					got = append(got, fmt.Sprintf("missed %d", k.Overflow.Missed))
				}
			}
		}
		take(3)
		w.agents["a"].events <- said("later")
		take(2)
		if want := []string{"0", "1", "2", "missed 7", "later"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestCloseAtAnyTime(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		for i := range 40 {
			c, seen := w.client(two...)
			w.agents["a"].set(func() { w.agents["a"].mute = i%2 == 0 })
			done := make(chan error, 1)
			go func() {
				_, err := c.Login(t.Context())
				done <- err
			}()
			time.Sleep(time.Duration(i) * 30 * time.Millisecond)
			c.Close()
			if err := <-done; err != nil && !errors.Is(err, client.ErrClosed) {
				t.Errorf("Login got %v", err)
			}
			if _, open := <-c.Events(); open {
				t.Error("an event after Close")
			}
			if got := states(seen.get()); len(got) > 1 {
				t.Errorf("notified of %v", got)
			}
		}
	})
}

func TestResumeOfAnEarlierClient(t *testing.T) {
	simulate(t, two, func(t *testing.T, w *world) {
		w.rooms = []*agentv1.Room{{Id: "r"}}
		before, _ := w.player(two...)
		token := before.Session().ResumeToken
		before.Close()
		c, seen := w.client("b")
		s, rooms, err := c.Resume(t.Context(), token)
		if err != nil || s.Id != "s" || len(rooms) != 1 {
			t.Fatalf("%v, %v, %v", s, rooms, err)
		}
		if e := <-c.Events(); e.GetRoomChanged().GetRoom().GetId() != "r" {
			t.Errorf("first event %v", e)
		}
		wantStates(t, seen, "attached")
		other, _ := w.client("b")
		if _, _, err := other.Resume(t.Context(), "wrong"); connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("a wrong token: %v", err)
		}
	})
}

func TestAServerThatIsNotTrusted(t *testing.T) {
	simulate(t, []string{"a"}, func(t *testing.T, w *world) {
		_, strangers := certificate(t, []string{"a"})
		for name, cfg := range map[string]*tls.Config{"another authority": {RootCAs: strangers}, "another name": {RootCAs: w.trust, ServerName: "b"}} {
			c := w.with(client.Config{Endpoints: []string{"a:443"}, TLS: cfg, Dial: w.dial, Credential: func(context.Context) (*agentv1.LoginRequest, error) {
				return &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: "secret"}}, nil
			}})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := c.Login(ctx)
			cancel()
			if err == nil || !strings.Contains(err.Error(), "TLS with a:443") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := w.agents["a"].called("Login"); n != 0 {
			t.Errorf("the credential was sent %d times", n)
		}
	})
}
