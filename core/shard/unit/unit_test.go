package unit_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/freeport"
	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/rpc"
	"p2pmodel/core/shard/unit"
	"p2pmodel/core/ticket"
)

func TestPlayersMeetOverTheShardsOwnServers(t *testing.T) {
	w := newWorld(t)
	a := w.shard("a", nil)
	w.until("the shard is ready", a.Ready)
	ann, bob := w.player("ann"), w.player("bob")
	room := ann.create(nil).Place.Room
	bob.join(room)
	ann.ready(room)
	bob.ready(room)
	ann.enter(room)
	bob.enter(room)
	var meeting sync.WaitGroup
	for _, p := range []*player{ann, bob} {
		meeting.Go(func() {
			if err := p.meet(); err != nil {
				t.Error(err)
			}
		})
	}
	meeting.Wait()
	ann.report(room, agentv1.PathKind_PATH_KIND_DIRECT, "bob")
	bob.report(room, agentv1.PathKind_PATH_KIND_DIRECT, "ann")
	m, err := bob.match(room)
	w.must(err)
	if m.Links[0].State != agentv1.LinkState_LINK_STATE_DIRECT {
		t.Errorf("the shard's account: %v", m.Links)
	}
	w.must(ann.finish(room))
	w.must(bob.finish(room))
	w.until("the match is recorded", func() error {
		if !strings.Contains(string(a.records.Bytes()), room) {
			return errors.New("it is not")
		}
		return nil
	})
	checkMetrics(t, a)
	w.one()
}

// checkMetrics checks that what happened has been counted.
func checkMetrics(t *testing.T, p *process) {
	t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += "," + l.GetName() + "=" + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"p2pmodel_shard_rooms,state=ended":               1,
		"p2pmodel_shard_rooms,state=playing":             0,
		"p2pmodel_shard_players":                         2,
		"p2pmodel_shard_tickets_total":                   2,
		"p2pmodel_shard_udp_server_up,server=relay":      1,
		"p2pmodel_shard_udp_server_up,server=rendezvous": 1,
		"p2pmodel_shard_mailbox_depth,of=all":            0,
		"p2pmodel_shard_waiting_players":                 0,
	} {
		if value, there := got[name]; !there || value != want {
			t.Errorf("%s is %v (there: %v), want %v", name, value, there, want)
		}
	}
	for _, name := range []string{"p2pmodel_shard_events_published_total", "p2pmodel_shard_saves_total"} {
		if got[name] == 0 {
			t.Errorf("%s is 0", name)
		}
	}
}

func TestAStrangerIsNotAdmitted(t *testing.T) {
	w := newWorld(t)
	a := w.shard("a", nil)
	w.until("the shard is ready", a.Ready)
	ann := w.player("ann")
	room := ann.create(func(s *agentv1.RoomSettings) { s.MinPlayers = 1 }).Place.Room
	ann.ready(room)
	key, err := identity.NewKey(rand.Reader)
	w.must(err)
	id := key.ID()
	got, err := ask[agentv1.PlayTicketResponse](ann, room, shard.GameSubject, "PlayTicket", &agentv1.PlayTicketRequest{Room: room, PeerId: id[:]})
	w.must(err)
	// Eve has ann's ticket, but not her key.
	eve, err := identity.NewKey(rand.Reader)
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := peer.New(ctx, peer.Config{
		Key: eve, Rand: rand.Reader, Ticket: got.Ticket, Rendezvous: netip.MustParseAddrPort(got.Rendezvous), Listen: netip.MustParseAddrPort("127.0.0.1:0"),
	}, sansio.System())
	w.must(err)
	defer p.Close()
	dialing, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	if conn, err := p.Dial(dialing, id); err == nil {
		t.Errorf("a stranger has a connection with %v", conn.Peer())
	}
}

func TestAShardThatStopsLeavesItsRoomsToOthers(t *testing.T) {
	w := newWorld(t)
	a := w.shard("a", nil)
	w.until("the shard is ready", a.Ready)
	ann, bob := w.player("ann"), w.player("bob")
	var rooms []string
	for range 20 {
		rooms = append(rooms, ann.create(func(s *agentv1.RoomSettings) { s.MinPlayers = 1 }).Place.Room)
		if len(rooms) == 8 {
			break // as many as a session may be in
		}
	}
	bob.join(rooms[0])
	ann.ready(rooms[0])
	bob.ready(rooms[0])
	b := w.shard("b", nil)
	w.until("the second shard is ready", b.Ready)
	a.stop()
	for _, room := range rooms {
		w.until("the other shard has the room", func() error { _, err := ann.look(room); return err })
	}
	w.until("ann knows", func() error {
		if n := ann.moved(); n != len(rooms) {
			return fmt.Errorf("she was told of %d of %d rooms", n, len(rooms))
		}
		return nil
	})
	view, err := bob.look(rooms[0])
	w.must(err)
	if view.State != agentv1.RoomState_ROOM_STATE_PLAYING || len(view.Members) != 2 {
		t.Errorf("after the move the room is %v", view)
	}
	ann.enter(rooms[0])
	bob.enter(rooms[0])
	w.must(ann.finish(rooms[0]))
	m, err := bob.match(rooms[0])
	w.must(err)
	if m.Moves != 1 {
		t.Errorf("the match: %v", m)
	}
	w.one()
}

func TestADrainedShardHandsItsRoomsOver(t *testing.T) {
	w := newWorld(t)
	a := w.shard("a", nil)
	w.until("the shard is ready", a.Ready)
	ann := w.player("ann")
	room := ann.create(func(s *agentv1.RoomSettings) { s.MinPlayers = 1 }).Place.Room
	ann.ready(room)
	b := w.shard("b", nil)
	w.until("the second shard is ready", b.Ready)
	_, err := rpc.Call[insidev1.DrainShardResponse](context.Background(), w.client, shard.DirectorySubject("DrainShard"), &insidev1.DrainShardRequest{Shard: "a", DeadlineSeconds: 1})
	w.must(err)
	w.until("the shard is empty", func() error {
		if rooms, _ := a.Rooms().Load(); rooms > 0 {
			return fmt.Errorf("it has %d rooms", rooms)
		}
		return nil
	})
	w.until("the match goes on", func() error { return ann.finish(room) })
	w.one()
}

func TestAShardThatIsCutOffLosesItsRooms(t *testing.T) {
	w := newWorld(t)
	a := w.shard("a", nil)
	w.until("the shard is ready", a.Ready)
	ann, bob := w.player("ann"), w.player("bob")
	room := ann.create(nil).Place.Room
	bob.join(room)
	b := w.shard("b", nil)
	w.until("the second shard is ready", b.Ready)
	// What has happened in the last quarter of a second would be lost.
	w.until("the directory knows both", func() error {
		list, err := rpc.Call[agentv1.ListRoomsResponse](context.Background(), w.client, shard.DirectorySubject("ListRooms"), &agentv1.ListRoomsRequest{})
		if err == nil && list.Rooms[0].Players != 2 {
			err = fmt.Errorf("it knows %v", list.Rooms)
		}
		return err
	})
	a.engine.Stall()
	began := time.Now()
	w.until("the lease is over", func() error {
		if a.Ready() == nil {
			return errors.New("the shard still believes that it holds it")
		}
		return nil
	})
	w.until("the other shard has the room", func() error {
		if bob.moved() == 0 {
			return errors.New("bob is not told")
		}
		_, err := bob.look(room)
		return err
	})
	t.Logf("moved %v after the cut", time.Since(began).Round(time.Millisecond))
	ann.ready(room) // the match starts on b
	bob.ready(room)
	a.engine.Reconnect()
	w.until("the first shard holds a lease again", a.Ready)
	w.until("it has let go of the room", func() error {
		if rooms, _ := a.Rooms().Load(); rooms > 0 {
			return fmt.Errorf("it has %d rooms", rooms)
		}
		return nil
	})
	m, err := ann.match(room)
	w.must(err)
	if m.Moves != 1 || len(m.Players) != 2 {
		t.Errorf("the match: %v", m)
	}
	w.one()
}

func TestNoRoomsWhileAUDPServerIsDead(t *testing.T) {
	w := newWorld(t)
	key, err := identity.NewKey(rand.Reader)
	w.must(err)
	verifier, err := ticket.NewVerifier(w.signer.Public())
	w.must(err)
	at := freeport.Of(t)
	serve := func() (stop func()) {
		server, err := rendezvous.NewServer(rendezvous.ServerConfig{Listen: at, Key: key, Rand: rand.Reader, Admission: verifier})
		w.must(err)
		return w.run(sansio.NewLoop(server, sansio.System(), nil).Run)
	}
	a := w.shard("a", func(cfg *unit.Config) {
		cfg.Rendezvous, cfg.RendezvousServer = game.Rendezvous{Addr: at, Key: key.ID()}, nil
	})
	ann := w.player("ann")
	place := func() error {
		_, err := rpc.Call[insidev1.PlaceRoomResponse](context.Background(), w.client, shard.DirectorySubject("PlaceRoom"), &insidev1.PlaceRoomRequest{
			Settings: &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "A room", Mode: "duel", Capacity: 4},
		}, rpc.WithPass(ann.pass))
		return err
	}
	dead := func() error {
		if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "the rendezvous at "+at.String()+" does not answer") {
			return fmt.Errorf("ready says %v", err)
		}
		return nil
	}
	w.until("the shard misses its rendezvous", dead)
	// The directory asks the shard, which refuses, and finds no other one.
	if code := rpc.CodeOf(place()); code != connect.CodeUnavailable && code != connect.CodeResourceExhausted {
		t.Errorf("a room was asked for: %v", code)
	}
	stop := serve()
	w.until("the shard is ready", a.Ready)
	w.must(place())
	stop()
	w.until("the shard misses it again", dead)
	serve()
	w.until("the shard is ready again", a.Ready)
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ticket.NewSigner(bytes.Repeat([]byte{2}, 32))
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("127.0.0.1:3478")
	for name, c := range map[string]struct {
		change func(*unit.Config)
		says   string
	}{
		"no name":                    {func(c *unit.Config) { c.ID = "" }, "id"},
		"a name that is a subject":   {func(c *unit.Config) { c.ID = "a.b" }, "a.b"},
		"no engine":                  {func(c *unit.Config) { c.Engine = nil }, "engine"},
		"no capacity":                {func(c *unit.Config) { c.CapacityRooms = 0 }, "capacity"},
		"no key for tickets":         {func(c *unit.Config) { c.Tickets = nil }, "tickets"},
		"no rendezvous":              {func(c *unit.Config) { c.Rendezvous = game.Rendezvous{} }, "rendezvous"},
		"a relay without secret":     {func(c *unit.Config) { c.Relay.Addr = at }, "secret"},
		"tickets of half a second":   {func(c *unit.Config) { c.TicketLife = 500 * time.Millisecond }, "whole seconds"},
		"a rendezvous for anybody":   {func(c *unit.Config) { c.RendezvousServer = &rendezvous.ServerConfig{Listen: at, Key: key} }, "Admission"},
		"a rendezvous of other name": {func(c *unit.Config) { c.Rendezvous.Key = identity.ID{1} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := unit.Config{
				ID: "a", Engine: memory.NewHub().Connect("a"), CapacityRooms: 1, CapacityPlayers: 1, Tickets: signer,
				Rendezvous: game.Rendezvous{Addr: at, Key: key.ID()},
			}
			c.change(&cfg)
			_, err := unit.New(cfg)
			if c.says == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error about %q", err, c.says)
			}
		})
	}
}
