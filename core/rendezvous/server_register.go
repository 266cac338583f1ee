package rendezvous

import (
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/budget"
	"p2pmodel/core/identity"
	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// registration is a peer that is known.
type registration struct {
	id       identity.ID
	key      stun.Integrity
	socket   sansio.Socket
	address  netip.AddrPort
	offer    []byte
	expires  time.Time
	sequence uint64 // of the newest request
	// began is the sequence of the REGISTER that made it, roomed that of the
	// newest JOIN or LEAVE: what is older is played back or late.
	began, roomed uint64
	rooms         []*room
	admission     admission
	// introductions are in flight to it, at most maxIntroductions.
	introductions []introduction
	// recent are the last CONNECTs, a ring: a retransmitted one is answered
	// again, but introduces nobody again.
	recent     []transactionID
	recentNext int
}

// handlePeer takes a request of a peer, once it has proved who and where it is.
func (s *Server) handlePeer(from origin, m *pion.Message) {
	peer, err := getID(m, stun.AttrPeerID)
	if err != nil {
		return // an answer would be longer than what asked for it
	}
	nonce, err := m.Get(pion.AttrNonce)
	if err != nil {
		s.challenge(from, m, stun.CodeUnauthorized)
		return
	}
	if !s.nonces.Valid(from.now, from.remote, nonce) {
		s.challenge(from, m, stun.CodeStaleNonce)
		return
	}
	// Only now does the source cost us a computation: it has received what we
	// sent to it.
	key, err := s.keyOf(peer)
	if err != nil || key.Check(m) != nil {
		s.challenge(from, m, stun.CodeUnauthorized)
		return
	}
	if unknown := stun.UnknownRequired(m, understood...); len(unknown) > 0 {
		s.refuse(from, m, key, stun.CodeUnknownAttribute, "Unknown Attribute", pion.UnknownAttributes(unknown))
		return
	}
	sequence, err := getSequence(m)
	if err != nil {
		s.refuse(from, m, key, stun.CodeBadRequest, "SEQUENCE is missing")
		return
	}
	if m.Type.Method == stun.MethodRegister {
		s.register(from, m, peer, key, sequence)
		return
	}
	r := s.peer(from.now, peer)
	if r == nil {
		s.refuse(from, m, key, stun.CodeMismatch, "Not Registered")
		return
	}
	if r.overtaken(m.Type.Method, sequence) {
		s.refuse(from, m, key, stun.CodeConflict, "Overtaken", sequenceAttribute(r.sequence))
		return
	}
	if sequence > r.sequence {
		// The newest authentic source is where the peer is.
		r.sequence = sequence
		s.moved(from, r)
	}
	switch m.Type.Method {
	case stun.MethodConnect:
		s.connect(from, m, r)
	case stun.MethodJoin:
		r.roomed = sequence
		s.join(from, m, r)
	case stun.MethodLeave:
		r.roomed = sequence
		s.leave(from, m, r)
	}
}

// understood are the attributes that a peer's request may have.
var understood = []pion.AttrType{stun.AttrPeerID, stun.AttrSequence, pion.AttrLifetime, stun.AttrOffer, stun.AttrTarget,
	stun.AttrSession, stun.AttrRoom, stun.AttrCursor, stun.AttrTicket, pion.AttrPadding}

// overtaken reports whether a request is older than what it would change: than
// the registration, than the last word about rooms, or than any CONNECT that is
// still being sent again. Its sender asks anew; whoever recorded it cannot.
func (r *registration) overtaken(method pion.Method, sequence uint64) bool {
	if method == stun.MethodConnect {
		return sequence < r.began || sequence+connectLife < r.sequence
	}
	return sequence < max(r.began, r.roomed)
}

// challenge asks for a nonce, and for a key that is shared with us. Whoever has
// not shown a nonce of ours may have forged its source: the answer is not longer
// than the request.
func (s *Server) challenge(from origin, m *pion.Message, code int) {
	const most = 24 + 4 + 32 + 4 + identity.Size + sealSize
	w := stun.Write(m.Type.Method, pion.ClassErrorResponse, m.TransactionID, most)
	if code == stun.CodeUnauthorized {
		w.ErrorCode(code, "Unauthorized")
	} else {
		w.ErrorCode(code, "Stale Nonce")
	}
	w.Text(pion.AttrNonce, s.nonces.Issue(from.now, from.remote))
	if code == stun.CodeUnauthorized {
		w.Bytes(stun.AttrServerKey, s.id[:])
	}
	if r := finish(w, nil); len(r) <= from.size && s.errors.Spend(from.now, from.remote.Addr()) {
		s.Send(from.socket, from.remote, r)
	}
}

// register takes a REGISTER: new, refresh, or the end (LIFETIME 0).
func (s *Server) register(from origin, m *pion.Message, peer identity.ID, key stun.Integrity, sequence uint64) {
	r := s.peer(from.now, peer)
	if r != nil && sequence < r.sequence {
		// A late copy, or a clock that went back: the peer itself can tell.
		s.refuse(from, m, key, stun.CodeConflict, "Older Than The Registration", sequenceAttribute(r.sequence))
		return
	}
	lifetime := s.cfg.Lifetime
	if v, err := stun.GetUint32(m, pion.AttrLifetime); err == nil {
		lifetime = min(lifetime, time.Duration(v)*time.Second)
	} else if m.Contains(pion.AttrLifetime) {
		s.refuse(from, m, key, stun.CodeBadRequest, "Bad LIFETIME")
		return
	}
	offer, err := getOffer(m)
	if err != nil {
		s.refuse(from, m, key, stun.CodeBadRequest, "OFFER Too Long")
		return
	}
	var admitted admission
	reason := ""
	if lifetime > 0 {
		admitted, reason = s.admit(from.now, m, peer, r)
	}
	switch {
	case lifetime == 0:
		if r != nil {
			s.remove(from.now, r, false)
		}
	case r == nil && offer == nil:
		s.refuse(from, m, key, stun.CodeMismatch, "Not Registered")
		return
	case reason != "":
		s.refuse(from, m, key, stun.CodeForbidden, reason)
		return
	case r == nil:
		if code := s.overFull(from.remote); code != 0 {
			s.refuse(from, m, key, code, "Too Many Registrations")
			return
		}
		r = &registration{id: peer, key: key, began: sequence}
		s.peers[peer] = r
		s.bySource[budget.Source(from.remote.Addr())]++
		s.scheduleSweep(from.now)
		r.socket, r.address = from.socket, from.remote
		s.Emit(PeerRegistered{ID: peer, Address: from.remote})
	default:
		s.moved(from, r)
	}
	if r != nil && lifetime > 0 {
		lifetime = admitted.limit(from.now, lifetime)
		s.entitle(from.now, r, admitted)
		r.sequence, r.expires = sequence, from.now.Add(lifetime)
		if offer != nil {
			r.offer = offer
		}
	}
	w := stun.Write(stun.MethodRegister, pion.ClassSuccessResponse, m.TransactionID, 24+8+12+sealSize)
	w.XORAddress(pion.AttrXORMappedAddress, from.remote)
	w.Uint32(pion.AttrLifetime, uint32((lifetime+time.Second-1)/time.Second))
	w.Uint64(stun.AttrSequence, s.number(from.now))
	s.Send(from.socket, from.remote, finish(w, key))
}

// overFull says why one registration more does not fit: an error code, or 0.
func (s *Server) overFull(source netip.AddrPort) int {
	switch {
	case len(s.peers) >= s.cfg.Limits.Registrations:
		return stun.CodeCapacity
	case s.bySource[budget.Source(source.Addr())] >= s.cfg.Limits.RegistrationsPerSource:
		return stun.CodeTooMany
	}
	return 0
}

// moved takes the source of a new request for the peer's address.
func (s *Server) moved(from origin, r *registration) {
	if r.address == from.remote && r.socket == from.socket {
		return
	}
	old, now := budget.Source(r.address.Addr()), budget.Source(from.remote.Addr())
	if old != now {
		s.uncount(old)
		s.bySource[now]++
	}
	moved := r.address != from.remote
	r.socket, r.address = from.socket, from.remote
	if moved {
		s.Emit(PeerRegistered{ID: r.id, Address: r.address})
	}
}

func (s *Server) uncount(source netip.Addr) {
	if s.bySource[source]--; s.bySource[source] <= 0 {
		delete(s.bySource, source)
	}
}

// peer gives a registration that has not expired.
func (s *Server) peer(now time.Time, id identity.ID) *registration {
	r := s.peers[id]
	if r == nil {
		return nil
	}
	if !now.Before(r.expires) {
		s.remove(now, r, true)
		return nil
	}
	return r
}

// expire removes what has expired.
func (s *Server) expire(now time.Time) {
	s.removeAll(now, func(r *registration) bool { return !now.Before(r.expires) })
}

// removeAll removes registrations, in an order that a rerun repeats.
func (s *Server) removeAll(now time.Time, over func(*registration) bool) {
	var gone []*registration
	for _, r := range s.peers {
		if over(r) {
			gone = append(gone, r)
		}
	}
	slices.SortFunc(gone, func(a, b *registration) int { return a.id.Compare(b.id) })
	for _, r := range gone {
		s.remove(now, r, true)
	}
}

func (s *Server) remove(now time.Time, r *registration, expired bool) {
	told := len(r.introductions)+len(r.rooms) > 0
	for len(r.rooms) > 0 {
		s.depart(now, r, r.rooms[0])
	}
	if told {
		s.notices.CancelIf(func(n notice) bool { return n.to == r.id })
	}
	delete(s.peers, r.id)
	s.uncount(budget.Source(r.address.Addr()))
	s.Emit(PeerGone{ID: r.id, Expired: expired})
}

// keyOf is the key shared with a peer, from its registration or a small cache.
func (s *Server) keyOf(peer identity.ID) (stun.Integrity, error) {
	if r := s.peers[peer]; r != nil {
		return r.key, nil
	}
	if key, ok := s.keys[peer]; ok {
		return key, nil
	}
	key, err := sharedKey(s.cfg.Key, peer, peer, s.id)
	if err != nil {
		return nil, err
	}
	if len(s.keys) >= serverKeyCacheSize {
		clear(s.keys)
	}
	s.keys[peer] = key
	return key, nil
}
