package peer_test

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"p2pmodel/core/peer"
)

// connected are both ends of a connection over the loopback interface.
func connected(t *testing.T, s servers) (a, b *peer.Conn) {
	t.Helper()
	ctx := testContext(t)
	x, y := s.mustStart(t, nil), s.mustStart(t, nil)
	accepted := make(chan *peer.Conn, 1)
	go func() {
		c, err := y.Accept(ctx)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	a, err := x.Dial(ctx, y.ID())
	if err != nil {
		t.Fatal(err)
	}
	if b = <-accepted; b == nil {
		t.FailNow()
	}
	return a, b
}

// paced is a connection on which no more is under way than buffers hold, so that the
// suite, which is made for streams, finds each byte. Who does not read loses what is
// written, after a while.
type paced struct {
	*peer.Conn
	sent *atomic.Int64 // ours that were not read
	got  *atomic.Int64 // theirs that we have not read
}

func (p paced) Write(b []byte) (int, error) {
	for wait := 0; p.sent.Load() > 64 && wait < 20; wait++ {
		time.Sleep(time.Millisecond)
	}
	n, err := p.Conn.Write(b)
	if err == nil {
		p.sent.Add(1)
	}
	return n, err
}

func (p paced) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if err == nil {
		p.got.Add(-1)
	}
	return n, err
}

// TestNetConn is the suite of golang.org/x/net for a net.Conn.
func TestNetConn(t *testing.T) {
	s := mustServers(t)
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b := connected(t, s)
		var ab, ba atomic.Int64
		return paced{a, &ab, &ba}, paced{b, &ba, &ab}, func() { a.Close(); b.Close() }, nil
	})
}

// TestPacketConn: what is of net.PacketConn, and not in the suite.
func TestPacketConn(t *testing.T) {
	s := mustServers(t)
	a, b := connected(t, s)
	var pa, pb net.PacketConn = a, b
	if pa.LocalAddr() != b.RemoteAddr() || a.RemoteAddr() != pb.LocalAddr() || a.RemoteAddr().String() != a.Peer().String() || a.RemoteAddr().Network() != "p2p" {
		t.Errorf("addresses %v → %v and %v → %v", pa.LocalAddr(), a.RemoteAddr(), pb.LocalAddr(), b.RemoteAddr())
	}
	if _, err := pa.WriteTo([]byte("x"), pa.LocalAddr()); err == nil {
		t.Error("a datagram to somebody else is taken")
	}
	if _, err := pa.WriteTo([]byte("x"), &net.UDPAddr{}); err == nil {
		t.Error("a datagram to an address of another kind is taken")
	}
	var op *net.OpError
	if _, err := pa.WriteTo(make([]byte, peer.MaxPayload+1), a.RemoteAddr()); !errors.Is(err, peer.ErrTooLarge) || !errors.As(err, &op) {
		t.Errorf("a datagram that is too large: %v, want a *net.OpError with ErrTooLarge", err)
	}
	// Two datagrams stay two, and what does not fit is lost.
	for _, text := range []string{"hello", "there"} {
		if n, err := pa.WriteTo([]byte(text), a.RemoteAddr()); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	buffer := make([]byte, 4)
	for _, want := range []string{"hell", "ther"} {
		n, from, err := pb.ReadFrom(buffer)
		if err != nil || string(buffer[:n]) != want || from != b.RemoteAddr() {
			t.Errorf("read %q from %v, %v; want %q from the peer", buffer[:n], from, err, want)
		}
	}
	// A deadline ends a read that waits, and is no end of the connection.
	if err := pb.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, _, err := pb.ReadFrom(buffer); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("after the deadline: %v, want a timeout", err)
	}
	if err := pb.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pa.WriteTo([]byte("late"), a.RemoteAddr()); err != nil {
		t.Fatal(err)
	}
	if n, _, err := pb.ReadFrom(buffer); err != nil || string(buffer[:n]) != "late" {
		t.Errorf("after the deadline was taken away: %q, %v", buffer[:n], err)
	}
	// The end.
	if err := pa.Close(); err != nil {
		t.Error(err)
	}
	if err := pa.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: %v, want net.ErrClosed", err)
	}
	if _, err := a.Write(nil); !errors.Is(err, net.ErrClosed) || !errors.Is(err, peer.ErrClosed) {
		t.Errorf("written when closed: %v, want ErrClosed", err)
	}
	if _, _, err := pb.ReadFrom(buffer); !errors.Is(err, peer.ErrClosedByPeer) || !errors.As(err, &op) {
		t.Errorf("read when the peer has closed: %v, want ErrClosedByPeer", err)
	}
	if _, err := b.Read(buffer); err != io.EOF {
		t.Errorf("read as a net.Conn when the peer has closed: %v, want io.EOF", err)
	}
}
