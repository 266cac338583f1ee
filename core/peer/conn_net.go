package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"p2pmodel/core/identity"
)

// A Conn is a net.Conn and a net.PacketConn: libraries that speak over either, QUIC
// among them, run over it. Both keep datagrams apart, as *net.UDPConn does.
var (
	_ net.Conn       = (*Conn)(nil)
	_ net.PacketConn = (*Conn)(nil)
)

// Addr is a peer's address: who it is. Where it is changes while a connection lives;
// Conn.Path says that.
type Addr struct{ ID identity.ID }

// Network is "p2p".
func (Addr) Network() string { return "p2p" }

// String is the text form of the id.
func (a Addr) String() string { return a.ID.String() }

// LocalAddr names us, an Addr.
func (c *Conn) LocalAddr() net.Addr { return Addr{c.peer.ID()} }

// RemoteAddr names the peer, an Addr.
func (c *Conn) RemoteAddr() net.Addr { return Addr{c.id} }

// Read waits for the next datagram and copies it to b; what does not fit is lost. The
// error is io.EOF when the peer has closed the connection, and else a *net.OpError
// with what Receive would give, or with os.ErrDeadlineExceeded.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.read(b)
	if errors.Is(err, ErrClosedByPeer) {
		return 0, io.EOF
	}
	return n, c.failed("read", err)
}

// ReadFrom is Read for those who want to know from whom, always RemoteAddr. Its error
// is a *net.OpError also when the peer has closed the connection.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.read(b)
	if err != nil {
		return 0, nil, c.failed("read", err)
	}
	return n, c.RemoteAddr(), nil
}

// Write sends b as one datagram. Unlike Send it takes it for no error that there is no
// path at present: the datagram is lost then, as others on their way are. The error is
// a *net.OpError with ErrTooLarge, os.ErrDeadlineExceeded, or why the connection has
// ended.
func (c *Conn) Write(b []byte) (int, error) {
	if c.writeDeadline.over() {
		return 0, c.failed("write", os.ErrDeadlineExceeded)
	}
	if err := c.Send(b); err != nil && !errors.Is(err, ErrNoPath) {
		return 0, c.failed("write", err)
	}
	return len(b), nil
}

// WriteTo is Write. The address has to be RemoteAddr.
func (c *Conn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if a, ok := addr.(Addr); !ok || a.ID != c.id {
		return 0, c.failed("write", fmt.Errorf("%w: %v", errOtherAddr, addr))
	}
	return c.Write(b)
}

var errOtherAddr = errors.New("a connection with a peer sends to nobody else")

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline ends waiting reads, Receive not among them, and those to come, at a
// time; the zero time: never. The error is why the connection has ended.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readDeadline.set(t)
	return c.failed("set", c.why())
}

// SetWriteDeadline has writes fail from a time on. No write ever waits.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline.set(t)
	return c.failed("set", c.why())
}

func (c *Conn) read(b []byte) (int, error) {
	if c.readDeadline.over() {
		return 0, os.ErrDeadlineExceeded
	}
	for {
		late, moved := c.readDeadline.wait()
		select {
		case d := <-c.inbox:
			return copy(b, d), nil
		case <-late:
			return 0, os.ErrDeadlineExceeded
		case <-moved: // there is another deadline
		case <-c.ended:
			select {
			case d := <-c.inbox:
				return copy(b, d), nil
			default:
				return 0, c.why()
			}
		}
	}
}

// failed gives an error the form that users of package net expect.
func (c *Conn) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: Addr{}.Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// deadline is when something stops to wait. The zero value is never.
type deadline struct {
	mu    sync.Mutex
	at    time.Time
	timer *time.Timer
	late  chan struct{} // closed at the deadline
	moved chan struct{} // closed when there is another one
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.moved != nil {
		close(d.moved)
	}
	d.at, d.moved = t, make(chan struct{})
	late := make(chan struct{})
	d.late = late
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(late)
	default:
		d.timer = time.AfterFunc(wait, func() { close(late) })
	}
}

// wait gives the channels to wait on; nil ones were never set.
func (d *deadline) wait() (late, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.moved == nil {
		d.moved = make(chan struct{})
	}
	return d.late, d.moved
}

func (d *deadline) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.at.IsZero() && !time.Now().Before(d.at)
}

// stop ends the timer.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
}
