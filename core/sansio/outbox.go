package sansio

import "net/netip"

// Outbox queues what a machine wants done. A machine embeds it to get the Poll
// methods for binds, datagrams and events; PollTimeout remains its own. The
// zero value is ready.
type Outbox struct {
	binds     Queue[Bind]
	datagrams Queue[Datagram]
	events    Queue[Event]
}

// Bind queues the opening of a socket.
func (o *Outbox) Bind(s Socket, local netip.AddrPort) {
	o.binds.Push(Bind{Socket: s, Local: local})
}

// Open queues the opening of a socket of any kind.
func (o *Outbox) Open(b Bind) { o.binds.Push(b) }

// Listen queues the opening of a socket that accepts streams.
func (o *Outbox) Listen(s Socket, t Transport, local netip.AddrPort) {
	o.binds.Push(Bind{Socket: s, Transport: t, Local: local})
}

// Connect queues the opening of a stream; serverName is Bind's.
func (o *Outbox) Connect(s Socket, t Transport, remote netip.AddrPort, serverName string) {
	o.binds.Push(Bind{Socket: s, Transport: t, Remote: remote, ServerName: serverName})
}

// Hangup queues the end of a stream that a listening socket has accepted.
func (o *Outbox) Hangup(s Socket, remote netip.AddrPort) {
	o.binds.Push(Bind{Socket: s, Remote: remote, Close: true})
}

// Unbind queues the closing of a socket.
func (o *Outbox) Unbind(s Socket) { o.binds.Push(Bind{Socket: s, Close: true}) }

// Send queues a datagram, or a message on a stream. The payload is kept, not copied: the caller gives
// it away.
func (o *Outbox) Send(s Socket, remote netip.AddrPort, payload []byte) {
	o.datagrams.Push(Datagram{Socket: s, Remote: remote, Payload: payload})
}

// SendFrom is Send with one of the host's addresses as the source.
func (o *Outbox) SendFrom(s Socket, local netip.Addr, remote netip.AddrPort, payload []byte) {
	o.datagrams.Push(Datagram{Socket: s, Local: local, Remote: remote, Payload: payload})
}

// Transmit queues a datagram of any kind; the payload is given away.
func (o *Outbox) Transmit(d Datagram) { o.datagrams.Push(d) }

// Emit queues an event.
func (o *Outbox) Emit(e Event) { o.events.Push(e) }

// PollBind implements Machine.
func (o *Outbox) PollBind() (Bind, bool) { return o.binds.Pop() }

// PollTransmit implements Machine.
func (o *Outbox) PollTransmit() (Datagram, bool) { return o.datagrams.Pop() }

// PollEvent implements Machine.
func (o *Outbox) PollEvent() (Event, bool) { return o.events.Pop() }

// Queue is a first-in first-out queue that reuses its storage once drained. The
// zero value is ready.
type Queue[T any] struct {
	items []T
	head  int
}

// Push puts a value at the end.
func (q *Queue[T]) Push(v T) { q.items = append(q.items, v) }

// Pop takes the first value out; false: there is none.
func (q *Queue[T]) Pop() (T, bool) {
	var zero T
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		return zero, false
	}
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	return v, true
}
