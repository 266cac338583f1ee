package rendezvous

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/stun"
)

func (p *testPeer) join(t *testing.T, room string) {
	t.Helper()
	p.do(func(now time.Time) {
		if err := p.machine.client.Join(now, room); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRoom(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.peer(1, nil, ClientConfig{}), w.peer(2, nil, ClientConfig{}), w.peer(3, nil, ClientConfig{})
	w.net.Run(time.Second)
	take := func() (out []string) {
		for _, p := range []*testPeer{a, b, c} {
			out = append(out, p.take(a, b, c))
		}
		return out
	}
	take()
	for _, step := range []struct {
		what string
		do   func()
		want []string
	}{
		{"a joins", func() { a.join(t, "hall") }, []string{"members of hall: []", "", ""}},
		{"b joins", func() { b.join(t, "hall") }, []string{"hall peer 2 joined true", "members of hall: [peer 1]", ""}},
		{"c joins another", func() { c.join(t, "attic") }, []string{"", "", "members of attic: []"}},
		{"b joins again", func() { b.join(t, "hall") }, []string{"", "", ""}},
		{"a leaves", func() { a.do(func(now time.Time) { a.machine.client.Leave(now, "hall") }) }, []string{"", "hall peer 1 joined false", ""}},
		{"a returns", func() { a.join(t, "hall") }, []string{"members of hall: [peer 2]", "hall peer 1 joined true", ""}},
		{"a stops", func() { a.do(a.machine.client.Stop) }, []string{"", "hall peer 1 joined false", ""}},
		{"b crashes", func() { b.runner.Stop() }, []string{"", "", ""}},
		{"c joins", func() { w.net.Run(3 * time.Minute); c.join(t, "hall") }, []string{"", "", "members of hall: []"}},
	} {
		step.do()
		w.net.Run(time.Second)
		if got := take(); !slices.Equal(got, step.want) {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
}

func TestCrashIsToldWhenTheRegistrationExpires(t *testing.T) {
	w := newWorld(t)
	w.start(ServerConfig{Lifetime: 20 * time.Second})
	a, b := w.peer(1, nil, ClientConfig{}), w.peer(2, nil, ClientConfig{})
	a.join(t, "hall")
	b.join(t, "hall")
	w.net.Run(time.Second)
	b.take()
	a.runner.Stop()
	w.net.Run(22 * time.Second)
	w.expect("the other", b.take(a), "hall peer 1 joined false")
}

// Each of many members learns of each other, with losses, and once.
func TestFullRoom(t *testing.T) {
	w := newWorld(t)
	var peers []*testPeer
	known := make(map[*testPeer]map[identity.ID]int)
	for n := range byte(MaxRoomMembers) {
		p := w.peer(n+1, nil, ClientConfig{})
		p.host.SetLink(simnet.Link{Delay: 10 * time.Millisecond, Loss: 0.1})
		p.join(t, "hall")
		peers = append(peers, p)
	}
	late := w.peer(200, nil, ClientConfig{})
	w.net.Run(10 * time.Second)
	for _, p := range peers {
		known[p] = make(map[identity.ID]int)
		for _, e := range p.events {
			switch e := e.(type) {
			case Members:
				for _, id := range e.IDs {
					known[p][id]++
				}
			case Member:
				if !e.Joined {
					t.Errorf("%s is told that %v left", p.name, e.ID)
				}
				known[p][e.ID] |= 1
			}
		}
		delete(known[p], p.key.ID())
		if len(known[p]) != MaxRoomMembers-1 {
			t.Errorf("%s knows of %d others, want %d", p.name, len(known[p]), MaxRoomMembers-1)
		}
	}
	late.join(t, "hall")
	w.net.Run(time.Second)
	if got := late.take(); !strings.Contains(got, "Room Full") {
		t.Errorf("one too many: %s", got)
	}
	if err := late.machine.client.Join(w.net.Now(), "hall"); err != nil {
		t.Errorf("asking again later: %v", err)
	}
	for _, p := range w.packets {
		if len(p.Payload) > 1200 {
			t.Fatalf("a message of %d bytes", len(p.Payload))
		}
	}
}

func TestRoomNames(t *testing.T) {
	c := NewClient(ClientConfig{Server: serverAddress, Key: testKey(1), Rand: random(1)})
	for name, room := range map[string]string{"empty": "", "too long": strings.Repeat("x", MaxRoomName+1), "not UTF-8": "\xFF"} {
		if err := c.Join(simnet.Epoch, room); err == nil {
			t.Errorf("%s: entered", name)
		}
	}
	for i := range maxRooms {
		if err := c.Join(simnet.Epoch, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Join(simnet.Epoch, "one more"); err == nil {
		t.Errorf("%d rooms at once", maxRooms+1)
	}
	if err := c.Join(simnet.Epoch, "0"); err != nil {
		t.Errorf("a room that we are in: %v", err)
	}
}

// A JOIN or LEAVE that was recorded, or is late, does not undo a newer one; its
// sender is told and can say it again.
func TestReplayedRoomRequests(t *testing.T) {
	b := newBench(t, ServerConfig{})
	room := stun.Attribute{Type: stun.AttrRoom, Value: []byte("hall")}
	send := func(method pion.Method, sequence uint64, attributes ...pion.Setter) (*pion.Message, int) {
		m := b.request(testKey(1), clientAddress, sequence, method, attributes...)
		return m, codeOf(b.one(clientAddress, m))
	}
	members := func() int {
		if k := b.rooms["hall"]; k != nil {
			return len(k.members)
		}
		return 0
	}
	send(stun.MethodRegister, 10, offerOf("x"))
	first, _ := send(stun.MethodJoin, 11, room)
	leave, _ := send(stun.MethodLeave, 12, room)
	if code := codeOf(b.one(clientAddress, first)); code != stun.CodeConflict || members() != 0 {
		t.Errorf("the first JOIN again: %d with %d members, want %d with none", code, members(), stun.CodeConflict)
	}
	second, _ := send(stun.MethodJoin, 13, room)
	if code := codeOf(b.one(clientAddress, leave)); code != stun.CodeConflict || members() != 1 {
		t.Errorf("the LEAVE again: %d with %d members, want %d with one", code, members(), stun.CodeConflict)
	}
	if code := codeOf(b.one(clientAddress, second)); code != 0 {
		t.Errorf("a JOIN that is only sent again: %d", code)
	}
	// Nothing of an earlier registration counts in a later one.
	send(stun.MethodRegister, 14, stun.Uint32(pion.AttrLifetime, 0))
	send(stun.MethodRegister, 15, offerOf("x"))
	if code := codeOf(b.one(clientAddress, second)); code != stun.CodeConflict || members() != 0 {
		t.Errorf("a JOIN of an earlier registration: %d with %d members", code, members())
	}
}

// Who leaves and comes back at once is in, whatever is lost on the way.
func TestLeaveAndReturn(t *testing.T) {
	w := newWorld(t)
	a := w.peer(1, nil, ClientConfig{})
	a.join(t, "hall")
	w.net.Run(time.Second)
	a.host.SetLink(simnet.Link{Down: true})
	a.do(func(now time.Time) { a.machine.client.Leave(now, "hall") })
	a.host.SetLink(simnet.Link{Delay: 10 * time.Millisecond})
	a.join(t, "hall")
	w.net.Run(5 * time.Second)
	if k := w.server.rooms["hall"]; k == nil || len(k.members) != 1 {
		t.Error("the LEAVE that was sent again undid the JOIN")
	}
}

// Who enters and leaves all the time does not have the others told all the time.
func TestJoiningIsBounded(t *testing.T) {
	b := newBench(t, ServerConfig{})
	room := stun.Attribute{Type: stun.AttrRoom, Value: []byte("hall")}
	other := netip.MustParseAddrPort("198.51.100.2:2")
	b.one(other, b.request(testKey(2), other, 1, stun.MethodRegister, offerOf("two")))
	b.one(other, b.request(testKey(2), other, 2, stun.MethodJoin, room))
	b.one(clientAddress, b.request(testKey(1), clientAddress, 1, stun.MethodRegister, offerOf("one")))
	told := 0
	for sequence := uint64(2); sequence < 700; sequence += 2 {
		for i, method := range []pion.Method{stun.MethodJoin, stun.MethodLeave} {
			for _, a := range b.give(0, clientAddress, b.request(testKey(1), clientAddress, sequence+uint64(i), method, room).Raw) {
				if a.to == other {
					told++
				}
			}
		}
	}
	if want := 2 * joinBurst; told != want {
		t.Errorf("told %d times of joins and leaves, want %d", told, want)
	}
}
