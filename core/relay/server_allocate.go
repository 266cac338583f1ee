package relay

import (
	"bytes"
	"io"
	"net/netip"
	"slices"
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
	want     parity
	port     uint16
	socket   sansio.Socket
	// For evenPair: the sibling's socket, once the first one is open.
	sibling sansio.Socket
	open    bool // socket is open, sibling is being opened
	busy    []uint16
}

// allocate handles Allocate (RFC 8656 section 7.2). The request is
// authenticated already.
func (s *Server) allocate(now time.Time, r *request) {
	if a := s.allocationOf(now, r.client); a != nil {
		if a.created == r.id && a.username == r.username {
			s.Send(listenSocket, r.client, bytes.Clone(a.response))
			return
		}
		s.refuse(now, r, pion.CodeAllocMismatch)
		return
	}
	if s.pending[endpointOf(r.client)] != nil {
		return // a retransmission; the answer comes with the socket
	}
	p := &pendingAllocate{request: *r}
	p.request.attributes = nil
	code, reserved := s.demands(now, r, p)
	switch {
	case code != 0:
	case reserved != nil:
		s.claim(now, p, *reserved)
		return
	case !s.charge(r.account, p.want):
		code = pion.CodeAllocQuotaReached
	case s.open(p):
		s.pending[endpointOf(r.client)] = p
		return
	default:
		s.uncharge(r.account, p.want)
		code = pion.CodeInsufficientCapacity
	}
	s.refuseAllocation(now, r, code)
}

func (s *Server) refuseAllocation(now time.Time, r *request, code pion.ErrorCode) {
	s.stats.Refused++
	s.refuse(now, r, code)
	s.Emit(AllocationRefused{Client: r.client, Username: r.username, Code: int(code)})
}

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

	even, wantsEven := r.attributes.Get(pion.AttrEvenPort)
	family, wantsFamily := r.attributes.Get(pion.AttrRequestedAddressFamily)
	if claim, claims := r.attributes.Get(pion.AttrReservationToken); claims {
		if wantsEven || wantsFamily || len(claim.Value) != len(token{}) {
			return pion.CodeBadRequest, nil
		}
		t := token(claim.Value)
		if held := s.reservations[t]; held == nil || held.account != r.account || !now.Before(held.expires) {
			return pion.CodeInsufficientCapacity, nil
		}
		return 0, &t
	}
	if wantsFamily {
		if len(family.Value) != 4 {
			return pion.CodeBadRequest, nil
		}
		if family.Value[0] != familyIPv4 {
			return pion.CodeAddrFamilyNotSupported, nil
		}
	}
	if wantsEven {
		if len(even.Value) != 1 {
			return pion.CodeBadRequest, nil
		}
		p.want = evenPort
		if even.Value[0]&0x80 != 0 {
			p.want = evenPair
		}
	}
	return 0, nil
}

// grantedLifetime is the lifetime for what a client asked (RFC 8656 section
// 7.2): never below the default, never above the maximum.
func grantedLifetime(asked time.Duration, given bool) time.Duration {
	if !given {
		return DefaultLifetime
	}
	return min(max(asked, DefaultLifetime), MaxLifetime)
}

// charge counts an allocation, and its reservation, against the account's quota.
func (s *Server) charge(account string, want parity) bool {
	n := cost(want)
	if s.accounts[account]+n > s.cfg.MaxAllocationsPerUser {
		return false
	}
	s.accounts[account] += n
	return true
}

func (s *Server) uncharge(account string, want parity) {
	for range cost(want) {
		s.discount(account)
	}
}

func cost(want parity) int {
	if want == evenPair {
		return 2
	}
	return 1
}

// open draws a port and asks for its socket; false when no port is left or the
// random source has failed, which both leave no capacity.
func (s *Server) open(p *pendingAllocate) bool {
	port, ok, err := s.ports.draw(p.want)
	if !ok || err != nil {
		return false
	}
	p.port, p.open = port, false
	p.socket = s.openSocket(p, port)
	return true
}

func (s *Server) openSocket(p *pendingAllocate, port uint16) sansio.Socket {
	for s.nextSocket++; s.nextSocket == listenSocket || s.bySocket[s.nextSocket] != nil; {
		s.nextSocket++ // after 2^32 allocations
	}
	s.opening[s.nextSocket] = p
	s.Bind(s.nextSocket, netip.AddrPortFrom(s.cfg.RelayAddress, port))
	return s.nextSocket
}

// opened goes on with an Allocate whose socket is open, or is not.
func (s *Server) opened(now time.Time, p *pendingAllocate, sock sansio.Socket, err error) {
	switch {
	case err != nil:
		s.reopen(now, p, sock)
	case p.want == evenPair && !p.open:
		p.open = true
		p.sibling = s.openSocket(p, p.port+1)
	default:
		s.settle(p)
		s.create(now, p)
	}
}

// reopen tries other ports after one was busy.
func (s *Server) reopen(now time.Time, p *pendingAllocate, busy sansio.Socket) {
	// Busy ports stay taken while this request lasts, so that it does not draw
	// them again; free ones go back.
	failed := p.port
	if p.open {
		failed = p.port + 1
		s.Unbind(p.socket)
		s.ports.release(p.port)
	} else if p.want == evenPair {
		s.ports.release(p.port + 1)
	}
	p.busy = append(p.busy, failed)
	if len(p.busy) < maxBindAttempts && s.open(p) {
		return
	}
	s.settle(p)
	s.uncharge(p.request.account, p.want)
	s.refuseAllocation(now, &p.request, pion.CodeInsufficientCapacity)
}

// settle ends the waiting.
func (s *Server) settle(p *pendingAllocate) {
	delete(s.pending, endpointOf(p.request.client))
	for _, port := range p.busy {
		s.ports.release(port)
	}
	p.busy = nil
}

// claim makes an allocation of a reserved port. The reservation's charge
// becomes the allocation's.
func (s *Server) claim(now time.Time, p *pendingAllocate, t token) {
	r := s.reservations[t]
	delete(s.reservations, t)
	p.port, p.socket = r.relayed.Port(), r.socket
	s.create(now, p)
}

// create makes the allocation and answers the client.
func (s *Server) create(now time.Time, p *pendingAllocate) {
	r := &p.request
	a := &allocation{
		client:   r.client,
		username: r.username,
		account:  r.account,
		by:       r.by,
		relayed:  netip.AddrPortFrom(s.cfg.RelayAddress, p.port),
		socket:   p.socket,
		expires:  now.Add(p.lifetime),
		created:  r.id,
	}
	var held []byte
	if p.want == evenPair {
		held = s.reserve(now, a, p.sibling)
	}
	s.allocations[endpointOf(a.client)] = a
	s.byPort[p.port] = a
	s.bySocket[a.socket] = a
	s.expect(a.expires)
	s.stats.Created++
	a.response = bytes.Clone(s.succeed(now, r, func(w *stun.Writer) {
		w.XORAddress(pion.AttrXORRelayedAddress, a.relayed)
		addLifetime(w, p.lifetime)
		if held != nil {
			w.Bytes(pion.AttrReservationToken, held)
		}
		w.XORAddress(pion.AttrXORMappedAddress, a.client)
	}))
	s.Emit(AllocationCreated{Client: a.client, Relayed: a.relayed, Username: a.username, Lifetime: p.lifetime})
}

// reserve holds the sibling of a new allocation. Its name is random and its
// account the only one to claim it: who merely guesses that the next port is
// held has no way to it. Without randomness nothing is held, and the client
// that finds no token allocates its second port in the ordinary way.
func (s *Server) reserve(now time.Time, a *allocation, sibling sansio.Socket) []byte {
	var t token
	relayed := netip.AddrPortFrom(a.relayed.Addr(), a.relayed.Port()+1)
	if _, err := io.ReadFull(s.cfg.Rand, t[:]); err != nil || s.reservations[t] != nil {
		s.Unbind(sibling)
		s.ports.release(relayed.Port())
		s.discount(a.account)
		return nil
	}
	s.reservations[t] = &reservation{
		account: a.account,
		relayed: relayed,
		socket:  sibling,
		expires: now.Add(ReservationLifetime),
	}
	s.expect(now.Add(ReservationLifetime))
	return slices.Clone(t[:])
}

// refresh handles Refresh (RFC 8656 section 8.2).
func (s *Server) refresh(now time.Time, r *request) {
	a, ok := s.owned(now, r)
	if !ok {
		return
	}
	asked, given, ok := lifetimeOf(r.attributes)
	family, wantsFamily := r.attributes.Get(pion.AttrRequestedAddressFamily)
	switch {
	case !ok || (wantsFamily && len(family.Value) != 4):
		s.refuse(now, r, pion.CodeBadRequest)
		return
	case wantsFamily && family.Value[0] != familyIPv4:
		s.refuse(now, r, pion.CodePeerAddrFamilyMismatch)
		return
	}
	var lifetime time.Duration
	if given && asked == 0 {
		s.delete(a)
	} else {
		lifetime = grantedLifetime(asked, given)
		a.expires = now.Add(lifetime)
		s.expect(a.expires)
	}
	s.succeed(now, r, func(w *stun.Writer) { addLifetime(w, lifetime) })
}

// owned is the allocation of a request's 5-tuple, if the user is the one who
// made it; otherwise the request is answered with 437 or 441. Time-limited
// usernames of one user (see Authenticator) are that user: who has got new ones
// before the old ones expired goes on with the allocation, where RFC 8656 section
// 5 would have it made anew.
func (s *Server) owned(now time.Time, r *request) (*allocation, bool) {
	a := s.allocationOf(now, r.client)
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
