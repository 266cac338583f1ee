package relay

import (
	"bytes"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// maxBindAttempts is how many busy ports an Allocate may meet before it fails
// with 508: other programs may own some ports of the range, not all.
const maxBindAttempts = 16

// pendingAllocate is an Allocate that waits for its sockets.
type pendingAllocate struct {
	request  request // without attributes
	lifetime time.Duration
	mobile   bool // wants a ticket
	want     parity

	// wanted are the families still to be opened, the present one first; refused are
	// the codes of those that could not be had.
	wanted  []family
	relays  [families]relayed
	refused [families]pion.ErrorCode
	// Of the present family: its port and socket, and for evenPair the sibling's
	// socket, once the first one is open.
	port            uint16
	socket, sibling sansio.Socket
	open            bool // socket is open, sibling is being opened
	busy            []uint16
}

// allocate handles Allocate (RFC 8656 section 7.2). The request is
// authenticated already.
func (s *Server) allocate(now time.Time, r *request) {
	if a := s.allocationOf(now, r.via, r.client); a != nil {
		if a.created == r.id && a.username == r.username {
			s.Send(r.via, r.client, bytes.Clone(a.response))
			return
		}
		s.refuse(now, r, pion.CodeAllocMismatch)
		return
	}
	if s.pending[r.flow()] != nil {
		return // a retransmission; the answer comes with the socket
	}
	if s.drain != nil {
		s.turnAway(now, r)
		return
	}
	p := &pendingAllocate{request: *r}
	p.request.attributes = nil
	code, reserved := s.demands(now, r, p)
	if code == 0 && reserved == nil {
		code = s.charge(r.account, r.source, p.cost())
	}
	switch {
	case code != 0:
		s.refuseAllocation(now, r, code)
	case reserved != nil:
		s.claim(now, p, *reserved)
	default:
		s.pending[r.flow()] = p
		s.open(now, p)
	}
}

func (s *Server) refuseAllocation(now time.Time, r *request, code pion.ErrorCode) {
	s.stats.Refused++
	s.refuse(now, r, code)
	s.Emit(AllocationRefused{Client: r.client, Username: r.username, Code: int(code)})
}

// cost is how many addresses an Allocate takes: one of each family, and a sibling.
func (p *pendingAllocate) cost() int {
	if p.want == evenPair {
		return len(p.wanted) + 1
	}
	return len(p.wanted)
}

// grantedLifetime is the lifetime for what a client asked (RFC 8656 section
// 7.2): never below the default, never above the maximum.
func grantedLifetime(asked time.Duration, given bool) time.Duration {
	if !given {
		return DefaultLifetime
	}
	return min(max(asked, DefaultLifetime), MaxLifetime)
}

// open draws a port of the present family and asks for its socket. No port, or no
// randomness, both leave no capacity.
func (s *Server) open(now time.Time, p *pendingAllocate) {
	f := p.wanted[0]
	if s.families[f] == nil {
		s.missed(now, p, pion.CodeAddrFamilyNotSupported)
		return
	}
	port, ok, err := s.families[f].ports.draw(p.want)
	if !ok || err != nil {
		s.missed(now, p, pion.CodeInsufficientCapacity)
		return
	}
	p.port, p.open = port, false
	p.socket = s.openSocket(p, port)
}

func (s *Server) openSocket(p *pendingAllocate, port uint16) sansio.Socket {
	for s.nextSocket++; listens(s.nextSocket) || s.bySocket[s.nextSocket] != nil || s.opening[s.nextSocket] != nil; {
		s.nextSocket++ // after 2^32 allocations
	}
	s.opening[s.nextSocket] = p
	s.Open(sansio.Bind{Socket: s.nextSocket, Local: netip.AddrPortFrom(s.families[p.wanted[0]].addr, port), Errors: true})
	return s.nextSocket
}

// opened goes on with an Allocate whose socket is open, or is not.
func (s *Server) opened(now time.Time, p *pendingAllocate, sock sansio.Socket, err error) {
	switch {
	case err != nil:
		s.reopen(now, p)
	case p.want == evenPair && !p.open:
		p.open = true
		p.sibling = s.openSocket(p, p.port+1)
	default:
		f := p.wanted[0]
		p.relays[f] = relayed{netip.AddrPortFrom(s.families[f].addr, p.port), p.socket}
		s.next(now, p)
	}
}

// reopen tries other ports after one was busy.
func (s *Server) reopen(now time.Time, p *pendingAllocate) {
	// Busy ports stay taken while this family is tried, so that it does not draw
	// them again; free ones go back.
	ports := s.families[p.wanted[0]].ports
	failed := p.port
	if p.open {
		failed = p.port + 1
		s.Unbind(p.socket)
		ports.release(p.port)
	} else if p.want == evenPair {
		ports.release(p.port + 1)
	}
	if p.busy = append(p.busy, failed); len(p.busy) < maxBindAttempts {
		s.open(now, p)
		return
	}
	s.missed(now, p, pion.CodeInsufficientCapacity)
}

// missed gives the present family up.
func (s *Server) missed(now time.Time, p *pendingAllocate, code pion.ErrorCode) {
	f := p.wanted[0]
	p.refused[f] = code
	n := 1
	if p.want == evenPair {
		n = 2
	}
	s.discount(p.request.account, p.request.source, n)
	s.next(now, p)
}

// next goes on with the next family, or ends the waiting.
func (s *Server) next(now time.Time, p *pendingAllocate) {
	for _, port := range p.busy {
		s.families[p.wanted[0]].ports.release(port)
	}
	first := p.wanted[0]
	p.busy, p.wanted = nil, p.wanted[1:]
	if len(p.wanted) > 0 {
		s.open(now, p)
		return
	}
	delete(s.pending, p.request.flow())
	if !p.relays[four].addr.IsValid() && !p.relays[six].addr.IsValid() {
		s.refuseAllocation(now, &p.request, p.refused[first])
		s.drained()
		return
	}
	s.create(now, p)
}

// claim makes an allocation of a reserved port. The reservation's charge
// becomes the allocation's.
func (s *Server) claim(now time.Time, p *pendingAllocate, t token) {
	r := s.reservations[t]
	delete(s.reservations, t)
	p.relays[familyOf(r.addr.Addr())] = r.relayed
	s.discount(r.account, r.source, 1)
	s.charged++
	s.accounts[p.request.account]++
	s.sources[p.request.source]++
	s.create(now, p)
}

// create makes the allocation and answers the client.
func (s *Server) create(now time.Time, p *pendingAllocate) {
	r := &p.request
	a := &allocation{
		client:   r.client,
		via:      r.via,
		username: r.username,
		account:  r.account,
		source:   r.source,
		by:       r.by,
		relays:   p.relays,
		expires:  now.Add(p.lifetime),
		created:  r.id,
	}
	var held []byte
	if p.want == evenPair && p.sibling != 0 {
		held = s.reserve(now, a, p.sibling)
	}
	s.allocations[r.flow()] = a
	for f, of := range a.relays {
		if of.addr.IsValid() {
			s.families[f].byPort[of.addr.Port()] = a
			s.bySocket[of.socket] = a
		}
	}
	s.limit(a)
	s.expect(a.expires)
	s.stats.Created++
	a.response = bytes.Clone(s.succeed(now, r, func(w *stun.Writer) {
		for f, of := range a.relays {
			if of.addr.IsValid() {
				w.XORAddress(pion.AttrXORRelayedAddress, of.addr)
			} else if code := p.refused[f]; code != 0 {
				addAddressErrorCode(w, family(f), code)
			}
		}
		addLifetime(w, p.lifetime)
		if held != nil {
			w.Bytes(pion.AttrReservationToken, held)
		}
		w.XORAddress(pion.AttrXORMappedAddress, a.client)
		if p.mobile {
			s.addTicket(w, a, ticket{})
		}
		w.Text(pion.AttrSoftware, software)
	}))
	s.Emit(AllocationCreated{Client: a.client, Relayed: a.first(), Other: a.other(), Username: a.username, Lifetime: p.lifetime})
}
