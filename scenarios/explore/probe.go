package explore

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
)

const (
	// stormCalls is how often a machine may be called for its timeout without time
	// passing. What is due at one time takes a call, and as much again for what that
	// brings about.
	stormCalls = 100
	// sampleEvery is how often a machine is asked what it keeps.
	sampleEvery = 250 * time.Millisecond
)

// probes look at the machines of one run.
type probes struct {
	mu  sync.Mutex
	all []*probe
}

// wrap is runner.Runner.Wrap.
func (ps *probes) wrap(name string, m sansio.Machine) sansio.Machine {
	p := &probe{name: name, machine: m, sessions: map[identity.ID][]peer.SessionID{}, sent: map[int64]int{}}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.all = append(ps.all, p)
	return p
}

// probe stands between a machine and what runs it. It notes what the machine does,
// and keeps a panic from ending everything: a machine that has panicked is dead.
type probe struct {
	name    string
	machine sansio.Machine

	dead     bool
	findings []Finding

	now    time.Time // of the last call
	idle   int       // calls of HandleTimeout since time passed
	asked  time.Time // when it was asked last what it keeps
	held   peer.Held
	server rendezvous.Held
	relay  relay.Stats
	// sent are datagrams by second of the clock.
	sent map[int64]int
	// sessions are those that it told of, by peer; ended says why one did.
	sessions map[identity.ID][]peer.SessionID
	ended    []string
}

// Call implements runner.Caller.
func (p *probe) Call(now time.Time, f func()) { p.guard(now, f) }

// guard calls the machine.
func (p *probe) guard(now time.Time, f func()) {
	if p.dead {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			p.dead = true
			p.findings = append(p.findings, Finding{Panicked, fmt.Sprintf("%s: panic: %v\n%s", p.name, r, stack())})
		}
	}()
	if now.After(p.now) {
		p.now, p.idle = now, 0
	}
	f()
	if !now.IsZero() && now.Sub(p.asked) >= sampleEvery {
		p.asked = now
		p.sample()
	}
}

// stack is the stack of a panic, without the frames of the guard.
func stack() string {
	lines := strings.Split(string(debug.Stack()), "\n")
	if at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "panic(") }); at >= 0 {
		lines = lines[at:]
	}
	return strings.Join(lines[:min(len(lines), 24)], "\n")
}

// sample notes the most of what the machine keeps.
func (p *probe) sample() {
	switch m := p.machine.(type) {
	case interface{ Held() peer.Held }:
		h := m.Held()
		p.held = peer.Held{
			Sessions: max(p.held.Sessions, h.Sessions), Pairs: max(p.held.Pairs, h.Pairs),
			MostPairs: max(p.held.MostPairs, h.MostPairs), Checks: max(p.held.Checks, h.Checks),
			Permissions: max(p.held.Permissions, h.Permissions), Requests: max(p.held.Requests, h.Requests),
			Rooms: max(p.held.Rooms, h.Rooms), Expected: max(p.held.Expected, h.Expected),
			Buried: max(p.held.Buried, h.Buried), Early: max(p.held.Early, h.Early),
		}
	case interface{ Held() rendezvous.Held }:
		h := m.Held()
		p.server = rendezvous.Held{
			Registrations: max(p.server.Registrations, h.Registrations), Rooms: max(p.server.Rooms, h.Rooms),
			Notices: max(p.server.Notices, h.Notices), Keys: max(p.server.Keys, h.Keys),
		}
	case interface{ Stats() relay.Stats }:
		s := m.Stats()
		p.relay.Allocations = max(p.relay.Allocations, s.Allocations)
		p.relay.Permissions = max(p.relay.Permissions, s.Permissions)
		p.relay.Channels = max(p.relay.Channels, s.Channels)
	}
}

// HandleBound implements sansio.Machine.
func (p *probe) HandleBound(now time.Time, s sansio.Socket, local netip.AddrPort, err error) {
	p.guard(now, func() { p.machine.HandleBound(now, s, local, err) })
}

// HandleDatagram implements sansio.Machine.
func (p *probe) HandleDatagram(now time.Time, d sansio.Datagram) {
	p.guard(now, func() { p.machine.HandleDatagram(now, d) })
}

// HandleInterfaces implements sansio.Machine.
func (p *probe) HandleInterfaces(now time.Time, addrs []netip.Addr) {
	p.guard(now, func() { p.machine.HandleInterfaces(now, addrs) })
}

// HandleTimeout implements sansio.Machine.
func (p *probe) HandleTimeout(now time.Time) {
	p.guard(now, func() {
		if p.idle++; p.idle > stormCalls {
			// Nothing else would happen any more, on a fabric where calls take no time.
			p.dead = true
			p.findings = append(p.findings, Finding{Storm, fmt.Sprintf("%s wants to be called at %v again and again: %d calls without time passing",
				p.name, p.machine.PollTimeout().Sub(now), p.idle)})
			return
		}
		p.machine.HandleTimeout(now)
	})
}

// PollBind implements sansio.Machine.
func (p *probe) PollBind() (b sansio.Bind, ok bool) {
	p.guard(time.Time{}, func() { b, ok = p.machine.PollBind() })
	return b, ok
}

// PollTransmit implements sansio.Machine.
func (p *probe) PollTransmit() (d sansio.Datagram, ok bool) {
	p.guard(time.Time{}, func() { d, ok = p.machine.PollTransmit() })
	if ok {
		p.sent[p.now.Unix()]++
	}
	return d, ok
}

// PollEvent implements sansio.Machine.
func (p *probe) PollEvent() (e sansio.Event, ok bool) {
	p.guard(time.Time{}, func() { e, ok = p.machine.PollEvent() })
	switch e := e.(type) {
	case peer.Introduced:
		if ids := p.sessions[e.Peer]; !slices.Contains(ids, e.Session) {
			p.sessions[e.Peer] = append(ids, e.Session)
		}
	case peer.Closed:
		why := "it closed it"
		if e.Err != nil {
			why = e.Err.Error()
		}
		p.ended = append(p.ended, why)
	}
	return e, ok
}

// PollTimeout implements sansio.Machine.
func (p *probe) PollTimeout() (at time.Time) {
	p.guard(time.Time{}, func() { at = p.machine.PollTimeout() })
	return at
}
