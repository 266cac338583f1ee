package ice

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
)

// session is one generation of credentials and candidates: a restart begins
// another one.
type session struct {
	ufrag, password string
	remote          Description // no credentials: not known yet
	remotes         []punch.Candidate
	// agent answers the other side's checks from the beginning, and makes some once
	// remote is known; nil after a failure.
	agent     *punch.Agent
	began     time.Time // when remote was known
	connected bool      // it has had a path
}

// newSession draws credentials.
func (m *Machine) newSession() *session {
	return &session{ufrag: m.credential(ufragBytes), password: m.credential(passwordBytes)}
}

// sessions are those that datagrams may be for: the present one first.
func (m *Machine) sessions() []*session {
	if m.former != nil {
		return []*session{m.session, m.former}
	}
	return []*session{m.session}
}

// SetRemote tells what the other side has said of itself: its credentials, and the
// candidates that it has so far. Credentials other than before are an ICE restart of
// the other side's, in which we join (Restarted follows), or its answer to ours. A
// description that was told before only adds its candidates. The error is ErrSyntax
// or ErrClosed.
func (m *Machine) SetRemote(now time.Time, d Description) error {
	if m.state == Closed {
		return ErrClosed
	}
	if err := d.check(); err != nil {
		return err
	}
	switch told := m.session.remote; {
	case m.former != nil && m.former.remote.same(d):
		return nil // came late
	case told.Ufrag != "" && !told.same(d):
		m.restart(now)
	case m.state == Failed && told.Ufrag != "":
		return m.err
	}
	s := m.session
	if s.remote.Ufrag == "" {
		if err := m.begin(now, s, d); err != nil {
			return err
		}
	}
	for _, c := range d.Candidates {
		m.learn(s, c)
	}
	m.tellRemotes(now, s)
	if d.Complete {
		m.EndOfCandidates(now)
	}
	m.pump(now)
	return nil
}

// same reports whether two descriptions are of one generation.
func (d Description) same(o Description) bool { return d.Ufrag == o.Ufrag && d.Password == o.Password }

// begin begins the checks of a session.
func (m *Machine) begin(now time.Time, s *session, d Description) error {
	if d.Lite && !m.Controlling() { // RFC 8445 section 6.1.1
		m.controlling, s.agent = true, nil
	}
	if s.agent == nil {
		m.open(now, s)
	}
	s.agent.SetRenomination(m.cfg.Renomination && d.Has(OptionRenomination))
	err := s.agent.SetCredentials(now, punch.Credentials{
		LocalUfrag: s.ufrag, LocalPwd: s.password, RemoteUfrag: d.Ufrag, RemotePwd: d.Password,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	s.remote, s.began = Description{Ufrag: d.Ufrag, Password: d.Password}, now
	if m.path.Kind == punch.NoPath {
		m.enter(Checking, nil)
	}
	return nil
}

// open makes the agent of a session, which knows our side only.
func (m *Machine) open(now time.Time, s *session) {
	agent, err := punch.New(now, punch.Config{
		Controlling: m.controlling, TieBreaker: m.tieBreaker(), Rand: m.cfg.Rand, Timing: m.cfg.Timing, RelayOnly: m.cfg.RelayOnly,
		LocalUfrag: s.ufrag, LocalPwd: s.password,
	})
	if err != nil {
		panic(fmt.Sprintf("ice: credentials of our own: %v", err))
	}
	s.agent = agent
	for _, l := range m.links {
		if !m.cfg.RelayOnly {
			agent.SetLocal(now, l.base, l.candidates)
		}
	}
	for _, a := range m.allocations {
		if addr, ok := a.client.Relayed(); ok {
			agent.SetLocal(now, a.base, []punch.Candidate{{Kind: punch.Relayed, Addr: addr, Priority: m.priorityOf(addr)}})
		}
	}
}

// priorityOf is what we have said of a candidate; 0: nothing.
func (m *Machine) priorityOf(addr netip.AddrPort) uint32 {
	for _, c := range m.locals {
		if c.Addr == addr {
			return c.Priority
		}
	}
	return 0
}

// AddRemote tells of a candidate that the other side has found since (RFC 8838). One
// of another generation than its credentials is left out. The error is ErrNoRemote
// while those are not known, ErrUnsupported, or ErrClosed.
func (m *Machine) AddRemote(now time.Time, c Candidate) error {
	s := m.session
	switch {
	case m.state == Closed:
		return ErrClosed
	case m.state == Failed:
		return m.err
	case s.remote.Ufrag == "":
		return ErrNoRemote
	case c.Component != onlyComponent || !usable(c.Addr) || c.Addr.Addr().Zone() != "":
		return fmt.Errorf("%s: %w", c, ErrUnsupported)
	}
	m.learn(s, c)
	m.tellRemotes(now, s)
	m.pump(now)
	return nil
}

// EndOfCandidates says that the other side has no more candidates.
func (m *Machine) EndOfCandidates(now time.Time) {
	s := m.session
	if s.remote.Complete || s.agent == nil || s.remote.Ufrag == "" {
		return
	}
	s.remote.Complete = true
	s.agent.EndOfCandidates(now)
	m.pump(now)
}

// learn notes a candidate of the other side's.
func (m *Machine) learn(s *session, c Candidate) {
	c.Addr = unmap(c.Addr)
	known := slices.ContainsFunc(s.remotes, func(o punch.Candidate) bool { return o.Addr == c.Addr })
	if known || len(s.remotes) >= MaxCandidates || c.Component != onlyComponent || !usable(c.Addr) || c.Ufrag != "" && c.Ufrag != s.remote.Ufrag {
		return
	}
	s.remotes = append(s.remotes, punch.Candidate{Kind: c.Kind, Addr: c.Addr, Priority: c.Priority})
}

func (m *Machine) tellRemotes(now time.Time, s *session) {
	for _, a := range m.allocations {
		m.permitAll(now, a)
	}
	s.agent.SetRemote(now, s.remotes)
}

// permitAll asks a relay to let the other side in.
func (m *Machine) permitAll(now time.Time, a *allocation) {
	for _, c := range m.session.remotes {
		a.permit(now, c.Addr)
	}
}

// setLocal tells the agents of a base's candidates; none: the base is gone.
func (m *Machine) setLocal(now time.Time, base punch.Base, candidates []punch.Candidate) {
	for _, s := range m.sessions() {
		if s.agent != nil {
			s.agent.SetLocal(now, base, candidates)
		}
	}
}

// Restart begins an ICE restart (RFC 8445 section 9): new credentials, which the
// other side has to learn (Local), and candidates gathered anew. The path in use
// goes on until one of the new session works.
func (m *Machine) Restart(now time.Time) error {
	if m.state == Closed {
		return ErrClosed
	}
	m.restart(now)
	m.pump(now)
	return nil
}

func (m *Machine) restart(now time.Time) {
	m.controlling = m.Controlling()
	if a := m.session.agent; a != nil {
		if _, ok := a.Path(); ok {
			m.former = m.session
		}
	}
	m.session = m.newSession()
	m.open(now, m.session)
	if m.follow(); m.path.Kind == punch.NoPath {
		m.enter(New, nil)
	}
	m.locals, m.gathered = nil, false
	m.Emit(Restarted{Local: m.Local()})
	m.beginGathering(now)
}

// pumpSession takes what an agent wants done.
func (m *Machine) pumpSession(now time.Time, s *session) (busy bool) {
	if s.agent == nil {
		return false
	}
	for t, ok := s.agent.PollTransmit(); ok; t, ok = s.agent.PollTransmit() {
		busy = true
		m.transmit(now, t)
	}
	for e, ok := s.agent.PollEvent(); ok; e, ok = s.agent.PollEvent() {
		busy = true
		settled, ok := e.(punch.Settled)
		switch {
		case !ok || s != m.session:
		case settled.Path.Kind != punch.NoPath:
			m.follow() // the path first, then that it stays
			m.Emit(Settled{Path: settled.Path})
		case now.Before(s.until(m.cfg.Patience)):
			// Too early for a verdict (RFC 8863): the other side's checks may be
			// about to begin, or its candidates to come.
			s.agent.Restart(now)
		}
	}
	return busy
}

// until is when there is a verdict on a session without a path. Who still expects
// candidates waits longer (RFC 8838 section 8), but not for ever.
func (s *session) until(patience time.Duration) time.Time {
	if !s.remote.Complete {
		patience *= 2
	}
	return s.began.Add(patience)
}
