package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
)

// The datagrams that the command sends: a byte that says what it is, the number,
// the time of sending (Unix, ns), and random bytes up to the size, so that no
// two are alike on the wire.
const (
	request    = 'Q'
	reply      = 'R'
	minPayload = 1 + 8 + 8
)

// traffic sends the datagrams of a peer command and answers those of others. All
// but run belongs to the loop's goroutine.
type traffic struct {
	machine *peer.Machine
	printer *printer
	flags   *peerFlags
	numbers map[identity.ID]int // the last one sent
}

func newTraffic(m *peer.Machine, p *printer, f *peerFlags) *traffic {
	return &traffic{machine: m, printer: p, flags: f, numbers: make(map[identity.ID]int)}
}

// run sends at intervals. The channel is closed when all that was to be sent has
// been, and the time for answers is over.
func (t *traffic) run(ctx context.Context, loop *sansio.Loop) <-chan struct{} {
	done := make(chan struct{})
	if t.flags.sendInterval == 0 {
		return done
	}
	go func() {
		ticker := time.NewTicker(t.flags.sendInterval)
		defer ticker.Stop()
		for over := false; !over; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if !loop.Do(func(now time.Time) { over = t.sendAll(now) }) {
					return
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(t.flags.linger):
			close(done)
		}
	}()
	return done
}

// sendAll sends the next datagram to everyone who has, or had, a path. It
// reports whether everyone has got all.
func (t *traffic) sendAll(now time.Time) (over bool) {
	for _, id := range t.machine.Peers() {
		if _, ok := t.machine.Path(id); !ok && t.numbers[id] == 0 {
			continue // not connected yet
		}
		if t.flags.count > 0 && t.numbers[id] >= t.flags.count {
			continue
		}
		t.numbers[id]++
		payload := make([]byte, t.flags.payloadSize)
		payload[0] = request
		binary.BigEndian.PutUint64(payload[1:], uint64(t.numbers[id]))
		binary.BigEndian.PutUint64(payload[9:], uint64(now.UnixNano()))
		rand.Read(payload[minPayload:]) // never fails: it would end the process
		err := t.machine.Send(now, id, payload)
		t.printer.sent(now, id, t.numbers[id], len(payload), err)
	}
	if t.flags.count == 0 || len(t.numbers) == 0 {
		return false
	}
	for _, n := range t.numbers {
		if n < t.flags.count {
			return false
		}
	}
	return true
}

// received prints a datagram, and answers it if it is a request.
func (t *traffic) received(now time.Time, e peer.Received) {
	t.printer.received(now, e)
	if t.flags.echo && len(e.Payload) > 0 && e.Payload[0] != reply {
		answer := bytes.Clone(e.Payload)
		if answer[0] == request {
			answer[0] = reply
		}
		// Without a path it is lost, as it would be on the way.
		_ = t.machine.Send(now, e.Peer, answer)
	}
}
