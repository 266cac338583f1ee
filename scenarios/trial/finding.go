package trial

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/sansio"
	"p2pmodel/nat/oracle"
	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
)

// PathFinding is the search for a path alone: two punch agents behind their NATs,
// without keys, rendezvous and relay. Each side learns its address from an echo, and
// gets the other's candidates from outside, both at the same time. It is safe for
// concurrent use.
type PathFinding struct {
	shape *shape
	lab   virtual.Setting
	limit time.Duration
}

// Found is what came of a search. There is no payload: the path is that of which both
// agents say that it answers.
type Found struct {
	// Path is direct or none.
	Path oracle.Path
	// Settled is how long after the introduction both had ended their checks; -1:
	// they had not within the limit.
	Settled time.Duration
	// Checks were sent by both sides, repeated ones included.
	Checks uint64
}

// NewPathFinding makes ready a search between two players. The error is ErrSetting.
func NewPathFinding(a, b Player) (*PathFinding, error) {
	t, err := New(Setting{Players: []Player{a, b}})
	if err != nil {
		return nil, err
	}
	return &PathFinding{shape: t.shape, lab: t.lab, limit: t.setting.Limit}, nil
}

// search is one run; its memory is used again.
type search struct {
	net     *virtual.Network
	sources [streamPlayers + 2]source
	echo    echo
	finders [2]finder
}

var searches = sync.Pool{New: func() any { return new(search) }}

// Run searches. Equal seeds give equal results.
func (f *PathFinding) Run(seed uint64) (Found, error) {
	s := searches.Get().(*search)
	defer searches.Put(s)
	found, err := s.run(f, seed)
	if s.net != nil {
		err = errors.Join(err, s.net.Close())
	}
	if err != nil {
		return Found{}, fmt.Errorf("path finding with seed %d: %w", seed, err)
	}
	return found, nil
}

func (s *search) run(f *PathFinding, seed uint64) (found Found, err error) {
	for i := range s.sources {
		s.sources[i].seed(seed, i)
	}
	setting := f.lab
	setting.Seed, setting.Reuse = s.sources[streamLab].pcg.Uint64(), s.net
	if s.net, err = f.shape.blueprint.Build(setting); err != nil {
		return found, err
	}
	server := netip.AddrPortFrom(s.net.HostAt(atRendezvous).Address(), serverPort)
	s.echo = echo{}
	s.echo.Bind(0, server)
	if _, err := s.net.HostAt(atRendezvous).Run(context.Background(), &s.echo, nil); err != nil {
		return found, err
	}
	var running [2]sim.RunningMachine
	for i := range s.finders {
		m := &s.finders[i]
		*m = finder{number: i, server: server, random: &s.sources[streamPlayers+i]}
		m.Bind(0, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
		if running[i], err = s.net.HostAt(firstPlayer+i).Run(context.Background(), m, nil); err != nil {
			return found, err
		}
	}
	a, b := &s.finders[0], &s.finders[1]
	if err := over(s.net.Play(f.limit, func() bool { return a.reflexive.IsValid() && b.reflexive.IsValid() })); err != nil {
		return found, err
	}
	introduced := s.net.Now()
	for i := range s.finders {
		running[i].Do(func(now time.Time) { err = errors.Join(err, s.finders[i].introduce(now, &s.finders[1-i])) })
	}
	if err != nil {
		return found, err
	}
	found = Found{Path: oracle.PathNone, Settled: -1}
	err = s.net.Play(f.limit, func() bool { return a.agent.IsSettled() && b.agent.IsSettled() })
	if err == nil {
		found.Settled = s.net.Now().Sub(introduced)
	}
	_, one := a.agent.Path()
	_, other := b.agent.Path()
	if one && other {
		found.Path = oracle.PathDirect
	}
	found.Checks = a.agent.Stats().ChecksSent + b.agent.Stats().ChecksSent
	return found, over(err)
}

// echo tells whoever asks how it is seen.
type echo struct{ sansio.Outbox }

// HandleDatagram implements sansio.Machine, as what follows does.
func (e *echo) HandleDatagram(_ time.Time, d sansio.Datagram) {
	seen, _ := d.Remote.MarshalBinary() // never fails
	e.Send(d.Socket, d.Remote, seen)
}
func (*echo) HandleBound(time.Time, sansio.Socket, netip.AddrPort, error) {}
func (*echo) HandleInterfaces(time.Time, []netip.Addr)                    {}
func (*echo) HandleTimeout(time.Time)                                     {}
func (*echo) PollTimeout() time.Time                                      { return time.Time{} }

// finder is an agent with a socket.
type finder struct {
	sansio.Outbox
	number    int
	server    netip.AddrPort
	random    *source
	agent     *punch.Agent // nil before the introduction
	addrs     []netip.Addr
	port      uint16
	reflexive netip.AddrPort
	retry     time.Time // of the question to the server
	asked     time.Time
	rtt       time.Duration // to the server
}

// askAgain is how often the server is asked until it answers.
const askAgain = 250 * time.Millisecond

// candidates are those of the socket.
func (m *finder) candidates() []punch.Candidate {
	list := make([]punch.Candidate, 0, 2)
	for i, a := range m.addrs {
		list = append(list, punch.Candidate{Kind: punch.Host, Addr: netip.AddrPortFrom(a, m.port), Priority: punch.Priority(punch.Host, i)})
	}
	if !slices.ContainsFunc(list, func(c punch.Candidate) bool { return c.Addr == m.reflexive }) && m.reflexive.IsValid() {
		list = append(list, punch.Candidate{Kind: punch.ServerReflexive, Addr: m.reflexive, Priority: punch.Priority(punch.ServerReflexive, 0)})
	}
	return list
}

// The credentials of both sides: no secret protects anything here.
var (
	ufrags = [2]string{"finder-a", "finder-b"}
	pwds   = [2]string{"password-of-finder-a-0000000", "password-of-finder-b-0000000"}
)

// introduce makes the agent and gives it the other's candidates.
func (m *finder) introduce(now time.Time, other *finder) (err error) {
	own := m.number
	m.agent, err = punch.New(now, punch.Config{
		Controlling: own == 0, TieBreaker: m.random.pcg.Uint64(), Rand: m.random,
		LocalUfrag: ufrags[own], LocalPwd: pwds[own], RemoteUfrag: ufrags[1-own], RemotePwd: pwds[1-own],
		// As peers do it: the sum of both ways to the server bounds that between them.
		Timing: punch.Timing{RTT: m.rtt + other.rtt}, Extended: true,
	})
	if err != nil {
		return err
	}
	m.retry = time.Time{}
	m.agent.SetLocal(now, 0, m.candidates())
	m.agent.SetRemote(now, other.candidates())
	m.pump()
	return nil
}

// pump passes on what the agent wants to send.
func (m *finder) pump() {
	for t, ok := m.agent.PollTransmit(); ok; t, ok = m.agent.PollTransmit() {
		m.Send(0, t.Remote, t.Payload)
	}
	for _, ok := m.agent.PollEvent(); ok; _, ok = m.agent.PollEvent() {
		// What there is to know, the agent is asked for.
	}
}

func (m *finder) ask(now time.Time) {
	m.asked, m.retry = now, now.Add(askAgain)
	m.Send(0, m.server, []byte("?"))
}

// HandleInterfaces implements sansio.Machine, as what follows does.
func (m *finder) HandleInterfaces(_ time.Time, addrs []netip.Addr) { m.addrs = addrs }

func (m *finder) HandleBound(now time.Time, _ sansio.Socket, local netip.AddrPort, err error) {
	if err == nil {
		m.port = local.Port()
		m.ask(now)
	}
}

func (m *finder) HandleDatagram(now time.Time, d sansio.Datagram) {
	switch {
	case m.agent != nil:
		m.agent.HandleDatagram(now, 0, d.Remote, d.Payload)
		m.pump()
	case d.Remote == m.server && m.reflexive.UnmarshalBinary(d.Payload) == nil:
		m.retry, m.rtt = time.Time{}, now.Sub(m.asked)
	}
}

func (m *finder) HandleTimeout(now time.Time) {
	switch {
	case m.agent != nil:
		m.agent.HandleTimeout(now)
		m.pump()
	case !m.retry.IsZero() && !now.Before(m.retry):
		m.ask(now)
	}
}

func (m *finder) PollTimeout() time.Time {
	if m.agent != nil {
		return m.agent.PollTimeout()
	}
	return m.retry
}
