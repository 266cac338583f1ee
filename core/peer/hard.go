package peer

import (
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/search"
	"p2pmodel/core/traits"
)

// This file decides what a session does about NATs that plain punching does not pass:
// those that have another port for each destination. It begins when a relay
// carries the session, so that nothing waits for it and the peer has proved who it
// is; a peer that nobody asked for and that has given no sign of life gets nothing
// of it. What is done is said by both sides' traits, which both know:
//
//	ours       theirs     what happens
//	counts     easy       a guess: our mapping lies between two that servers saw; we say where
//	counts     counts     the side whose mapping depends on less says where it is, the other
//	                      one opens a mapping to there and says where that is
//	counts     counts     where both depend on ports: a meeting, both foretell a port
//	random     easy       a search: we open sockets, the other side probes ports
//	random     hard       nothing
//
// A technique that is of no use in a pair of networks is not tried there again for a
// while (memory.go).

// Technique is a way to a direct path beyond plain punching.
type Technique uint8

// The techniques.
const (
	NoTechnique Technique = iota
	Prediction
	Birthday
)

// String is none, prediction or birthday.
func (t Technique) String() string {
	switch t {
	case Prediction:
		return "prediction"
	case Birthday:
		return "birthday"
	default:
		return "none"
	}
}

// HardStats counts what was done about hard NATs.
type HardStats struct {
	// Predictions and Searches are attempts, Predicted and Found those of them after
	// which there was a direct path by what they had found.
	Predictions, Searches, Predicted, Found uint64
	// Sockets were opened beside the machine's own, Probes sent to ports that
	// nobody had told, Hints told to peers.
	Sockets, Probes, Hints uint64
}

// hardship is what a session knows and does about hard NATs.
type hardship struct {
	// peer are the peer's traits, accepts what it takes part in, as it said last.
	peer    traits.Traits
	accepts acceptance
	// vouched is where the rendezvous sees the peer.
	vouched netip.AddrPort
	// number and heard are of the last hint that was told and heard.
	number, heard uint32
	errand        errand
	asked         bool // for the peer's traits
	sockets       []*extra
	attempt       attempt
	guesses       int // predictions tried since checks began
	searched      bool
	refusals      int // of searches, by a peer that has another one under way
	// unsettled: that checks are over has still to be told.
	unsettled bool
}

// attempt is one technique at work in one session.
type attempt interface {
	technique() Technique
	// begin sends what goes first.
	begin(now time.Time)
	// bound says that a socket is open, or cannot be.
	bound(now time.Time, x *extra, err error)
	// hint takes a hint of the peer; false: it is not for this attempt.
	hint(now time.Time, h hint) bool
	// step does what is due. It reports whether the attempt is over.
	step(now time.Time) (over bool)
	pollTimeout() time.Time
	// covers reports whether a path is of its making.
	covers(p Path) bool
	// spent is for people: sockets opened and probes sent.
	spent() (sockets, probes int)
}

// mostGuesses is how often a port is foretold before something else is tried.
const mostGuesses = 3

// mostRefusals is how often a peer may have no time for a search, until that is taken for a
// failure.
const mostRefusals = 3

// The longest that techniques take in a session after plain punching, each in vain, on
// paths of a round trip of up to half a second.
const (
	LongestPrediction = mostGuesses * (surveyLasts + guessLasts + 2*time.Second)
	LongestBirthday   = search.Longest + time.Second
)

// part is what we do first of all in a session.
type part uint8

const (
	partNone  part = iota
	partWait       // the peer begins
	partGuess      // we say where our mapping is
	partMeet       // we begin a meeting
	partOpen       // we open sockets for a search
)

// partOf is the part of the side with own traits; leader settles ties.
func partOf(own, peer traits.Traits, both acceptance, leader bool) part {
	predicts, searches := both&acceptsPrediction != 0, both&acceptsBirthday != 0
	switch {
	case own.Easy() && peer.Hard():
		return partWait
	case !own.Hard() || own.Pooled || peer.Pooled:
		return partNone
	case peer.Easy() && own.Foreseeable() && predicts:
		return partGuess
	case peer.Easy() && searches:
		return partOpen
	case !predicts || !own.Foreseeable() || !peer.Foreseeable():
		return partNone
	case own.Mapping == peer.Mapping && !leader:
		return partWait
	case own.Mapping == peer.Mapping && own.Mapping == traits.AddressAndPortDependent:
		return partMeet
	case own.Mapping <= peer.Mapping:
		return partGuess
	}
	return partWait
}

// pursue begins what is to be done for a session now, if anything is.
func (m *Machine) pursue(now time.Time, s *session) {
	path, ok := s.agent.Path()
	if !ok || path.Kind != Relay || s.hard.attempt != nil || s.stranger() || m.accepts() == 0 || !s.hard.vouched.IsValid() {
		return
	}
	own := m.survey.traits
	if own.Hard() && s.hard.peer == (traits.Traits{}) && !s.hard.asked {
		s.hard.asked = true
		m.tell(now, s, hint{Kind: hintTraits})
		return
	}
	both := m.accepts() & s.hard.accepts
	leader := m.ID().Compare(s.peer) < 0
	p := partOf(own, s.hard.peer, both, leader)
	if (p == partGuess || p == partMeet) && (s.hard.guesses >= mostGuesses || !m.worthwhile(now, s, Prediction)) {
		if p = partNone; s.hard.peer.Easy() && both&acceptsBirthday != 0 {
			p = partOpen
		}
	}
	if p == partOpen && (s.hard.searched || !m.worthwhile(now, s, Birthday) || !s.agent.IsSettled() && !m.proven(s, Birthday)) {
		return
	}
	switch p {
	case partGuess:
		m.undertake(now, s, newGuess(m, s, now, []netip.AddrPort{s.meets()}))
	case partMeet:
		m.undertake(now, s, newMeeting(m, s, now, 0))
	case partOpen:
		if len(m.extras)+search.Sockets <= maxExtras {
			m.undertake(now, s, newOpening(m, s, now))
		}
	}
}

// undertake begins an attempt.
func (m *Machine) undertake(now time.Time, s *session, a attempt) {
	m.shutBut(now, s, socketBase)
	s.hard.attempt = a
	if a.technique() == Prediction {
		s.hard.guesses++
		m.stats.Hard.Predictions++
	} else {
		s.hard.searched = true
		m.stats.Hard.Searches++
	}
	a.begin(now)
}

// advance does what is due in a session's attempt, and what comes after it.
func (m *Machine) advance(now time.Time, s *session) {
	a := s.hard.attempt
	if a == nil || !a.step(now) {
		return
	}
	m.conclusion(now, s, NoPath)
	m.pursue(now, s)
	if s.hard.unsettled && s.hard.attempt == nil {
		s.hard.unsettled = false
		if path, ok := s.agent.Path(); ok {
			m.Emit(Settled{Peer: s.peer, Session: s.id, Path: path})
		}
	}
}

// conclusion ends a session's attempt, with or without a direct path.
func (m *Machine) conclusion(now time.Time, s *session, kind PathKind) {
	a := s.hard.attempt
	if a == nil {
		return
	}
	s.hard.attempt = nil
	if k := s.hard.errand.kind; k == hintPorts || k == hintMeet {
		s.hard.errand.next = time.Time{} // they lead nowhere any more
	}
	path, _ := s.agent.Path()
	won := kind == Direct && a.covers(path)
	keep := socketBase
	if kind == Direct {
		keep = path.Base
	}
	m.shutBut(now, s, keep)
	if o, ok := a.(*opening); ok && o.refused && s.hard.refusals < mostRefusals {
		s.hard.refusals++ // says nothing of the networks
	} else if kind != Direct || won {
		s.hard.refusals = 0
		m.remember(now, s, a.technique(), won)
		if again := m.secondTry(now, s); !won && !again.IsZero() {
			s.retryAt = earlier(s.retryAt, again)
		}
	}
	if won && a.technique() == Prediction {
		m.stats.Hard.Predicted++
	} else if won {
		m.stats.Hard.Found++
	}
	sockets, probes := a.spent()
	hit := 0
	if p, ok := a.(*searching); ok && won {
		hit = p.plan.Number(path.Remote.Port())
	}
	m.Emit(Attempted{Peer: s.peer, Session: s.id, Technique: a.technique(), Direct: won, Sockets: sockets, Probes: probes, Hit: hit})
}

// hardPath follows the session's path: a direct one ends what was under way, and
// a socket that it has left is closed.
func (m *Machine) hardPath(now time.Time, s *session, e punch.PathChanged) {
	switch e.New.Kind {
	case Direct:
		m.conclusion(now, s, Direct)
		s.leave(now, m, e.New.Base)
	case Relay:
		if o, ok := s.hard.attempt.(*opening); ok && o.to != s.meets() {
			m.hardAgain(now, s, true) // the peer has another port by now
		}
		m.pursue(now, s)
	}
}

// tellSettled says that checks are over: when nothing else is tried either.
func (m *Machine) tellSettled(now time.Time, s *session, path Path) {
	if path.Kind == Relay {
		m.pursue(now, s)
	}
	if s.hard.unsettled = path.Kind == Relay && s.hard.attempt != nil; !s.hard.unsettled {
		m.Emit(Settled{Peer: s.peer, Session: s.id, Path: path})
	}
}

// hardAgain forgets what was tried: checks begin anew, in another network of ours or the
// peer's perhaps. Then what is under way leads nowhere, which says nothing of either.
func (m *Machine) hardAgain(now time.Time, s *session, moved bool) {
	s.hard.guesses, s.hard.searched, s.hard.asked = 0, false, false
	path, _ := s.agent.Path()
	switch {
	case moved:
		s.hard.attempt = nil
		m.shutBut(now, s, path.Base)
	case path.Kind == Relay:
		m.doubtTraits(now)
	}
}

// meets is where an easy peer's socket is met: where the rendezvous has seen it, and at
// that address by the port that our relay has seen last, which is a later one where its
// NAT has given it another.
func (s *session) meets() netip.AddrPort {
	path, _ := s.agent.Path()
	if path.Kind == Relay && s.hard.peer.Easy() && path.Remote.Addr() == s.hard.vouched.Addr() {
		return path.Remote
	}
	return s.hard.vouched
}

// hardEnd gives back what a session that ends has.
func (m *Machine) hardEnd(now time.Time, s *session) {
	s.hard.attempt, s.hard.errand.next = nil, time.Time{}
	for _, x := range slices.Clone(s.hard.sockets) {
		m.shut(now, x)
	}
}

// hinted takes the peer's hint.
func (m *Machine) hinted(now time.Time, s *session, h hint) {
	s.hard.peer, s.hard.accepts = h.Traits, h.Accepts
	if s.stranger() || !s.hard.vouched.IsValid() {
		return
	}
	if a := s.hard.attempt; a != nil && a.hint(now, h) {
		m.advance(now, s)
		return
	}
	if h.Kind == hintPorts || h.Kind == hintMeet || h.Kind == hintSearch {
		m.conclusion(now, s, NoPath) // the peer has begun something else
	}
	both := m.accepts() & h.Accepts
	path, _ := s.agent.Path()
	switch {
	case path.Kind != Relay:
	case h.Kind == hintTraits:
		if m.survey.traits != (traits.Traits{}) && !s.hard.asked {
			s.hard.asked = true
			m.tell(now, s, hint{Kind: hintTraits})
		}
	case s.hard.attempt != nil:
	case h.Kind == hintPorts && both&acceptsPrediction != 0:
		m.heed(now, s, h)
		return
	case h.Kind == hintMeet && both&acceptsPrediction != 0 && m.survey.traits.Foreseeable() && len(h.Ports) == 1:
		m.undertake(now, s, newMeeting(m, s, now, h.Ports[0]))
		return
	case h.Kind == hintSearch && both&acceptsBirthday != 0 && m.survey.traits.Easy():
		if m.searching(s) || !m.worthwhile(now, s, Birthday) {
			m.tell(now, s, hint{Kind: hintOver})
			return
		}
		m.undertake(now, s, newSearching(m, s, now))
		return
	}
	m.pursue(now, s)
}

// heed acts on ports at which the peer waits: easy, we probe them; hard, we open
// mappings to them and say where those are.
func (m *Machine) heed(now time.Time, s *session, h hint) {
	targets := s.at(h.Ports)
	switch {
	case m.survey.traits.Easy():
		m.undertake(now, s, newProbing(m, s, now, socketBase, targets))
	case m.survey.traits.Foreseeable() && len(targets) <= mostTargets:
		m.undertake(now, s, newGuess(m, s, now, targets))
	}
}

// at gives ports of the peer's address.
func (s *session) at(ports []uint16) (list []netip.AddrPort) {
	for _, p := range ports {
		list = append(list, netip.AddrPortFrom(s.hard.vouched.Addr(), p))
	}
	return list
}

// searching reports whether another session's search is under way: their rates would
// add up.
func (m *Machine) searching(but *session) bool {
	return slices.ContainsFunc(m.sessions, func(o *session) bool {
		a := o.hard.attempt
		return o != but && a != nil && a.technique() == Birthday
	})
}

// hardTimeout does what is due in all sessions.
func (m *Machine) hardTimeout(now time.Time) {
	if m.survey.Survey != nil && due(now, m.survey.PollTimeout()) {
		m.survey.HandleTimeout(now)
		m.sendSurvey()
		m.conclude(now)
	}
	for _, s := range slices.Clone(m.sessions) {
		if due(now, s.hard.errand.next) {
			m.runErrand(now, s)
		}
		for _, x := range slices.Clone(s.hard.sockets) {
			if x.survey != nil && due(now, x.survey.PollTimeout()) {
				x.survey.HandleTimeout(now)
				m.inquire(x)
			}
			if due(now, x.leaves) {
				m.shut(now, x)
			}
		}
		if a := s.hard.attempt; a != nil && due(now, a.pollTimeout()) {
			m.advance(now, s)
		}
	}
}

// inquire sends a socket's questions.
func (m *Machine) inquire(x *extra) {
	for to, payload, ok := x.survey.PollTransmit(); ok; to, payload, ok = x.survey.PollTransmit() {
		m.Outbox.Send(socketOf(x.base), to, payload)
	}
}

// hardTimer is when hardTimeout has something to do.
func (m *Machine) hardTimer() (t time.Time) {
	if m.survey.Survey != nil {
		t = m.survey.PollTimeout()
	}
	for _, s := range m.sessions {
		t = earlier(t, s.hard.errand.next)
		for _, x := range s.hard.sockets {
			t = earlier(t, x.leaves)
			if x.survey != nil {
				t = earlier(t, x.survey.PollTimeout())
			}
		}
		if a := s.hard.attempt; a != nil {
			t = earlier(t, a.pollTimeout())
		}
	}
	return t
}
