package sansio

import (
	"context"
	"time"
)

// errand is something for the loop to do, one of these.
type errand struct {
	kind   errandKind
	batch  *batch
	stream streamEvent
	call   call
}

type errandKind uint8

const (
	toEnd errandKind = iota
	toReadReady
	toDeliver
	toDeliverStream
	toCall
	toTellChange
	toForgetChanges
	toTimeOut
)

// await waits for the next errand.
func (l *Loop) await(ctx context.Context, timer <-chan time.Time) errand {
	select {
	case <-ctx.Done():
		return errand{kind: toEnd}
	case <-l.ready:
		return errand{kind: toReadReady}
	case b := <-l.inbox:
		return errand{kind: toDeliver, batch: b}
	case e := <-l.streams.inbox:
		return errand{kind: toDeliverStream, stream: e}
	case c := <-l.calls:
		return errand{kind: toCall, call: c}
	case _, open := <-l.changes:
		if !open {
			return errand{kind: toForgetChanges}
		}
		return errand{kind: toTellChange}
	case <-l.again:
		return errand{kind: toTellChange}
	case <-timer:
		return errand{kind: toTimeOut}
	}
}

// do does an errand; false: the loop is to end.
func (l *Loop) do(ctx context.Context, e errand) bool {
	switch e.kind {
	case toEnd:
		return false
	case toReadReady:
		l.readReady(ctx)
	case toDeliver:
		l.deliver(ctx, e.batch)
	case toDeliverStream:
		l.deliverStream(e.stream)
	case toCall:
		e.call.f(time.Now())
		// The caller may read what the machine did: drain first.
		l.drain(ctx)
		close(e.call.done)
	case toTellChange:
		l.again = l.tellChange()
	case toForgetChanges:
		// The watch has ended: with ctx, or because it failed for good. The machine
		// goes on with the addresses it knows.
		l.changes = nil
	case toTimeOut:
		l.armed = time.Time{}
		l.machine.HandleTimeout(time.Now())
	}
	return true
}
