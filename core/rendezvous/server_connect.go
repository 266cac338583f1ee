package rendezvous

import (
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/stun"
)

// notice is a request of ours that is in flight to a peer.
type notice struct {
	to identity.ID
	// INTRODUCE
	initiator identity.ID
	session   SessionID
	// MEMBER
	room   string
	member identity.ID
}

// introduction is a notice as its target keeps it: to look for it there costs
// nothing that grows with the number of all peers.
type introduction struct {
	notice    transactionID
	initiator identity.ID
	session   SessionID
}

// connect introduces two peers: the initiator gets the target's address and
// offer as the answer, the target gets the initiator's as a request of ours.
func (s *Server) connect(from origin, m *pion.Message, r *registration) {
	targetID, err := getID(m, stun.AttrTarget)
	if err != nil || targetID == r.id {
		s.refuse(from, m, r.key, stun.CodeBadRequest, "Bad TARGET")
		return
	}
	session, err := getSession(m)
	if err != nil {
		s.refuse(from, m, r.key, stun.CodeBadRequest, "Bad SESSION")
		return
	}
	offer, err := getOffer(m)
	if err != nil || offer == nil {
		s.refuse(from, m, r.key, stun.CodeBadRequest, "Bad OFFER")
		return
	}
	target := s.peer(from.now, targetID)
	if target == nil || !s.sameMesh(r, target) {
		s.refuse(from, m, r.key, stun.CodeNotFound, "Unknown Peer")
		return
	}
	if !slices.Contains(r.recent, m.TransactionID) {
		// An introduction of the same session that is still under way is
		// overtaken by this one.
		if i, found := target.introduction(r.id, session); found {
			s.notices.Cancel(target.introductions[i].notice)
			target.introductions = slices.Delete(target.introductions, i, i+1)
		}
		if len(target.introductions) >= maxIntroductions {
			s.refuse(from, m, r.key, stun.CodeTooMany, "Too Many Introductions")
			return
		}
		r.remember(m.TransactionID)
		id := s.notify(from.now, target, stun.MethodIntroduce, notice{to: targetID, initiator: r.id, session: session},
			idAttribute(stun.AttrPeerID, r.id), stun.Attribute{Type: stun.AttrSession, Value: session[:]},
			stun.XORAddress{Type: pion.AttrXORPeerAddress, Address: reachableAt(from.socket, from.remote)},
			stun.Attribute{Type: stun.AttrOffer, Value: offer}, sequenceAttribute(s.number(from.now)))
		target.introductions = append(target.introductions, introduction{id, r.id, session})
		s.Emit(PeersIntroduced{Initiator: r.id, Target: targetID, Session: session})
	}
	s.reply(from, seal(stun.MethodConnect, pion.ClassSuccessResponse, m.TransactionID, r.key,
		idAttribute(stun.AttrTarget, targetID), stun.Attribute{Type: stun.AttrSession, Value: session[:]},
		stun.XORAddress{Type: pion.AttrXORPeerAddress, Address: target.reachable()},
		stun.Attribute{Type: stun.AttrOffer, Value: target.offer}))
}

func (r *registration) remember(id transactionID) {
	if len(r.recent) < maxRecent {
		r.recent = append(r.recent, id)
		return
	}
	r.recent[r.recentNext] = id
	r.recentNext = (r.recentNext + 1) % maxRecent
}

// number is the next one of what we tell peers unasked.
func (s *Server) number(now time.Time) uint64 {
	s.sequence = max(s.sequence+1, uint64(now.UnixMicro()))
	return s.sequence
}

// introduction finds the one of a session that is in flight to r.
func (r *registration) introduction(initiator identity.ID, session SessionID) (int, bool) {
	i := slices.IndexFunc(r.introductions, func(i introduction) bool { return i.initiator == initiator && i.session == session })
	return i, i >= 0
}

// notify sends a request to a peer, until it answers or the schedule ends.
func (s *Server) notify(now time.Time, to *registration, method pion.Method, about notice, attributes ...pion.Setter) transactionID {
	m := seal(method, pion.ClassRequest, drawID(s.cfg.Rand), to.key, attributes...)
	t := s.notices.Start(now, m.Raw, notifySchedule, about)
	s.Send(to.socket, to.address, t.Request)
	return t.ID
}

// handleAnswer takes a peer's answer to a request of ours.
func (s *Server) handleAnswer(m *pion.Message) {
	_, n, ok := s.notices.Find(m.TransactionID)
	if !ok {
		return
	}
	if r := s.peers[n.to]; r == nil || r.key.Check(m) != nil {
		return
	}
	s.notices.Take(m.TransactionID)
	s.noticeOver(n)
}

// noticeOver notes that a notice is no longer in flight.
func (s *Server) noticeOver(n notice) {
	r := s.peers[n.to]
	if r == nil || n.room != "" {
		return
	}
	if i, found := r.introduction(n.initiator, n.session); found {
		r.introductions = slices.Delete(r.introductions, i, i+1)
	}
}
