package siege

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/sansio"
)

// observed is the machine, seen from its driver: what came, what it sends, and a clock
// that can be put forward.
type observed struct {
	sansio.Machine
	t testing.TB

	lock   sync.Mutex
	offset time.Duration
	hosts  map[netip.AddrPort]*net.UDPConn
	bound  map[sansio.Socket]netip.AddrPort // UDP sockets
	// listens are the sockets of streams.
	listens map[sansio.Socket]bool
	// waits are those for a datagram from one address at a socket, the zero socket's
	// address standing for a stream.
	waits map[way][]chan struct{}
	// datagrams and messages are what was sent to a host and not taken yet.
	datagrams, messages map[netip.AddrPort]int

	// populated: hosts are wherever something is sent to.
	populated bool

	// Of the loop: whether what the machine sends now follows a datagram, and what it
	// has sent so, in bytes and since the last question.
	provoked bool
	reacted  int
	answers  []sansio.Datagram
}

// mostAnswers is how many are kept for who asks.
const mostAnswers = 1000

type way struct{ from, to netip.AddrPort }

func newObserved(t testing.TB, m sansio.Machine) *observed {
	return &observed{
		Machine: m, t: t, hosts: make(map[netip.AddrPort]*net.UDPConn), bound: make(map[sansio.Socket]netip.AddrPort),
		listens: make(map[sansio.Socket]bool),
		waits:   make(map[way][]chan struct{}), datagrams: make(map[netip.AddrPort]int), messages: make(map[netip.AddrPort]int),
	}
}

func (o *observed) time(now time.Time) time.Time {
	o.lock.Lock()
	defer o.lock.Unlock()
	return now.Add(o.offset)
}

// advance puts the clock forward, from one time that the machine waits for to the next.
func (o *observed) advance(d time.Duration) func(time.Time) {
	return func(now time.Time) {
		end := o.time(now).Add(d)
		for {
			at := o.Machine.PollTimeout()
			if at.IsZero() || at.After(end) {
				at = end
			}
			o.lock.Lock()
			o.offset = max(o.offset, at.Sub(now))
			o.lock.Unlock()
			o.Machine.HandleTimeout(o.time(now))
			if at.Equal(end) {
				return
			}
		}
	}
}

// owns reports whether an address is one of the machine's sockets.
func (o *observed) owns(a netip.AddrPort) bool {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.has(a)
}

func (o *observed) has(a netip.AddrPort) bool {
	for _, local := range o.bound {
		if local == a {
			return true
		}
	}
	return false
}

// expect gives a channel that is closed when the machine has got what comes; nil if
// nobody listens there.
func (o *observed) expect(from, to netip.AddrPort) <-chan struct{} {
	o.lock.Lock()
	defer o.lock.Unlock()
	if to.IsValid() && !o.has(to) {
		return nil
	}
	heard := make(chan struct{})
	o.waits[way{from, to}] = append(o.waits[way{from, to}], heard)
	return heard
}

// host is the socket of a host, opened where it is needed first.
func (o *observed) host(at netip.AddrPort) *net.UDPConn {
	o.lock.Lock()
	defer o.lock.Unlock()
	if c := o.hosts[at]; c != nil {
		return c
	}
	c, err := listenUDP(at)
	if err != nil {
		o.t.Errorf("open a socket for %v: %v", at, err)
		return nil
	}
	o.hosts[at] = c
	return c
}

// await has a host get a datagram that the machine does not send.
func (o *observed) await(at netip.AddrPort) {
	o.host(at)
	o.lock.Lock()
	defer o.lock.Unlock()
	o.datagrams[at]++
}

// due is what a host has still to get, and is taken for got.
func (o *observed) due(at netip.AddrPort) (datagrams, messages int) {
	o.lock.Lock()
	defer o.lock.Unlock()
	datagrams, messages = o.datagrams[at], o.messages[at]
	delete(o.datagrams, at)
	delete(o.messages, at)
	return datagrams, messages
}

func (o *observed) close() {
	for _, c := range o.hosts {
		_ = c.Close()
	}
}

// HandleBound implements sansio.Machine.
func (o *observed) HandleBound(now time.Time, s sansio.Socket, local netip.AddrPort, err error) {
	o.lock.Lock()
	if err == nil && !o.listens[s] {
		o.bound[s] = local
	}
	o.lock.Unlock()
	o.Machine.HandleBound(o.time(now), s, local, err)
}

// HandleDatagram implements sansio.Machine.
func (o *observed) HandleDatagram(now time.Time, d sansio.Datagram) {
	o.provoked = true
	o.Machine.HandleDatagram(o.time(now), d)
	o.lock.Lock()
	defer o.lock.Unlock()
	w := way{d.Remote, o.bound[d.Socket]}
	if d.Transport != sansio.UDP {
		w.to = netip.AddrPort{}
	}
	if waiting := o.waits[w]; len(waiting) > 0 {
		close(waiting[0])
		o.waits[w] = waiting[1:]
	}
}

// HandleInterfaces implements sansio.Machine.
func (o *observed) HandleInterfaces(now time.Time, addrs []netip.Addr) {
	o.Machine.HandleInterfaces(o.time(now), addrs)
}

// HandleTimeout implements sansio.Machine.
func (o *observed) HandleTimeout(now time.Time) {
	o.provoked = false
	o.Machine.HandleTimeout(o.time(now))
}

// PollTimeout implements sansio.Machine.
func (o *observed) PollTimeout() time.Time {
	at := o.Machine.PollTimeout()
	if at.IsZero() {
		return at
	}
	o.lock.Lock()
	defer o.lock.Unlock()
	return at.Add(-o.offset)
}

// PollBind implements sansio.Machine.
func (o *observed) PollBind() (sansio.Bind, bool) {
	b, ok := o.Machine.PollBind()
	o.lock.Lock()
	defer o.lock.Unlock()
	switch {
	case !ok:
	case b.Close && !b.Remote.IsValid():
		delete(o.bound, b.Socket)
		delete(o.listens, b.Socket)
	case !b.Close && b.Transport != sansio.UDP:
		o.listens[b.Socket] = true
	}
	return b, ok
}

// PollTransmit implements sansio.Machine.
func (o *observed) PollTransmit() (sansio.Datagram, bool) {
	d, ok := o.Machine.PollTransmit()
	if !ok {
		return d, false
	}
	if o.provoked {
		o.reacted += len(d.Payload)
		if len(o.answers) < mostAnswers {
			kept := d
			kept.Payload = append([]byte(nil), d.Payload...)
			o.answers = append(o.answers, kept)
		}
	}
	if !o.populated {
		return d, true
	}
	o.lock.Lock()
	own := o.has(d.Remote)
	switch {
	case own:
	case o.listens[d.Socket]:
		o.messages[d.Remote]++
	default:
		o.datagrams[d.Remote]++
	}
	udp := !own && !o.listens[d.Socket]
	o.lock.Unlock()
	if udp {
		o.host(d.Remote) // somebody is there to get it
	}
	return d, true
}
