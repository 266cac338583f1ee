package relay

import (
	"io"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// demands reads what the client wants into p, or gives the code to refuse it
// with. reserved is set when it claims a reservation.
func (s *Server) demands(now time.Time, r *request, p *pendingAllocate) (code pion.ErrorCode, reserved *token) {
	transport, present := r.attributes.Get(pion.AttrRequestedTransport)
	if !present || len(transport.Value) != 4 {
		return pion.CodeBadRequest, nil
	}
	if transport.Value[0] != protocolUDP {
		return pion.CodeUnsupportedTransProto, nil
	}
	asked, given, ok := lifetimeOf(r.attributes)
	if !ok {
		return pion.CodeBadRequest, nil
	}
	p.lifetime = grantedLifetime(asked, given)
	if code := s.wantsTicket(r, p); code != 0 {
		return code, nil
	}
	_, wantsEven := r.attributes.Get(pion.AttrEvenPort)
	_, wantsFamily := r.attributes.Get(pion.AttrRequestedAddressFamily)
	_, wantsBoth := additionalFamily(r.attributes)
	if claim, claims := r.attributes.Get(pion.AttrReservationToken); claims {
		if wantsEven || wantsFamily || wantsBoth || len(claim.Value) != len(token{}) {
			return pion.CodeBadRequest, nil
		}
		t := token(claim.Value)
		if held := s.reservations[t]; held == nil || held.account != r.account || !now.Before(held.expires) {
			return pion.CodeInsufficientCapacity, nil
		}
		return 0, &t
	}
	return s.wantsAddresses(r, p), nil
}

// wantsAddresses reads which families, and which port (RFC 8656 section 7.2, steps 6
// to 9). Both families are asked for by a request that names IPv6 as the additional
// one; then there is no REQUESTED-ADDRESS-FAMILY and no reservation.
func (s *Server) wantsAddresses(r *request, p *pendingAllocate) pion.ErrorCode {
	p.wanted = []family{four}
	named, wantsFamily := r.attributes.Get(pion.AttrRequestedAddressFamily)
	additional, wantsBoth := additionalFamily(r.attributes)
	even, wantsEven := r.attributes.Get(pion.AttrEvenPort)
	if wantsEven {
		if len(even.Value) != 1 {
			return pion.CodeBadRequest
		}
		p.want = evenPort
		if even.Value[0]&0x80 != 0 {
			p.want = evenPair
		}
	}
	switch {
	case wantsFamily && (wantsBoth || len(named.Value) != 4):
		return pion.CodeBadRequest
	case wantsFamily && named.Value[0] == familyIPv6:
		p.wanted[0] = six
	case wantsFamily && named.Value[0] != familyIPv4:
		return pion.CodeAddrFamilyNotSupported
	case wantsBoth && (len(additional.Value) != 4 || additional.Value[0] != familyIPv6 || p.want == evenPair):
		return pion.CodeBadRequest
	case wantsBoth:
		p.wanted = append(p.wanted, six)
		return 0 // one of them is enough
	}
	if s.families[p.wanted[0]] == nil {
		return pion.CodeAddrFamilyNotSupported
	}
	return 0
}

// reserve holds the sibling of a new allocation. Its name is random and its
// account the only one to claim it: who merely guesses that the next port is
// held has no way to it. Without randomness nothing is held, and the client
// that finds no token allocates its second port in the ordinary way.
func (s *Server) reserve(now time.Time, a *allocation, sibling sansio.Socket) []byte {
	var t token
	first := a.first()
	held := relayed{netip.AddrPortFrom(first.Addr(), first.Port()+1), sibling}
	if _, err := io.ReadFull(s.cfg.Rand, t[:]); err != nil || s.reservations[t] != nil {
		s.close(familyOf(first.Addr()), held)
		s.discount(a.account, a.source, 1)
		return nil
	}
	s.reservations[t] = &reservation{
		account: a.account,
		source:  a.source,
		relayed: held,
		expires: now.Add(ReservationLifetime),
	}
	s.expect(now.Add(ReservationLifetime))
	return slices.Clone(t[:])
}

// refresh handles Refresh (RFC 8656 section 8.2, RFC 8016 section 3.2).
func (s *Server) refresh(now time.Time, r *request) {
	if t, mobile := r.attributes.Get(stun.AttrMobilityTicket); mobile {
		if !s.move(now, r, t.Value) {
			return
		}
	}
	a, ok := s.owned(now, r)
	if !ok {
		return
	}
	asked, given, ok := lifetimeOf(r.attributes)
	named, wantsFamily := r.attributes.Get(pion.AttrRequestedAddressFamily)
	switch {
	case !ok || (wantsFamily && len(named.Value) != 4):
		s.refuse(now, r, pion.CodeBadRequest)
		return
	case wantsFamily && !a.has(named.Value[0]):
		s.refuse(now, r, pion.CodePeerAddrFamilyMismatch)
		return
	}
	var lifetime time.Duration
	switch {
	case !given || asked > 0:
		lifetime = grantedLifetime(asked, given)
		a.expires = now.Add(lifetime)
		s.expect(a.expires)
	case wantsFamily && a.size() > 1:
		s.deleteFamily(a, family(named.Value[0]-familyIPv4))
	default:
		s.delete(a)
	}
	answer := s.succeed(now, r, func(w *stun.Writer) {
		addLifetime(w, lifetime)
		if r.moved && lifetime > 0 {
			s.addTicket(w, a, r.shown)
			// Not asked of it by RFC 8016, and what the client wants to know next.
			w.XORAddress(pion.AttrXORMappedAddress, r.client)
		}
	})
	if r.moved {
		a.created, a.response = r.id, slices.Clone(answer)
	}
}

// has reports whether there is a relayed address of a family, by the attributes' number.
func (a *allocation) has(number byte) bool {
	return (number == familyIPv4 || number == familyIPv6) && a.relays[number-familyIPv4].addr.IsValid()
}

// deleteFamily gives up one relayed address of an allocation that has two, with what
// its peers were permitted.
func (s *Server) deleteFamily(a *allocation, f family) {
	for _, c := range a.byNumber {
		if f == familyOf(c.peer.Addr()) {
			s.unload(a, c)
			a.unbind(c)
		}
	}
	s.release(a, f)
	s.discount(a.account, a.source, 1)
	for h := range a.permissions {
		if f == familyOf(netipOf(h)) {
			delete(a.permissions, h)
		}
	}
}

func netipOf(h host) netip.Addr { return netip.AddrFrom16(h).Unmap() }

// owned is the allocation of a request's 5-tuple, if the user is the one who
// made it; otherwise the request is answered with 437 or 441. Time-limited
// usernames of one user (see Authenticator) are that user: who has got new ones
// before the old ones expired goes on with the allocation, where RFC 8656 section
// 5 would have it made anew.
func (s *Server) owned(now time.Time, r *request) (*allocation, bool) {
	a := s.allocationOf(now, r.via, r.client)
	switch {
	case a == nil:
		s.refuse(now, r, pion.CodeAllocMismatch)
	case a.account != r.account:
		s.refuse(now, r, pion.CodeWrongCredentials)
	default:
		a.username, a.by = r.username, r.by
		return a, true
	}
	return nil, false
}
