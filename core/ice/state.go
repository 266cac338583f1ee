package ice

import (
	"time"

	"p2pmodel/core/punch"
)

// follow takes the path that the sessions have: the present one's, or, while that
// has none, the former one's.
func (m *Machine) follow() {
	if a := m.session.agent; a != nil {
		if p, ok := a.Path(); ok {
			m.session.connected, m.former = true, nil
			m.usePath(p)
			return
		}
	}
	if m.former != nil {
		if p, ok := m.former.agent.Path(); ok {
			m.usePath(p)
			return
		}
		m.former = nil
	}
	m.usePath(punch.Path{})
}

func (m *Machine) usePath(p punch.Path) {
	if p == m.path {
		return
	}
	old := m.path
	m.path = p
	m.Emit(PathChanged{Old: old, New: p})
}

// judge says how far the machine is.
func (m *Machine) judge(now time.Time) {
	if m.state == Closed {
		return
	}
	m.follow()
	s := m.session
	switch {
	case m.path.Kind != punch.NoPath && now.Before(m.answered().Add(DisconnectedAfter)):
		m.enter(Connected, nil)
	case m.path.Kind != punch.NoPath:
		m.enter(Disconnected, nil)
	case m.state == Failed:
	case s.remote.Ufrag == "":
		m.enter(New, nil)
	case s.connected:
		// RFC 7675 section 5.1: nothing may be sent any more but after a restart.
		m.fail(ErrConsent)
	case !now.Before(s.until(m.cfg.Patience)):
		m.fail(ErrNoPath)
	default:
		m.enter(Checking, nil)
	}
}

// fail ends the session: it answers nothing and sends nothing.
func (m *Machine) fail(why error) {
	m.controlling = m.Controlling()
	m.session.agent = nil
	m.enter(Failed, why)
}

func (m *Machine) enter(s State, why error) {
	if m.state == s {
		return
	}
	m.state, m.err = s, why
	m.Emit(StateChanged{State: s, Err: why})
}

// answered is when the path in use was last known to work.
func (m *Machine) answered() time.Time {
	for _, s := range m.sessions() {
		if s.agent != nil {
			if t := s.agent.Answered(); !t.IsZero() {
				return t
			}
		}
	}
	return time.Time{}
}

// verdictAt is when judge has something new to say.
func (m *Machine) verdictAt() time.Time {
	switch {
	case m.state == Connected:
		return m.answered().Add(DisconnectedAfter)
	case m.state == Checking && m.session.agent != nil:
		return m.session.until(m.cfg.Patience)
	}
	return time.Time{}
}
