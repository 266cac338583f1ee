package sansio

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// endedWatch is a network whose watch has ended already.
type endedWatch struct{ Network }

func (endedWatch) Watch(context.Context) (<-chan struct{}, error) {
	c := make(chan struct{})
	close(c)
	return c, nil
}

// idle is a machine that wants nothing.
type idle struct{ Outbox }

func (*idle) HandleBound(time.Time, Socket, netip.AddrPort, error) {}
func (*idle) HandleDatagram(time.Time, Datagram)                   {}
func (*idle) HandleInterfaces(time.Time, []netip.Addr)             {}
func (*idle) HandleTimeout(time.Time)                              {}
func (*idle) PollTimeout() time.Time                               { return time.Time{} }

// TestLoopEndsAfterItsWatchHasEnded: the watch ends together with the context,
// and which of the two the loop notices first is chance.
func TestLoopEndsAfterItsWatchHasEnded(t *testing.T) {
	l := NewLoop(&idle{}, endedWatch{System()}, nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	// By the second turn the loop has seen the closed channel, or ignores it.
	for range 100 {
		l.Do(func(time.Time) {})
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatalf("Run had not returned %v after its context ended", patience)
	}
}
