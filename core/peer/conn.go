package peer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/sansio"
)

// Conn is a connection with a peer: one session, over whatever path there is.
// Datagrams may be lost, reordered, never doubled. All methods may be called
// from any goroutine.
type Conn struct {
	peer   *Peer
	id     identity.ID
	dialed bool // somebody waits for it in Dial

	up     chan struct{} // closed when there is a first path
	ended  chan struct{}
	inbox  chan []byte
	events chan sansio.Event
	// lost counts datagrams that came faster than Receive was called.
	lost   atomic.Uint64
	closed atomic.Bool // by Close

	readDeadline, writeDeadline deadline

	mu      sync.Mutex
	session SessionID
	path    Path
	err     error
}

const (
	// inboxSize is how many datagrams wait for Receive. Newer ones are lost
	// when it is full.
	inboxSize = 512
	// eventsSize is how many events wait on Events. Older ones are lost when it
	// is full.
	eventsSize = 64
)

func newConn(p *Peer, id identity.ID) *Conn {
	return &Conn{
		peer: p, id: id,
		up: make(chan struct{}), ended: make(chan struct{}),
		inbox: make(chan []byte, inboxSize), events: make(chan sansio.Event, eventsSize),
	}
}

// Peer is who the connection is with.
func (c *Conn) Peer() identity.ID { return c.id }

// Session names the session, the same on both sides and for its whole life.
func (c *Conn) Session() SessionID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Path is the path at present; its kind is NoPath while there is none.
func (c *Conn) Path() Path {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.path
}

// RTT is the smoothed round-trip time of the present path; false while there is none.
func (c *Conn) RTT() (rtt time.Duration, ok bool) {
	c.peer.loop.Do(func(time.Time) { rtt, ok = c.peer.machine.RTT(c.id) })
	return rtt, ok
}

// Events gives PathChanged, PathLost, Settled and, at last, Closed; then the
// channel is closed. Whoever does not read it misses the oldest.
func (c *Conn) Events() <-chan sansio.Event { return c.events }

// Lost is how many datagrams arrived and were dropped because Receive was not
// called often enough.
func (c *Conn) Lost() uint64 { return c.lost.Load() }

// Send sends one datagram, at most MaxPayload bytes. The error is ErrTooLarge,
// ErrNoPath while there is no path (it may come back), or why the connection
// has ended: ErrClosed, ErrClosedByPeer, ErrReplaced, ErrGivenUp.
func (c *Conn) Send(payload []byte) error {
	select {
	case <-c.ended:
		return fmt.Errorf("send to %s: %w", c.id.Short(), c.why())
	default:
	}
	err := ErrClosed
	c.peer.loop.Do(func(now time.Time) { err = c.peer.machine.Send(now, c.id, payload) })
	return err
}

// Receive waits for the next datagram. What arrived before the connection ended
// is still given; then the error says why it ended.
func (c *Conn) Receive(ctx context.Context) ([]byte, error) {
	select {
	case b := <-c.inbox:
		return b, nil
	default:
	}
	select {
	case b := <-c.inbox:
		return b, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("receive from %s: %w", c.id.Short(), ctx.Err())
	case <-c.ended:
		select {
		case b := <-c.inbox:
			return b, nil
		default:
			return nil, fmt.Errorf("receive from %s: %w", c.id.Short(), c.why())
		}
	}
}

// Close ends the session and tells the peer. The error is ErrClosed if it was called
// before.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return c.failed("close", ErrClosed)
	}
	select {
	case <-c.ended:
		return nil // the session with this peer may be another one by now
	default:
	}
	c.peer.loop.Do(func(now time.Time) {
		if s, ok := c.peer.machine.Session(c.id); ok && (s == c.Session() || c.Session().IsZero()) {
			c.peer.machine.Close(now, c.id)
		}
	})
	c.peer.drop(c)
	return nil
}

func (c *Conn) setSession(id SessionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = id
}

// setPath notes the path and reports whether it is the first.
func (c *Conn) setPath(path Path) (first bool) {
	c.mu.Lock()
	c.path = path
	c.mu.Unlock()
	if path.Kind == NoPath || c.isUp() {
		return false
	}
	close(c.up)
	return true
}

func (c *Conn) isUp() bool {
	select {
	case <-c.up:
		return true
	default:
		return false
	}
}

// deliver queues a datagram; called by the loop only.
func (c *Conn) deliver(payload []byte) {
	select {
	case c.inbox <- payload:
	default:
		c.lost.Add(1)
	}
}

// tell queues an event in place of the oldest if need be. The peer's lock is
// held, so that nobody else writes.
func (c *Conn) tell(e sansio.Event) {
	select {
	case <-c.ended:
		return
	default:
	}
	for {
		select {
		case c.events <- e:
			return
		default:
		}
		select {
		case <-c.events:
		default:
		}
	}
}

// finish ends the connection; the peer's lock is held.
func (c *Conn) finish(err error) {
	select {
	case <-c.ended:
		return
	default:
	}
	c.mu.Lock()
	c.err, c.path = err, Path{}
	c.mu.Unlock()
	c.readDeadline.stop()
	c.writeDeadline.stop()
	close(c.ended)
	close(c.events)
}

func (c *Conn) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
