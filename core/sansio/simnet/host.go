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

// firstPort is where ports for sockets without a wish begin.
const firstPort = 49152

// Link is a host's connection to its segment, the same in both directions.
type Link struct {
	Delay time.Duration
	// Loss is the probability, 0 to 1, that a packet is lost.
	Loss float64
	// Down loses everything.
	Down bool
}

// Host has addresses and runs machines.
type Host struct {
	net      *Net
	name     string
	segment  *Segment
	addrs    []netip.Addr
	former   *former // nil: it is in one segment, as a rule
	link     Link
	ports    map[netip.AddrPort]*port
	nextPort uint16
}

// former is a segment that a host is still in beside the present one.
type former struct {
	segment *Segment
	addrs   []netip.Addr
}

// port is a bound socket.
type port struct {
	runner *Runner
	id     sansio.Socket
	local  netip.AddrPort
}

// Name is the host's name.
func (h *Host) Name() string { return h.name }

// SetLink changes the host's link; packets under way keep their delay.
func (h *Host) SetLink(l Link) { h.link = l }

// Move takes the host to another segment and gives it other addresses; its
// machines are told.
func (h *Host) Move(to *Segment, addrs ...netip.Addr) {
	h.segment, h.addrs, h.former = to, addrs, nil
	h.readdressed()
}

// Overlap is Move that leaves the host in its former segment, too, until Leave:
// what chooses no address leaves by the new one.
func (h *Host) Overlap(to *Segment, addrs ...netip.Addr) {
	h.former = &former{h.segment, h.addrs}
	h.segment, h.addrs = to, addrs
	h.readdressed()
}

// Leave ends what Overlap left.
func (h *Host) Leave() {
	h.former = nil
	h.readdressed()
}

func (h *Host) readdressed() {
	all := slices.Clone(h.addrs)
	if h.former != nil {
		all = append(slices.Clone(h.former.addrs), all...)
	}
	for _, r := range h.net.runners {
		if r.host == h {
			r.machine.HandleInterfaces(h.net.now, slices.Clone(all))
			r.drain()
		}
	}
}

// in reports whether the host has an address in a segment.
func (h *Host) in(s *Segment, a netip.Addr) bool {
	return h.segment == s && slices.Contains(h.addrs, a) ||
		h.former != nil && h.former.segment == s && slices.Contains(h.former.addrs, a)
}

// has reports whether the host has an address in any.
func (h *Host) has(a netip.Addr) bool {
	return slices.Contains(h.addrs, a) || h.former != nil && slices.Contains(h.former.addrs, a)
}

// by is the segment by which packets with a source leave.
func (h *Host) by(source netip.Addr) *Segment {
	if h.former != nil && slices.Contains(h.former.addrs, source) {
		return h.former.segment
	}
	return h.segment
}

// Runner is a machine that runs on a host.
type Runner struct {
	host    *Host
	machine sansio.Machine
	onEvent func(at time.Time, e sansio.Event)
	sockets map[sansio.Socket]*port
	streams streams
	stopped bool
	// wake is what the machine's PollTimeout said, while polled: nobody has called
	// it since. With many machines most are not concerned by what happens.
	wake   time.Time
	polled bool
}

// Run starts a machine. onEvent may be nil; it may call the machine's methods,
// but not Do.
func (h *Host) Run(m sansio.Machine, onEvent func(at time.Time, e sansio.Event)) *Runner {
	if onEvent == nil {
		onEvent = func(time.Time, sansio.Event) {}
	}
	m, _ = sansio.Bare(m)
	r := &Runner{host: h, machine: m, onEvent: onEvent, sockets: make(map[sansio.Socket]*port)}
	h.net.runners = append(h.net.runners, r)
	m.HandleInterfaces(h.net.now, slices.Clone(h.addrs))
	r.drain()
	return r
}

// Do calls f with the simulated time and drains the machine; false if it has
// been stopped.
func (r *Runner) Do(f func(now time.Time)) bool {
	if r.stopped {
		return false
	}
	f(r.host.net.now)
	r.drain()
	return true
}

// Stop ends the machine without a word, as a crash does, and closes its sockets.
func (r *Runner) Stop() {
	r.stopped = true
	for id := range r.sockets {
		r.close(id)
	}
	r.streams.listeners = nil
	for _, e := range slices.Clone(r.streams.ends) { // the kernel says this much for a process that is gone
		e.hangUp(errHungUp)
	}
	r.host.net.runners = slices.DeleteFunc(r.host.net.runners, func(o *Runner) bool { return o == r })
}

func (r *Runner) timeout() time.Time {
	if !r.polled {
		r.wake, r.polled = r.machine.PollTimeout(), true
	}
	if !r.wake.IsZero() && r.wake.Before(r.host.net.now) {
		return r.host.net.now
	}
	return r.wake
}

func (r *Runner) fire() {
	r.machine.HandleTimeout(r.host.net.now)
	r.drain()
}

func (r *Runner) drain() {
	r.polled = false
	var closing []sansio.Bind
	for {
		busy := false
		for b, ok := r.machine.PollBind(); ok; b, ok = r.machine.PollBind() {
			busy = true
			if b.Close {
				closing = append(closing, b)
				continue
			}
			again := func(c sansio.Bind) bool { return c.Socket == b.Socket && !c.Remote.IsValid() }
			if i := slices.IndexFunc(closing, again); i >= 0 {
				closing = slices.Delete(closing, i, i+1)
				r.close(b.Socket)
				r.closeStreams(b.Socket, netip.AddrPort{})
			}
			if b.Transport != sansio.UDP {
				r.openStream(b)
				continue
			}
			local, err := r.bind(b)
			r.machine.HandleBound(r.host.net.now, b.Socket, local, err)
		}
		for d, ok := r.machine.PollTransmit(); ok; d, ok = r.machine.PollTransmit() {
			busy = true
			r.send(d)
		}
		for _, b := range closing {
			if !b.Remote.IsValid() {
				r.close(b.Socket)
			}
			r.closeStreams(b.Socket, b.Remote)
		}
		closing = closing[:0]
		for e, ok := r.machine.PollEvent(); ok; e, ok = r.machine.PollEvent() {
			busy = true
			r.onEvent(r.host.net.now, e)
		}
		if !busy || r.stopped {
			return
		}
	}
}

func (r *Runner) bind(b sansio.Bind) (netip.AddrPort, error) {
	h := r.host
	if r.sockets[b.Socket] != nil {
		return b.Local, fmt.Errorf("socket %d is open already", b.Socket)
	}
	addr := b.Local.Addr().Unmap()
	if !addr.IsValid() {
		addr = netip.IPv6Unspecified()
	}
	if !addr.IsUnspecified() && !h.has(addr) {
		return b.Local, fmt.Errorf("host %s has no address %v", h.name, addr)
	}
	number := b.Local.Port()
	if number == 0 {
		for number = h.nextPort; h.taken(addr, number); number++ {
		}
		h.nextPort = max(firstPort, number+1)
	}
	if h.taken(addr, number) {
		return b.Local, errors.New("address already in use")
	}
	local := netip.AddrPortFrom(addr, number)
	p := &port{runner: r, id: b.Socket, local: local}
	h.ports[local], r.sockets[b.Socket] = p, p
	return local, nil
}

// taken reports whether a port is bound on the address or an overlapping one.
func (h *Host) taken(addr netip.Addr, number uint16) bool {
	for local := range h.ports {
		if local.Port() == number && (local.Addr() == addr || local.Addr().IsUnspecified() || addr.IsUnspecified()) {
			return true
		}
	}
	return false
}

func (r *Runner) close(id sansio.Socket) {
	if p := r.sockets[id]; p != nil {
		delete(r.sockets, id)
		delete(r.host.ports, p.local)
	}
}

func (r *Runner) send(d sansio.Datagram) {
	h, n := r.host, r.host.net
	s := r.sockets[d.Socket]
	if s == nil {
		r.sendStream(d)
		return
	}
	source := h.source(s, d.Local, d.Remote.Addr())
	p := &Packet{At: n.now, From: h, SentSource: source, SentDestination: d.Remote, SeenSource: source, SeenDestination: d.Remote, Payload: bytes.Clone(d.Payload)}
	switch {
	case !source.IsValid():
		n.lose(p, "the host has no address to send from")
	case n.drops(h.link):
		n.lose(p, "lost on the sender's link")
	default:
		n.after(h.link.Delay, func() { n.cross(h, p) })
	}
}

// source is what a packet leaves with; invalid if the host has moved away from
// the address of the socket, or has none of the family.
func (h *Host) source(s *port, local, to netip.Addr) netip.AddrPort {
	if !local.IsValid() {
		local = s.local.Addr()
	}
	if !local.IsUnspecified() && h.has(local) {
		return netip.AddrPortFrom(local, s.local.Port())
	}
	for _, a := range h.addrs {
		if local.IsUnspecified() && a.Is4() == to.Is4() {
			return netip.AddrPortFrom(a, s.local.Port())
		}
	}
	return netip.AddrPort{}
}

// cross takes a packet through the NATs and onto the receiver's link.
func (n *Net) cross(from *Host, p *Packet) {
	to, reason := from.by(p.SentSource.Addr()).route(n.now, p)
	switch {
	case to == nil:
		n.lose(p, reason)
	case n.drops(to.link):
		n.lose(p, "lost on the receiver's link")
	default:
		n.after(to.link.Delay, func() { n.arrive(to, p) })
	}
}

func (n *Net) arrive(to *Host, p *Packet) {
	s := to.ports[p.SeenDestination]
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if s == nil {
			s = to.ports[netip.AddrPortFrom(any, p.SeenDestination.Port())]
		}
	}
	if s == nil || !to.has(p.SeenDestination.Addr()) {
		n.lose(p, "no socket is bound to "+p.SeenDestination.String())
		return
	}
	p.At, p.To = n.now, to
	if n.observe != nil {
		n.observe(*p)
	}
	s.runner.machine.HandleDatagram(n.now, sansio.Datagram{Socket: s.id, Remote: p.SeenSource, Local: p.SeenDestination.Addr(), Payload: bytes.Clone(p.Payload)})
	s.runner.drain()
}

func (n *Net) drops(l Link) bool { return l.Down || l.Loss > 0 && n.random.Float64() < l.Loss }

func (n *Net) lose(p *Packet, why string) {
	p.At, p.Lost = n.now, why
	if n.observe != nil {
		n.observe(*p)
	}
}
