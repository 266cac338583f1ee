package relay

import (
	"bytes"
	"encoding/base64"
	"io"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// ticket names an allocation to whoever owns it, wherever they are (RFC 8016). It is
// random, says nothing to others, and is good for the user of the allocation only. Its
// 128 bits are written as text: coturn's client (4.6.1, measured) keeps a ticket as a
// string, and one in sixteen of sixteen random bytes has a zero in it.
type ticket [22]byte

// newTicket makes one; ok is false without randomness.
func (s *Server) newTicket() (t ticket, ok bool) {
	var raw [16]byte
	if _, err := io.ReadFull(s.cfg.Rand, raw[:]); err != nil {
		return t, false
	}
	base64.RawURLEncoding.Encode(t[:], raw[:])
	return t, true
}

// wantsTicket reads whether an Allocate asks for a ticket, which an empty
// MOBILITY-TICKET does (RFC 8016 section 3.1).
func (s *Server) wantsTicket(r *request, p *pendingAllocate) pion.ErrorCode {
	t, mobile := r.attributes.Get(stun.AttrMobilityTicket)
	switch {
	case !mobile:
		return 0
	case s.cfg.NoMobility:
		return stun.CodeMobilityForbidden
	case len(t.Value) != 0:
		return pion.CodeBadRequest
	}
	p.mobile = true
	return 0
}

// addTicket gives the allocation another ticket and writes it. The one that the client
// has shown stays good until this one is used, since the answer may get lost. Without
// randomness there is none, and the client allocates anew when it moves.
func (s *Server) addTicket(w *stun.Writer, a *allocation, shown ticket) {
	t, ok := s.newTicket()
	if !ok || s.byTicket[t] != nil {
		return
	}
	for _, old := range a.tickets {
		if old != shown {
			delete(s.byTicket, old)
		}
	}
	a.tickets = [2]ticket{t, shown}
	s.byTicket[t] = a
	w.Bytes(stun.AttrMobilityTicket, t[:])
}

func (s *Server) forgetTickets(a *allocation) {
	for _, t := range a.tickets {
		delete(s.byTicket, t)
	}
	a.tickets = [2]ticket{}
}

// ticketed is the live allocation of a ticket, or nil.
func (s *Server) ticketed(now time.Time, value []byte) *allocation {
	if len(value) != len(ticket{}) {
		return nil
	}
	a := s.byTicket[ticket(value)]
	if a != nil && !now.Before(a.expires) {
		s.expire(a)
		return nil
	}
	return a
}

// move gives the allocation that a Refresh has the ticket of the request's 5-tuple
// (RFC 8016 section 3.2). False: the request has been answered.
func (s *Server) move(now time.Time, r *request, value []byte) bool {
	switch {
	case s.cfg.NoMobility:
		s.refuse(now, r, stun.CodeMobilityForbidden)
		return false
	case len(value) != len(ticket{}):
		s.refuse(now, r, pion.CodeBadRequest)
		return false
	}
	here := s.allocationOf(now, r.via, r.client)
	if here != nil && here.created == r.id && here.account == r.account {
		s.Send(r.via, r.client, bytes.Clone(here.response)) // a retransmission
		return false
	}
	a := s.ticketed(now, value)
	switch source := r.source; {
	case a == nil || here != nil && here != a:
		s.refuse(now, r, pion.CodeAllocMismatch)
		return false
	case a.account != r.account:
		s.refuse(now, r, pion.CodeWrongCredentials)
		return false
	case source != a.source && s.cfg.MaxAllocationsPerAddress > 0 && s.sources[source]+a.size() > s.cfg.MaxAllocationsPerAddress:
		s.refuse(now, r, pion.CodeAllocQuotaReached)
		return false
	}
	r.shown, r.moved = ticket(value), true
	if here == a {
		return true
	}
	from := a.client
	s.unloadAll(a)
	delete(s.allocations, flowOf(a.via, a.client))
	a.via, a.client = r.via, r.client
	s.allocations[r.flow()] = a
	s.recount(a, r.source)
	s.offloadAll(now, a)
	s.stats.Moved++
	s.Emit(AllocationMoved{From: from, Client: a.client, Relayed: a.first(), Username: r.username})
	return true
}
