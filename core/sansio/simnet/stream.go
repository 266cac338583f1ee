package simnet

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/sansio"
)

// Streams are modelled by their messages: these arrive in order and are not lost,
// as long as both ends stay where they are and no link is down. They go out through
// any NAT, by the port of its own that it gives each, unless it is a StreamFilter.
// The other way no NAT lets one in.

// StreamFilter is a NAT that does not let all streams out.
type StreamFilter interface {
	NAT
	// Stream reports whether a stream to a destination may begin. One that may not
	// comes to nothing, without a word.
	Stream(destination netip.AddrPort) bool
}

// giveUpAfter is when a stream that nobody answers has failed.
const giveUpAfter = 5 * time.Second

// Errors of streams.
var (
	errRefused  = errors.New("connection refused")
	errTimeout  = errors.New("connection timed out")
	errHungUp   = errors.New("the other side has closed the stream")
	errListener = errors.New("address already in use")
)

// stream is one end of a connection.
type stream struct {
	runner    *Runner
	id        sansio.Socket
	transport sansio.Transport
	accepted  bool
	// local is the end's own address, remote the other end's as it is seen here.
	local, remote netip.AddrPort
	other         *stream
	over          bool
	arrives       time.Time // of the last message to the other end
}

// listener is a socket that accepts streams.
type listener struct {
	runner    *Runner
	id        sansio.Socket
	transport sansio.Transport
	local     netip.AddrPort
}

// streams are those of a runner.
type streams struct {
	listeners map[sansio.Socket]*listener
	ends      []*stream
}

func (r *Runner) streamsFor() (sansio.StreamMachine, bool) {
	m, ok := r.machine.(sansio.StreamMachine)
	return m, ok
}

// openStream answers a Bind of a stream socket.
func (r *Runner) openStream(b sansio.Bind) {
	h, n := r.host, r.host.net
	m, ok := r.streamsFor()
	if !ok {
		r.machine.HandleBound(n.now, b.Socket, b.Local, errors.New("the machine takes no streams"))
		return
	}
	if !b.Remote.IsValid() {
		if h.listenerAt(b.Local) != nil {
			m.HandleBound(n.now, b.Socket, b.Local, errListener)
			return
		}
		if r.streams.listeners == nil {
			r.streams.listeners = make(map[sansio.Socket]*listener)
		}
		r.streams.listeners[b.Socket] = &listener{r, b.Socket, b.Transport, b.Local}
		m.HandleBound(n.now, b.Socket, b.Local, nil)
		return
	}
	end := &stream{runner: r, id: b.Socket, transport: b.Transport, remote: b.Remote}
	r.streams.ends = append(r.streams.ends, end)
	fail := func(after time.Duration, err error) {
		n.after(after, func() {
			if !end.over && !r.stopped {
				end.drop()
				m.HandleBound(n.now, b.Socket, netip.AddrPort{}, err)
				r.drain()
			}
		})
	}
	from, server, why := h.way(b.Remote)
	switch {
	case why != nil:
		fail(giveUpAfter, why)
		return
	case server == nil:
		fail(2*h.link.Delay, errRefused)
		return
	}
	end.local = netip.AddrPortFrom(h.addrs[0], from.Port())
	oneWay := h.link.Delay + server.runner.host.link.Delay
	trips := 2 // SYN and its answer
	if b.Transport == sansio.TLS {
		trips += 2
	}
	n.after(time.Duration(trips)*oneWay, func() {
		if end.over || r.stopped {
			return
		}
		if server.runner.stopped || server.transport != b.Transport {
			end.drop()
			m.HandleBound(n.now, b.Socket, netip.AddrPort{}, errRefused)
			r.drain()
			return
		}
		other := &stream{runner: server.runner, id: server.id, transport: b.Transport, accepted: true, local: b.Remote, remote: from, other: end}
		server.runner.streams.ends = append(server.runner.streams.ends, other)
		end.other = other
		if to, ok := server.runner.streamsFor(); ok {
			to.HandleAccepted(n.now, server.id, from)
			server.runner.drain()
		}
		m.HandleBound(n.now, b.Socket, end.local, nil)
		r.drain()
	})
}

// way is how a stream of the host is seen at an address, and who listens there.
func (h *Host) way(to netip.AddrPort) (from netip.AddrPort, server *listener, why error) {
	if len(h.addrs) == 0 || h.link.Down {
		return from, nil, errTimeout
	}
	h.net.streamPort++
	from = netip.AddrPortFrom(h.addrs[0], firstPort+h.net.streamPort%10000)
	for s := h.segment; s != nil; s = s.parent {
		for _, other := range h.net.hosts {
			if other.segment == s && slices.Contains(other.addrs, to.Addr()) {
				if other.link.Down {
					return from, nil, errTimeout
				}
				return from, other.listenerAt(to), nil
			}
		}
		if filter, ok := s.nat.(StreamFilter); ok && !filter.Stream(to) {
			return from, nil, errTimeout
		}
		if len(s.external) > 0 {
			from = netip.AddrPortFrom(s.external[0], from.Port())
		}
	}
	return from, nil, fmt.Errorf("no host has the address %s", to.Addr())
}

func (h *Host) listenerAt(at netip.AddrPort) *listener {
	for _, r := range h.net.runners {
		if r.host != h {
			continue
		}
		for _, l := range r.streams.listeners {
			if l.local.Port() == at.Port() && (l.local.Addr() == at.Addr() || l.local.Addr().IsUnspecified()) {
				return l
			}
		}
	}
	return nil
}

// sendStream sends a message by a stream, if the datagram is for one.
func (r *Runner) sendStream(d sansio.Datagram) {
	end := r.end(d.Socket, d.Remote)
	if end == nil || end.other == nil {
		return
	}
	n, other := r.host.net, end.other
	// Who has moved away, and whose link is down, reaches nobody.
	if r.host.link.Down || other.runner.host.link.Down || !end.accepted && !slices.Contains(r.host.addrs, end.local.Addr()) {
		return
	}
	payload := bytes.Clone(d.Payload)
	at := n.now.Add(r.host.link.Delay + other.runner.host.link.Delay)
	if at.Before(end.arrives) {
		at = end.arrives
	}
	end.arrives = at
	n.after(at.Sub(n.now), func() {
		to := other.runner
		if other.over || to.stopped || !other.accepted && !slices.Contains(to.host.addrs, other.local.Addr()) {
			return
		}
		if n.observe != nil {
			n.observe(Packet{At: n.now, From: r.host, To: to.host, Transport: end.transport, SentSource: end.local,
				SentDestination: end.remote, SeenSource: other.remote, SeenDestination: other.local, Payload: payload})
		}
		to.machine.HandleDatagram(n.now, sansio.Datagram{Socket: other.id, Transport: other.transport, Remote: other.remote, Payload: payload})
		to.drain()
	})
}

// end is the stream of a socket, if it listens that with an address.
func (r *Runner) end(id sansio.Socket, remote netip.AddrPort) *stream {
	for _, e := range r.streams.ends {
		if e.id == id && e.remote == remote {
			return e
		}
	}
	return nil
}

// closeStreams does what a Bind that closes says about streams.
func (r *Runner) closeStreams(id sansio.Socket, remote netip.AddrPort) {
	if !remote.IsValid() {
		delete(r.streams.listeners, id)
	}
	for _, e := range slices.Clone(r.streams.ends) {
		if e.id == id && (!remote.IsValid() || e.remote == remote) {
			e.hangUp(errHungUp)
		}
	}
}

// hangUp ends a stream; the other side hears of it after what is under way.
func (e *stream) hangUp(why error) {
	e.drop()
	n, other := e.runner.host.net, e.other
	if other == nil || e.runner.host.link.Down {
		return
	}
	at := n.now.Add(e.runner.host.link.Delay + other.runner.host.link.Delay)
	if at.Before(e.arrives) {
		at = e.arrives
	}
	n.after(at.Sub(n.now), func() {
		if other.over || other.runner.stopped {
			return
		}
		other.drop()
		if m, ok := other.runner.streamsFor(); ok {
			m.HandleClosed(n.now, other.id, other.remote, why)
			other.runner.drain()
		}
	})
}

func (e *stream) drop() {
	e.over = true
	e.runner.streams.ends = slices.DeleteFunc(e.runner.streams.ends, func(o *stream) bool { return o == e })
}
