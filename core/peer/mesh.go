package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/identity"
)

// Room is a room that a Peer has joined: a full mesh, with a connection to each
// other member. All methods may be called from any goroutine.
type Room struct {
	peer *Peer
	name string
	// fresh are the connections that Next has not given yet.
	fresh chan *Conn
	ended chan struct{}

	mu      sync.Mutex
	members []identity.ID
	conns   map[identity.ID]*Conn
}

// maxFresh is more connections than a room has members.
const maxFresh = 256

// Join enters a room. It returns at once; the members' connections come up one
// by one. The error is ErrClosed or says what is wrong with the name.
func (p *Peer) Join(_ context.Context, name string) (*Room, error) {
	p.mu.Lock()
	r := p.rooms[name]
	if r == nil {
		r = &Room{peer: p, name: name, fresh: make(chan *Conn, maxFresh), ended: make(chan struct{}), conns: make(map[identity.ID]*Conn)}
		p.rooms[name] = r
	}
	p.mu.Unlock()
	err := ErrClosed
	p.loop.Do(func(now time.Time) { err = p.machine.Join(now, name) })
	if err != nil {
		p.forget(r)
		return nil, fmt.Errorf("join room %q: %w", name, err)
	}
	return r, nil
}

// Name is the room's name.
func (r *Room) Name() string { return r.name }

// Members are the other members as the rendezvous knows them, in the order in
// which they came.
func (r *Room) Members() []identity.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.members)
}

// Conns are the connections with members that are up, in the order of Members.
func (r *Room) Conns() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*Conn
	for _, id := range r.members {
		if c := r.conns[id]; c != nil && c.why() == nil {
			list = append(list, c)
		}
	}
	return list
}

// Next waits for the next member's connection that has come up. A member that
// was lost and came back is given again.
func (r *Room) Next(ctx context.Context) (*Conn, error) {
	select {
	case c := <-r.fresh:
		return c, nil
	case <-r.ended:
		return nil, fmt.Errorf("room %q: %w", r.name, ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("room %q: %w", r.name, ctx.Err())
	}
}

// Send sends a datagram to each member with whom there is a path, and gives the
// errors of those with whom there is none, joined.
func (r *Room) Send(payload []byte) error {
	var errs []error
	for _, c := range r.Conns() {
		errs = append(errs, c.Send(payload))
	}
	return errors.Join(errs...)
}

// Leave leaves the room and closes the connections with its members, but for
// those that were dialled or that another room wants.
func (r *Room) Leave() {
	r.peer.loop.Do(func(now time.Time) { r.peer.machine.Leave(now, r.name) })
	r.peer.forget(r)
}

func (p *Peer) forget(r *Room) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rooms[r.name] == r {
		delete(p.rooms, r.name)
	}
	r.finish()
}

// joined notes a member, whose connection may be up already. The peer's lock is
// held.
func (p *Peer) joined(e MemberJoined) {
	r := p.rooms[e.Room]
	if r == nil {
		return
	}
	r.mu.Lock()
	if !slices.Contains(r.members, e.Peer) {
		r.members = append(r.members, e.Peer)
	}
	r.mu.Unlock()
	if c := p.conns[e.Peer]; c != nil && c.isUp() {
		r.connected(c)
	}
}

// connected takes a connection that is up, if it is a member's.
func (r *Room) connected(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.members, c.id) || r.conns[c.id] == c {
		return
	}
	r.conns[c.id] = c
	select {
	case r.fresh <- c:
	default: // nobody asks; Conns has it
	}
}

func (r *Room) remove(id identity.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = slices.DeleteFunc(r.members, func(o identity.ID) bool { return o == id })
	delete(r.conns, id)
}

// finish ends the room; the peer's lock is held.
func (r *Room) finish() {
	select {
	case <-r.ended:
	default:
		close(r.ended)
	}
}
