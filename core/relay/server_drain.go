package relay

import (
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// drain is a server's last time.
type drain struct {
	deadline   time.Time
	alternates [families]netip.AddrPort
	told       bool
}

// Drain has the server take no new allocations: clients that ask are told another
// server of the family that they came by (300, ALTERNATE-SERVER), or else that there
// is no room (508). Allocations go on, with all that belongs to them, until their
// clients give them up or the deadline; Drained follows when none is left. A second
// call changes deadline and alternates.
func (s *Server) Drain(now, deadline time.Time, alternates ...netip.AddrPort) {
	s.drain = &drain{deadline: deadline, told: s.drain != nil && s.drain.told}
	for _, a := range alternates {
		s.drain.alternates[familyOf(a.Addr().Unmap())] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	s.expect(deadline)
	s.drained()
}

// Draining reports whether Drain was called.
func (s *Server) Draining() bool { return s.drain != nil }

// drained tells that nothing is left, once.
func (s *Server) drained() {
	if s.drain == nil || s.drain.told || len(s.allocations)+len(s.pending) > 0 {
		return
	}
	s.drain.told = true
	s.Emit(Drained{})
}

// turnAway refuses a new allocation while the server drains.
func (s *Server) turnAway(now time.Time, r *request) {
	s.stats.TurnedAway++
	alternate := s.drain.alternates[familyOf(r.client.Addr().Unmap())]
	if !alternate.IsValid() {
		s.refuseAllocation(now, r, pion.CodeInsufficientCapacity)
		return
	}
	s.stats.Refused++
	s.respond(now, r, pion.ClassErrorResponse, func(w *stun.Writer) {
		w.ErrorCode(stun.CodeTryAlternate, reasons[stun.CodeTryAlternate])
		w.Address(pion.AttrAlternateServer, alternate)
	})
	s.Emit(AllocationRefused{Client: r.client, Username: r.username, Code: stun.CodeTryAlternate})
}
