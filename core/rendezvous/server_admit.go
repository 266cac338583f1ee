package rendezvous

import (
	"bytes"
	"errors"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/stun"
	"p2pmodel/core/ticket"
)

// admission is what a registration rests on where tickets are wanted; zero: on
// nothing, as anybody may register.
type admission struct {
	// raw is the ticket as it came. That it was found good is what its bytes are
	// compared with before another one costs a signature's check.
	raw   []byte
	mesh  string
	until time.Time
}

// limit shortens a lifetime to that of the ticket.
func (a admission) limit(now time.Time, lifetime time.Duration) time.Duration {
	if a.until.IsZero() {
		return lifetime
	}
	return min(lifetime, a.until.Sub(now))
}

// admit says by what a REGISTER, which is authentic already, is admitted, or with
// which reason it is refused. A refresh may leave out the ticket that it rests on.
func (s *Server) admit(now time.Time, m *pion.Message, peer identity.ID, r *registration) (a admission, reason string) {
	if s.cfg.Admission == nil {
		return admission{}, ""
	}
	raw, err := m.Get(stun.AttrTicket)
	switch {
	case err != nil && r != nil:
		return r.admission, ""
	case err != nil:
		return admission{}, "Ticket Required"
	case r != nil && bytes.Equal(raw, r.admission.raw):
		return r.admission, ""
	}
	t, err := s.cfg.Admission.VerifyFor(raw, peer, now)
	switch {
	case err == nil:
		return admission{raw: bytes.Clone(raw), mesh: t.Mesh, until: t.Expires}, ""
	case errors.Is(err, ticket.ErrExpired):
		return admission{}, "Ticket Expired"
	case errors.Is(err, ticket.ErrPeer):
		return admission{}, "Ticket Of Another Peer"
	case errors.Is(err, ticket.ErrSignature):
		return admission{}, "Ticket Of An Unknown Key"
	}
	return admission{}, "Ticket Malformed"
}

// entitle has a registration rest on an admission. One for another mesh ends what
// was allowed by the last: rooms, and introductions that are under way.
func (s *Server) entitle(now time.Time, r *registration, a admission) {
	moved := a.mesh != r.admission.mesh && a.mesh != ""
	r.admission = a
	if !moved {
		return
	}
	for _, k := range slices.Clone(r.rooms) {
		if k.name != a.mesh {
			s.depart(now, r, k)
		}
	}
	if len(r.introductions) > 0 {
		s.notices.CancelIf(func(n notice) bool { return n.to == r.id && n.room == "" })
		r.introductions = nil
	}
}

// mayEnter reports whether a peer may be in a room.
func (s *Server) mayEnter(r *registration, room string) bool {
	return s.cfg.Admission == nil || r.admission.mesh == room
}

// sameMesh reports whether two peers may be introduced to each other.
func (s *Server) sameMesh(a, b *registration) bool {
	return s.cfg.Admission == nil || a.admission.mesh == b.admission.mesh
}

// SetAdmission changes the keys of ServerConfig.Admission, at once: registrations
// that rest on no ticket, or on one by a key that is gone, end, and their peers
// register anew by the tickets that they have. Nil: anybody may register.
func (s *Server) SetAdmission(now time.Time, v *ticket.Verifier) {
	s.cfg.Admission = v
	if v != nil {
		s.removeAll(now, func(r *registration) bool { return r.admission.raw == nil || !v.Trusts(r.admission.raw) })
	}
}
