package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/core/relay"
	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

const (
	// streamPatience is how long UDP has before streams are tried: more than its
	// round trip to most servers, less than a person notices.
	streamPatience = 400 * time.Millisecond
	// streamStagger is between two streams that are tried (RFC 8305 section 5).
	streamStagger = 300 * time.Millisecond
	// Another round of streams follows after streamBackoff, which doubles up to
	// streamBackoffMax.
	streamBackoff    = time.Second
	streamBackoffMax = 30 * time.Second
	// UDP is asked each udpFirst until a stream stands, then after udpAgain, which
	// doubles up to udpAgainMax.
	udpFirst    = 150 * time.Millisecond
	udpAgain    = 5 * time.Second
	udpAgainMax = 2 * time.Minute
	// firstStream is the first number of a stream's socket.
	firstStream sansio.Socket = 1 << 24
	// maxBlocked is how many networks are remembered.
	maxBlocked = 16
)

// streamSchedule is of requests over a stream, which repeats what is lost itself
// (RFC 8489 section 6.2.2): sent once, and given up after 8 s.
var streamSchedule = stun.Schedule{RTO: 8 * time.Second, MaxRequests: 1, FinalWait: 1}

// line is how a server is reached that has streams. It is known by its UDP address.
type line struct {
	server  netip.AddrPort
	streams Streams

	// udp: it answers over UDP, or did when it was asked last.
	udp   bool
	asked []question
	next  time.Time     // when to ask over UDP again
	again time.Duration // between two questions while a stream is in use

	// trying are streams that do not stand yet, conn the one that is in use.
	trying  []*conn
	conn    *conn
	tried   int       // alternatives of this round
	dial    time.Time // when to try the next one
	rounds  int       // that came to nothing
	refused []error   // why, in this round
}

// conn is a stream to a server.
type conn struct {
	line      *line
	socket    sansio.Socket
	transport sansio.Transport
	remote    netip.AddrPort
}

// setLines takes the servers that there are now.
func (m *Machine) setLines(now time.Time) {
	before := m.lines
	m.lines = nil
	add := func(server netip.AddrPort, s Streams) {
		if len(s.alternatives()) == 0 || m.lineOf(server) != nil {
			return
		}
		i := slices.IndexFunc(before, func(l *line) bool { return l.server == server && l.streams == s })
		if i >= 0 {
			m.lines = append(m.lines, before[i])
			return
		}
		l := &line{server: server, streams: s}
		m.lines = append(m.lines, l)
		m.openLine(now, l)
	}
	add(m.servers.Rendezvous, m.servers.RendezvousStreams)
	for _, r := range m.servers.Relays {
		add(r.Server, r.Streams)
	}
	for _, l := range before {
		if !slices.Contains(m.lines, l) {
			m.cancelDials(l)
			l.conn = nil
		}
	}
	m.hangUpIdle()
}

// lineOf is the line to a server; nil: there is only UDP to it.
func (m *Machine) lineOf(server netip.AddrPort) *line {
	for _, l := range m.lines {
		if l.server == server {
			return l
		}
	}
	return nil
}

// via is the stream that leads to a server; nil: UDP does.
func (m *Machine) via(server netip.AddrPort) *conn {
	if l := m.lineOf(server); l != nil {
		return l.conn
	}
	return nil
}

// openLine begins with a line: UDP now, streams a little later; but at once in a
// network that is known to let no UDP out.
func (m *Machine) openLine(now time.Time, l *line) {
	*l = line{server: l.server, streams: l.streams, next: now, again: udpAgain, dial: now.Add(streamPatience)}
	if slices.Contains(m.blocked, m.network()) {
		l.dial = now
	}
}

// startLines begins with all lines, when there is a socket or another network.
func (m *Machine) startLines(now time.Time) {
	for _, l := range m.lines {
		m.cancelDials(l)
		l.conn = nil
	}
	for _, a := range m.relays {
		if a.via != nil {
			m.reallocate(now, a, nil)
		}
	}
	m.hangUpIdle()
	for _, l := range m.lines {
		m.openLine(now, l)
	}
	m.timeoutLines(now)
}

// doubtUDP has the streams of a server tried again, because it has stopped to answer
// over UDP.
func (m *Machine) doubtUDP(now time.Time, server netip.AddrPort) {
	l := m.lineOf(server)
	if l == nil || l.conn != nil || !l.udp {
		return
	}
	again := min(2*l.again, udpAgainMax)
	m.openLine(now, l)
	l.again = again // it comes and goes: do not follow it each time
	m.timeoutLines(now)
}

// timeoutLines does what is due about lines.
func (m *Machine) timeoutLines(now time.Time) {
	if !m.bound {
		return
	}
	for _, l := range m.lines {
		if due(now, l.next) {
			m.askUDP(now, l)
		}
		if due(now, l.dial) {
			m.dialNext(now, l)
		}
	}
	m.hangUpIdle()
}

// wakeLines is when timeoutLines has something to do.
func (m *Machine) wakeLines() (t time.Time) {
	for _, l := range m.lines {
		t = earlier(earlier(t, l.next), l.dial)
	}
	return t
}

// askUDP asks a server over UDP whether it answers there: any does, a Binding
// request of anybody.
func (m *Machine) askUDP(now time.Time, l *line) {
	q := question{sent: now}
	m.draw(q.id[:])
	if len(l.asked) == maxQuestions {
		l.asked = slices.Delete(l.asked, 0, 1)
	}
	l.asked = append(l.asked, q)
	m.Outbox.Send(0, l.server, stun.Binding(q.id, stun.PaysForMapped))
	if l.conn == nil && l.rounds == 0 {
		l.next = now.Add(udpFirst)
		return
	}
	l.next = now.Add(l.again)
	l.again = min(2*l.again, udpAgainMax)
}

// answersUDP takes the answer to such a question: from now on, UDP it is.
func (m *Machine) answersUDP(now time.Time, from netip.AddrPort, payload []byte) bool {
	l := m.lineOf(from)
	if l == nil || len(l.asked) == 0 || !stun.Is(payload) || len(payload) < 20 {
		return false
	}
	if !slices.ContainsFunc(l.asked, func(q question) bool { return string(q.id[:]) == string(payload[8:20]) }) {
		return false
	}
	l.asked, l.next, l.dial = nil, time.Time{}, time.Time{}
	l.udp, l.rounds = true, 0
	m.cancelDials(l)
	m.blocked = slices.DeleteFunc(m.blocked, func(n string) bool { return n == m.network() })
	if l.conn == nil {
		return true
	}
	old := l.conn
	l.conn = nil
	m.Emit(ServerReached{Server: l.server, Transport: sansio.UDP, At: l.server})
	if l.server == m.servers.Rendezvous {
		m.rendezvous.Rebind(now)
	}
	// The allocation over the stream carries on until the one over UDP is there.
	for _, a := range slices.Clone(m.relays) {
		if a.via == old && !a.leaving {
			a.leaving = true
			m.arrange()
			m.allocate(now, a.cfg)
		}
	}
	m.hangUpIdle()
	return true
}

// dialNext tries the next stream to a server beside those that are being tried.
func (m *Machine) dialNext(now time.Time, l *line) {
	list := l.streams.alternatives()
	if l.tried >= len(list) {
		l.tried, l.refused = 0, nil
	}
	way := list[l.tried]
	l.tried++
	m.lastStream = max(m.lastStream, firstStream-1) + 1
	c := &conn{line: l, socket: m.lastStream, transport: way.transport, remote: way.addr}
	l.trying = append(l.trying, c)
	m.streams = append(m.streams, c)
	m.Outbox.Connect(c.socket, way.transport, way.addr, way.name)
	l.dial = time.Time{}
	if l.tried < len(list) {
		l.dial = now.Add(streamStagger)
	}
}

func (m *Machine) cancelDials(l *line) { l.trying = nil }

// streamBound takes the answer to dialNext; false if it is to something else.
func (m *Machine) streamBound(now time.Time, s sansio.Socket, err error) bool {
	c := m.stream(s)
	if c == nil {
		return s >= firstStream
	}
	l := c.line
	wanted := slices.Contains(l.trying, c)
	l.trying = slices.DeleteFunc(l.trying, func(o *conn) bool { return o == c })
	switch {
	case err != nil:
		m.streams = slices.DeleteFunc(m.streams, func(o *conn) bool { return o == c })
		if wanted {
			m.dialFailed(now, l, err)
		}
	case wanted && !l.udp && l.conn == nil:
		m.use(now, c)
	}
	m.hangUpIdle()
	return true
}

// dialFailed goes on with the next alternative at once, and after the last one with
// the first one, later.
func (m *Machine) dialFailed(now time.Time, l *line, err error) {
	l.refused = append(l.refused, err)
	switch {
	case l.tried < len(l.streams.alternatives()):
		l.dial = now
		m.dialNext(now, l)
	case len(l.trying) == 0:
		m.Emit(Failed{Err: m.tellTried(l)})
		l.dial = now.Add(min(streamBackoff<<min(l.rounds, 10), streamBackoffMax))
		l.rounds++
	}
}

// tellTried says how a server was tried, and what came of each.
func (m *Machine) tellTried(l *line) error {
	tried := []string{fmt.Sprintf("UDP to %s: no answer", l.server)}
	for _, err := range l.refused {
		tried = append(tried, err.Error())
	}
	return fmt.Errorf("%w: %s", ErrNoServer, strings.Join(tried, "; "))
}

// use goes on by a stream.
func (m *Machine) use(now time.Time, c *conn) {
	l := c.line
	l.conn, l.rounds, l.dial, l.trying, l.refused = c, 0, time.Time{}, nil, nil
	l.next = now.Add(l.again)
	if n := m.network(); !slices.Contains(m.blocked, n) {
		if len(m.blocked) == maxBlocked {
			m.blocked = slices.Delete(m.blocked, 0, 1)
		}
		m.blocked = append(m.blocked, n)
	}
	m.Emit(ServerReached{Server: l.server, Transport: c.transport, At: c.remote})
	if l.server == m.servers.Rendezvous {
		m.rendezvous.Rebind(now)
	}
	for _, a := range slices.Clone(m.relays) {
		if a.cfg.Server == l.server && !a.leaving {
			m.reallocate(now, a, c)
			a.relay.Start(now)
		}
	}
	for _, g := range m.gauges {
		if g.cfg.Server == l.server {
			*g = gauge{cfg: g.cfg, next: now}
		}
	}
	m.ask(now)
}

// reallocate has an allocation made anew by another way; Start begins with it.
func (m *Machine) reallocate(now time.Time, a *allocation, via *conn) {
	a.via, a.retry, a.failures = via, time.Time{}, 0
	if a.relayed.IsValid() {
		a.relayed = netip.AddrPort{}
		m.updateOffer(now)
	}
	a.relay = m.relayClient(a.cfg, via)
	for _, s := range m.sessions {
		for _, p := range s.permitted {
			a.relay.Permit(now, p)
		}
	}
}

// relayClient makes the client of an allocation.
func (m *Machine) relayClient(cfg RelayConfig, via *conn) *relay.Client {
	c := relay.ClientConfig{
		Server: cfg.Server, Username: cfg.Username, Password: cfg.Password, Rand: m.cfg.Rand, Keepalive: m.cfg.Keepalive,
	}
	if via != nil {
		c.Schedule = streamSchedule
	}
	return relay.NewClient(c)
}

// toServer sends to a server, by a stream if one is in use.
func (m *Machine) toServer(to netip.AddrPort, payload []byte) {
	if c := m.via(to); c != nil {
		m.Outbox.Send(c.socket, c.remote, payload)
		return
	}
	m.Outbox.Send(0, to, payload)
}

func (m *Machine) stream(s sansio.Socket) *conn {
	for _, c := range m.streams {
		if c.socket == s {
			return c
		}
	}
	return nil
}

// fromStream takes what came by a stream, which can only be its server's; false if
// it came by none.
func (m *Machine) fromStream(now time.Time, d sansio.Datagram) bool {
	if d.Socket < firstStream {
		return false
	}
	c := m.stream(d.Socket)
	if c == nil {
		return true
	}
	server := c.line.server
	if c == c.line.conn && (server == m.servers.Rendezvous && m.rendezvous.HandleDatagram(now, server, d.Payload) ||
		m.answered(now, server, d.Payload)) {
		return true
	}
	for _, a := range m.relays {
		if a.via == c && a.relay.HandleDatagram(now, server, d.Payload) {
			return true
		}
	}
	m.stats.Strange++
	return true
}

// HandleAccepted implements sansio.StreamMachine: nobody connects to us.
func (m *Machine) HandleAccepted(time.Time, sansio.Socket, netip.AddrPort) {}

// HandleClosed implements sansio.StreamMachine. Another stream is tried at once; UDP
// is, too.
func (m *Machine) HandleClosed(now time.Time, s sansio.Socket, _ netip.AddrPort, err error) {
	c := m.stream(s)
	if c == nil {
		return
	}
	m.streams = slices.DeleteFunc(m.streams, func(o *conn) bool { return o == c })
	l := c.line
	if l.conn == c {
		l.conn, l.next, l.tried, l.dial = nil, now, 0, now
		if l.rounds++; l.rounds > 1 {
			l.dial = now.Add(min(streamBackoff<<min(l.rounds, 10), streamBackoffMax))
		}
	}
	for _, a := range slices.Clone(m.relays) {
		switch {
		case a.via != c:
		case a.leaving:
			m.forgo(now, a)
		default:
			m.Emit(RelayFailed{Err: fmt.Errorf("relay %s over %s: %w", c.remote, c.transport, err)})
			m.reallocate(now, a, nil)
			a.relay.Start(now)
		}
	}
	m.timeoutLines(now)
	m.pump(now)
}

// hangUpIdle closes the streams that nothing uses.
func (m *Machine) hangUpIdle() {
	m.streams = slices.DeleteFunc(m.streams, func(c *conn) bool {
		used := c.line.conn == c || slices.Contains(c.line.trying, c) ||
			slices.ContainsFunc(m.relays, func(a *allocation) bool { return a.via == c })
		if !used {
			m.Unbind(c.socket)
		}
		return !used
	})
}

// seen is our address as the rendezvous sees it, if it is one of our UDP socket.
func (m *Machine) seen(reflexive netip.AddrPort) netip.AddrPort {
	if m.via(m.servers.Rendezvous) != nil {
		return netip.AddrPort{} // of a stream: nobody reaches us there
	}
	return reflexive
}

// network names the network that we are in, by our addresses there.
func (m *Machine) network() string { return fmt.Sprint(m.addrs) }
