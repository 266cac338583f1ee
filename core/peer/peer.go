package peer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/sansio"
)

// Peer is a peer on a real network: a Machine with a loop that drives it. All
// methods may be called from any goroutine.
type Peer struct {
	machine *Machine
	loop    *sansio.Loop
	done    chan struct{} // closed when the loop has ended and all is settled
	stop    context.CancelFunc

	accepted chan *Conn

	mu    sync.Mutex
	local netip.AddrPort
	conns map[identity.ID]*Conn
	// failures are the last reasons why something did not work, by peer.
	failures map[identity.ID]error
	rooms    map[string]*Room
	err      error // why the peer ended; set before done is closed
}

// backlog is how many connections wait for Accept. When it is full, Accept does
// not give newer ones.
const backlog = 64

// ErrClosed is returned by what is called on a Peer, a Conn or a Room after its
// end. It is net.ErrClosed, too.
var ErrClosed = fmt.Errorf("peer: %w", net.ErrClosed)

// New starts a peer on a network; nil: the machine's own. It returns once the peer's
// socket is open: registration and allocation go on in the background, and Dial waits
// for what it needs of them. The peer ends in an orderly manner when ctx ends, or with
// Close. The error is ErrConfig, or that of the socket.
func New(ctx context.Context, cfg Config, network sansio.Network) (*Peer, error) {
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if network == nil {
		network = sansio.System()
	}
	m, err := NewMachine(cfg)
	if err != nil {
		return nil, err
	}
	p := &Peer{
		machine:  m,
		done:     make(chan struct{}),
		accepted: make(chan *Conn, backlog),
		conns:    make(map[identity.ID]*Conn),
		failures: make(map[identity.ID]error),
		rooms:    make(map[string]*Room),
	}
	bound := make(chan error, 1)
	p.loop = sansio.NewLoop(sansio.Streams(m, m.StreamConfig()), network, func(_ time.Time, e sansio.Event) {
		switch e := e.(type) {
		case Bound:
			p.mu.Lock()
			p.local = e.Local
			p.mu.Unlock()
			bound <- nil
		case Failed:
			select {
			case bound <- e.Err: // only before the socket is open does anyone listen
			default:
			}
		}
		p.handle(e)
	})
	// The loop outlives ctx by one farewell to each peer.
	loopContext, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	go p.run(loopContext, bound)
	release := context.AfterFunc(ctx, func() { p.Close() })
	go func() { // do not hold on to ctx after Close
		<-p.done
		release()
	}()
	if err := <-bound; err != nil {
		p.Close()
		return nil, fmt.Errorf("start a peer: %w", err)
	}
	return p, nil
}

func (p *Peer) run(ctx context.Context, bound chan<- error) {
	err := p.loop.Run(ctx)
	if err == nil {
		err = ErrClosed
	}
	select {
	case bound <- err:
	default:
	}
	p.mu.Lock()
	p.err = err
	for _, c := range p.conns {
		c.finish(err)
	}
	for _, r := range p.rooms {
		r.finish()
	}
	p.mu.Unlock()
	close(p.done)
}

// Close ends all connections, tells the peers, gives the registration and the
// allocation back and waits until everything has ended.
func (p *Peer) Close() {
	p.loop.Do(p.machine.Shutdown)
	p.stop()
	<-p.done
}

// ID is who we are.
func (p *Peer) ID() identity.ID { return p.machine.ID() }

// Local is the local address of the peer's socket.
func (p *Peer) Local() netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.local
}

// Stats gives the counters so far; the zero value once the peer has ended.
func (p *Peer) Stats() (s Stats) {
	p.loop.Do(func(time.Time) { s = p.machine.Stats() })
	return s
}

// SetServers is Machine.SetServers. The error is ErrConfig or ErrClosed.
func (p *Peer) SetServers(s Servers) error {
	err := ErrClosed
	p.loop.Do(func(now time.Time) { err = p.machine.SetServers(now, s) })
	return err
}

// SetAllowed is Machine.SetAllowed.
func (p *Peer) SetAllowed(ids []identity.ID) {
	p.loop.Do(func(now time.Time) { p.machine.SetAllowed(now, ids) })
}

// Dial connects to a peer and waits until there is a path, over the relay as a
// rule, which may become direct later. If there is a connection with the peer
// already, Dial gives that one. When ctx ends first, the error is ctx's, joined
// with the reason if one is known: errors.Is(err, ErrUnknownPeer) says that the
// rendezvous does not know the peer.
func (p *Peer) Dial(ctx context.Context, id identity.ID) (*Conn, error) {
	c, fresh := p.conn(id)
	var err error
	if !p.loop.Do(func(now time.Time) { err = p.machine.Connect(now, id) }) {
		return nil, fmt.Errorf("dial %s: %w", id.Short(), ErrClosed)
	}
	if err != nil {
		p.drop(c)
		return nil, fmt.Errorf("dial %s: %w", id.Short(), err)
	}
	select {
	case <-c.up:
		return c, nil
	case <-c.ended:
		return nil, fmt.Errorf("dial %s: %w", id.Short(), c.why())
	case <-ctx.Done():
		err := errors.Join(ctx.Err(), p.failure(id))
		if fresh {
			c.Close()
		}
		return nil, fmt.Errorf("dial %s: %w", id.Short(), err)
	}
}

// conn gives the connection with a peer, making one that has no session yet.
func (p *Peer) conn(id identity.ID) (c *Conn, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[id]; c != nil {
		return c, false
	}
	c = newConn(p, id)
	c.dialed = true
	p.conns[id] = c
	return c, true
}

func (p *Peer) drop(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[c.id] == c {
		delete(p.conns, c.id)
	}
	c.finish(ErrClosed)
}

func (p *Peer) failure(id identity.ID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.failures[id], p.failures[identity.ID{}])
}

// Accept waits for the next connection that another peer began, or a room, and
// that has a path.
func (p *Peer) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.done:
		return nil, fmt.Errorf("accept: %w", ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("accept: %w", ctx.Err())
	}
}

// handle takes the machine's events, in the loop's goroutine: it may neither
// block nor call Do.
func (p *Peer) handle(e sansio.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := e.(type) {
	case Introduced:
		c := p.conns[e.Peer]
		if c == nil {
			c = newConn(p, e.Peer)
			p.conns[e.Peer] = c
		}
		c.setSession(e.Session)
	case PathChanged:
		if c := p.conns[e.Peer]; c != nil {
			p.pathChanged(c, e)
		}
	case PathLost:
		p.tell(e.Peer, e)
	case Settled:
		p.tell(e.Peer, e)
	case Received:
		if c := p.conns[e.Peer]; c != nil {
			c.deliver(e.Payload)
		}
	case Closed:
		p.closed(e)
	case MemberJoined:
		p.joined(e)
	case MemberLeft:
		if r := p.rooms[e.Room]; r != nil {
			r.remove(e.Peer)
		}
	case Registered:
		delete(p.failures, identity.ID{})
	case Failed:
		if len(p.failures) > 2*maxSessions {
			clear(p.failures) // of peers with whom no session ever ended
		}
		p.failures[e.Peer] = e.Err
	}
}

func (p *Peer) tell(id identity.ID, e sansio.Event) {
	if c := p.conns[id]; c != nil {
		c.tell(e)
	}
}

func (p *Peer) pathChanged(c *Conn, e PathChanged) {
	c.tell(e)
	if !c.setPath(e.New) {
		return
	}
	delete(p.failures, c.id)
	for _, r := range p.rooms {
		r.connected(c)
	}
	if c.dialed {
		return
	}
	select {
	case p.accepted <- c:
	default: // nobody accepts; those who use rooms need not
	}
}

// closed ends a connection. One that is still being dialled goes on with the
// session that replaces it.
func (p *Peer) closed(e Closed) {
	delete(p.failures, e.Peer)
	c := p.conns[e.Peer]
	if c == nil || c.Session() != e.Session {
		return
	}
	if errors.Is(e.Err, ErrReplaced) && !c.isUp() {
		return
	}
	delete(p.conns, e.Peer)
	err := e.Err
	if err == nil {
		err = ErrClosed
	}
	c.tell(e)
	c.finish(err)
}
