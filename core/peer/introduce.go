package peer

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/rendezvous"
)

// challenge is a session that a peer began although there is one already.
type challenge struct {
	event rendezvous.Introduced
	// until is when it wins, unless the present session has answered.
	until time.Time
	since time.Time
}

const (
	// challengeTime is how long the present session has to answer, at least.
	challengeTime = time.Second
	// renewAfter is how many introductions may bring no path before the session
	// is replaced.
	renewAfter = 2
	// reintroducePause keeps introductions of one session apart.
	reintroducePause = 250 * time.Millisecond
)

// introduce asks the rendezvous to tell the peer of us, and us of the peer.
func (m *Machine) introduce(now time.Time, s *session) {
	if s.challenger != nil {
		return // the peer may have forgotten it; that is found out first
	}
	s.introducedAt = now
	m.stats.Introductions++
	m.rendezvous.Connect(now, s.peer, s.id)
}

// rebindAll begins the checks of all sessions anew after a change of our own
// network, here and, by way of a new introduction, at the peers.
func (m *Machine) rebindAll(now time.Time) {
	for _, s := range m.sessions {
		s.attempts, s.upgrades, s.retryAt = 0, 0, time.Time{}
		m.stats.Restarts++
		m.hardAgain(now, s, true)
		s.agent.Rebind(now)
		m.introduce(now, s)
	}
}

func (m *Machine) restart(now time.Time, s *session) {
	m.stats.Restarts++
	m.hardAgain(now, s, false)
	s.agent.Restart(now)
	m.introduce(now, s)
}

// retrySoon restarts a session that lost its path: at once, but not more often
// than every retryFirst.
func (m *Machine) retrySoon(now time.Time, s *session) {
	at := s.introducedAt.Add(retryFirst)
	if at.Before(now) {
		at = now
	}
	s.retryAt = earlier(s.retryAt, at)
}

// retryLater restarts a session that found no path, after a while that grows.
func (m *Machine) retryLater(now time.Time, s *session) {
	s.retryAt = now.Add(min(retryFirst<<min(s.attempts, 10), retryMax))
	s.attempts++
}

// upgradeLater has a session that goes over a relay look for a direct path again,
// after a while that grows. One side asks for both; the other one does so if that
// does not come, for whatever reason. Who sends no keepalives is silent in this, too.
func (m *Machine) upgradeLater(now time.Time, s *session) {
	if m.cfg.Techniques.RelayOnly || m.cfg.Keepalive < 0 {
		return
	}
	wait := min(upgradeFirst<<min(s.upgrades, 10), upgradeMax)
	if m.ID().Compare(s.peer) > 0 {
		wait += wait / 2
	}
	s.upgrades++
	s.retryAt = now.Add(wait)
	if again := m.secondTry(now, s); !again.IsZero() {
		s.retryAt = earlier(s.retryAt, again)
	}
}

// keepTrying does what is due for sessions: another introduction, the end of a
// challenge, giving up.
func (m *Machine) keepTrying(now time.Time) {
	if !slices.ContainsFunc(m.sessions, func(s *session) bool { return due(now, m.giveUpAt(s)) || due(now, s.retryAt) }) {
		return
	}
	for _, s := range slices.Clone(m.sessions) {
		if c := s.challenger; c != nil && due(now, c.until) {
			s.challenger = nil
			m.decide(now, s, c)
			continue
		}
		if due(now, m.giveUpAt(s)) {
			m.sayBye(now, s)
			m.end(now, s, ErrGivenUp)
			continue
		}
		if due(now, s.retryAt) {
			s.retryAt = time.Time{}
			if !m.renew(now, s) {
				m.restart(now, s)
			}
		}
	}
}

// renew replaces a session by another one that was introduced again and again
// and never had a path, and reports whether it did. Where two sides restart and
// connect at the same moment, each may have buried the session that the other
// believes in; a session that neither knows ends that.
func (m *Machine) renew(now time.Time, s *session) bool {
	if s.established || !s.introduced || s.attempts <= renewAfter || m.ID().Compare(s.peer) > 0 {
		return false
	}
	fresh, err := m.connect(now, s.peer)
	if err != nil {
		return false
	}
	fresh.dialed, fresh.uninvited = s.dialed, s.uninvited
	fresh.attempts, fresh.pathlessAt = s.attempts, s.pathlessAt
	m.end(now, s, ErrReplaced)
	m.introduce(now, fresh)
	return true
}

// giveUpAt is the next time at which keepTrying has something to decide about a
// session besides its retry.
func (m *Machine) giveUpAt(s *session) time.Time {
	var t time.Time
	if s.challenger != nil {
		t = s.challenger.until
	}
	if m.cfg.GiveUpAfter > 0 && !s.pathlessAt.IsZero() {
		t = earlier(t, s.pathlessAt.Add(m.cfg.GiveUpAfter))
	}
	return t
}

// connectFailed tells the owner and tries again later. An unknown peer may
// register at any time.
func (m *Machine) connectFailed(now time.Time, e rendezvous.ConnectFailed) {
	s := m.sessionByID(e.Session)
	if s == nil {
		return
	}
	m.Emit(Failed{Peer: s.peer, Err: e.Err})
	if s.pathlessAt.IsZero() && (errors.Is(e.Err, rendezvous.ErrUnknownPeer) || errors.Is(e.Err, rendezvous.ErrTicket)) {
		return // it lives, without the rendezvous; so be it
	}
	m.retryLater(now, s)
}

// introduced takes what the rendezvous says of a peer.
func (m *Machine) introduced(now time.Time, e rendezvous.Introduced) {
	if e.Peer == m.ID() {
		return
	}
	if at, ok := m.buried.since(e.Session); ok {
		m.insisted(now, e, at)
		return
	}
	if !m.allows(e.Peer) {
		m.tooEarly(now, e)
		return
	}
	o, err := decodeOffer(e.Offer)
	if err != nil {
		m.stats.BadOffers++
		return
	}
	if o := m.sessionByID(e.Session); o != nil && o.peer != e.Peer {
		m.stats.BadOffers++ // who ended it would end the other peer's session
		return
	}
	s := m.sessionWith(e.Peer)
	switch {
	case s != nil && s.id == e.Session:
	case e.Initiator:
		return // an answer about a session of ours that has been replaced
	case s != nil && !m.yields(now, s, e):
		return
	default:
		dialed, uninvited := false, true
		if s != nil {
			dialed, uninvited = s.dialed, s.uninvited
			m.end(now, s, ErrReplaced)
		}
		m.welcome(now)
		if s, err = m.begin(now, e.Peer, e.Session, false); err != nil {
			m.stats.BadOffers++
			return
		}
		s.dialed, s.uninvited = dialed, uninvited
	}
	m.update(now, s, o, e)
	m.correct(now, e)
}

// insistAfter is when the rendezvous repeats no introduction any more: one that comes
// about a session which was buried before is new.
const insistAfter = 5 * time.Second

// insisted takes an introduction about a session that is buried. A peer that goes on with it
// does not know the one that we have instead: an introduction that came late may have made us
// choose the older of two. Where ours has never had a path, a third ends that.
func (m *Machine) insisted(now time.Time, e rendezvous.Introduced, buried time.Time) {
	s := m.sessionWith(e.Peer)
	if e.Initiator || s == nil || s.established || now.Sub(buried) < insistAfter || now.Sub(s.introducedAt) < insistAfter || !m.allows(e.Peer) {
		return
	}
	fresh, err := m.connect(now, e.Peer)
	if err != nil {
		return
	}
	fresh.dialed, fresh.uninvited, fresh.pathlessAt = s.dialed, s.uninvited, s.pathlessAt
	m.end(now, s, ErrReplaced)
	m.introduce(now, fresh)
}

// correct introduces us anew to a peer that may just have been told our last offer
// but one: the allocation, say, came while the rendezvous was asked for us, when
// there was no session yet that trickle could have told. Without the relayed
// candidate the peer lets nothing through its NAT from there.
func (m *Machine) correct(now time.Time, e rendezvous.Introduced) {
	if e.Initiator || !m.rendezvous.OfferPending() {
		return // our own request had the present offer with it
	}
	if s := m.sessionByID(e.Session); s != nil && now.Sub(s.introducedAt) >= reintroducePause {
		m.introduce(now, s)
	}
}

// yields decides whether the present session gives way to one that the peer
// began. Both sides come to the same decision:
//
//   - Where both connected at once, the session of the smaller id stays.
//   - A session that never had a path gives way to the peer's later one.
//   - A session that has or had a path is asked whether the peer still answers
//     in it; only if not, the peer has forgotten it.
func (m *Machine) yields(now time.Time, s *session, e rendezvous.Introduced) bool {
	switch {
	case s.established:
		if s.challenger == nil || s.challenger.event.Session != e.Session {
			s.challenger = &challenge{event: e, since: now, until: now.Add(max(challengeTime, 4*s.agent.RTT()))}
			s.agent.Restart(now)
		}
		return false
	case s.initiator && m.ID().Compare(s.peer) < 0:
		if now.Sub(s.introducedAt) >= reintroducePause {
			m.introduce(now, s) // the peer is there now, whatever it was before
		}
		return false
	}
	return true
}

// decide ends a challenge.
func (m *Machine) decide(now time.Time, s *session, c *challenge) {
	if s.agent.Answered().After(c.since) {
		return
	}
	m.end(now, s, ErrReplaced)
	m.introduced(now, c.event)
	if fresh := m.sessionWith(s.peer); fresh != nil {
		fresh.dialed, fresh.uninvited = s.dialed, s.uninvited
	}
}

// update takes a peer's offer into its session.
func (m *Machine) update(now time.Time, s *session, o offer, e rendezvous.Introduced) {
	if s.introduced && s.remoteInstance != 0 && o.Instance != s.remoteInstance {
		// The peer's machine is another one and knows nothing of the session,
		// above all not which numbers it has used.
		m.end(now, s, ErrReplaced)
		if fresh, err := m.connect(now, e.Peer); err == nil {
			fresh.dialed, fresh.uninvited = s.dialed, s.uninvited
			m.introduce(now, fresh)
		}
		return
	}
	first := m.acquainted(s)
	s.remoteInstance = o.Instance
	s.agent.SetExtended(o.Features.has(featureExtended))
	if o.RTT > 0 && m.rendezvous.RTT() > 0 {
		s.agent.Estimate(min(o.RTT+m.rendezvous.RTT(), maxEstimate))
	}
	if o.Generation < s.remoteGeneration {
		return // overtaken by a later offer
	}
	s.remoteGeneration = o.Generation
	s.takeTraits(o)
	vouched := s.hard.vouched
	s.hard.vouched = unmap(e.Reflexive)
	candidates := withReflexive(o.Candidates, unmap(e.Reflexive))
	m.permit(now, s, candidates)
	settled := s.agent.IsSettled()
	s.agent.SetRemote(now, candidates)
	if settled && !first {
		// A new introduction in the life of a session: one side asks for new
		// checks, because something has changed.
		m.hardAgain(now, s, vouched.Addr() != s.hard.vouched.Addr())
		s.agent.Restart(now)
	}
	m.pursue(now, s)
}

// withReflexive adds the address at which the rendezvous sees the peer now. The
// offer may be older than the peer's last mapping.
func withReflexive(candidates []punch.Candidate, reflexive netip.AddrPort) []punch.Candidate {
	if !reflexive.IsValid() || !usable(reflexive) ||
		slices.ContainsFunc(candidates, func(c punch.Candidate) bool { return c.Addr == reflexive }) {
		return candidates
	}
	return append(candidates, punch.Candidate{
		Kind: punch.ServerReflexive, Addr: reflexive, Priority: punch.Priority(punch.ServerReflexive, 0),
	})
}

// permit lets a peer's candidates through our allocation, before the first
// check arrives there.
func (m *Machine) permit(now time.Time, s *session, candidates []punch.Candidate) {
	if len(m.relays) == 0 && len(m.gauges) == 0 {
		return
	}
	old := s.permitted
	s.permitted = nil
	for _, c := range candidates {
		if punch.Relayable(c.Addr.Addr()) && len(s.permitted) < maxPermitted {
			s.permitted = append(s.permitted, c.Addr)
			for _, a := range m.relays {
				a.relay.Permit(now, c.Addr)
			}
		}
	}
	for _, p := range old {
		m.forgetPermission(p)
	}
}

// forgetPermission ends the permission of an address that no session wants.
func (m *Machine) forgetPermission(p netip.AddrPort) {
	for _, s := range m.sessions {
		if slices.Contains(s.permitted, p) {
			return
		}
	}
	for _, a := range m.relays {
		a.relay.Forget(p)
	}
}
