package peer

import (
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/core/traits"
)

// survey learns how the NATs in front of the machine's socket give ports, beside the
// registration and from the same socket: nothing waits for it. Later ones have a socket
// of their own, whose mappings are made in the order of the questions: of a socket that
// has spoken before, nobody knows when each of them was.
type survey struct {
	*traits.Survey // nil: none has begun
	// socket is the one that asks, port its own; it is closed when all have answered.
	socket sansio.Socket
	port   uint16
	began  time.Time
	// traits are those of the last survey that ended; zero: none has.
	traits traits.Traits
	// others are where the rendezvous has a second address, with its first port and the
	// second one, as any survey has learned it. They are asked once that is known.
	others      [2]netip.AddrPort
	othersAsked bool
}

const (
	// surveySocket is the first number of the sockets of surveys, surveySockets how many
	// there are.
	surveySocket  sansio.Socket = 1 << 18
	surveySockets               = 1 << 16
	// surveyPause keeps surveys apart that sessions ask for.
	surveyPause = 4 * time.Second
)

func isSurvey(s sansio.Socket) bool { return s >= surveySocket && s < surveySocket+surveySockets }

// extensionTraits is the offer's extension of this: what the peer takes part in, and
// traits.
const extensionTraits extensionKind = 1

// accepts is what we take part in.
func (m *Machine) accepts() (a acceptance) {
	t := m.cfg.Techniques
	if !t.RelayOnly && !t.NoPrediction {
		a |= acceptsPrediction
	}
	if !t.RelayOnly && !t.NoBirthday {
		a |= acceptsBirthday
	}
	return a
}

// examine begins a survey by the machine's own socket, which is as new.
func (m *Machine) examine(now time.Time) {
	if m.accepts() == 0 {
		return
	}
	m.survey.began, m.survey.port = now, m.local.Port()
	m.survey.Survey = traits.NewSurvey(m.cfg.Rand)
	m.inquireAll(now)
}

// examineAnew begins another survey: in another network, or because a relayed session looks for
// a direct path again. What was asked while the network changed, or before an answer was
// lost, may have led to wrong conclusions.
func (m *Machine) examineAnew(now time.Time) {
	if m.accepts() == 0 || !m.bound {
		return
	}
	m.endSurvey()
	m.lastSurvey = surveySocket + (m.lastSurvey-surveySocket+1)%surveySockets
	m.survey = survey{socket: m.lastSurvey, began: now, traits: m.survey.traits, others: m.survey.others}
	m.Bind(m.survey.socket, netip.AddrPortFrom(m.cfg.Listen.Addr(), 0))
}

// doubtTraits has a survey made for a session that goes over a relay.
func (m *Machine) doubtTraits(now time.Time) {
	if !m.survey.began.IsZero() && now.Sub(m.survey.began) >= surveyPause {
		m.examineAnew(now)
	}
}

// forgetTraits forgets what is known of the network.
func (m *Machine) forgetTraits() {
	m.endSurvey()
	m.survey = survey{others: m.survey.others}
}

// endSurvey closes a survey's own socket.
func (m *Machine) endSurvey() {
	if m.survey.socket != 0 {
		m.Unbind(m.survey.socket)
	}
	m.survey.socket = 0
}

// boundSurvey answers the Bind of a survey's socket, and reports whether it was one.
func (m *Machine) boundSurvey(now time.Time, socket sansio.Socket, local netip.AddrPort, err error) bool {
	switch {
	case !isSurvey(socket):
		return false
	case socket != m.survey.socket: // that survey is over; its socket was closed
	case err != nil:
		m.survey.socket = 0
	default:
		m.survey.port = local.Port()
		m.survey.Survey = traits.NewSurvey(m.cfg.Rand)
		m.inquireAll(now)
	}
	return true
}

// inquireAll asks the servers that there are.
func (m *Machine) inquireAll(now time.Time) {
	m.survey.Ask(now, m.servers.Rendezvous)
	for _, server := range m.relayServers() {
		m.survey.Ask(now, server)
	}
	m.askOthers(now)
}

// askOthers asks the rendezvous at its second address, once that is known.
func (m *Machine) askOthers(now time.Time) {
	if !m.survey.othersAsked && m.survey.others[0].IsValid() {
		m.survey.othersAsked = true
		for _, other := range m.survey.others {
			m.survey.Ask(now, other)
		}
	}
	m.sendSurvey()
}

func (m *Machine) sendSurvey() {
	for to, payload, ok := m.survey.PollTransmit(); ok; to, payload, ok = m.survey.PollTransmit() {
		m.Outbox.Send(m.survey.socket, to, payload)
	}
}

// surveyed takes an answer to the survey, and reports whether it was one.
func (m *Machine) surveyed(now time.Time, d sansio.Datagram) bool {
	if m.survey.Survey == nil || d.Socket != m.survey.socket {
		return isSurvey(d.Socket)
	}
	from := unmap(d.Remote)
	if !m.survey.HandleDatagram(now, from, d.Payload) {
		return isSurvey(d.Socket)
	}
	if other, ok := m.survey.Other(); ok && !m.survey.othersAsked {
		m.survey.others = [2]netip.AddrPort{netip.AddrPortFrom(other.Addr(), from.Port()), other}
	}
	m.askOthers(now)
	m.conclude(now)
	return true
}

// conclude learns the traits when the last answer has come, or will not come.
func (m *Machine) conclude(now time.Time) {
	if !m.survey.Done() {
		return
	}
	m.endSurvey()
	t := traits.Infer(m.survey.port, m.survey.Seen())
	old := m.survey.traits
	if t.Mapping == traits.Unknown && old.Mapping != traits.Unknown {
		return
	}
	// Each socket has other ports: that alone is no news.
	if same := t; old != (traits.Traits{}) {
		if same.Low, same.High = old.Low, old.High; same == old {
			return
		}
	}
	m.survey.traits = t
	m.Emit(Surveyed{Traits: t})
	m.updateOffer(now)
	for _, s := range slices.Clone(m.sessions) {
		m.pursue(now, s)
	}
}

// mostRelays is how many relays are asked.
const mostRelays = 2

// relayServers are the relays in use.
func (m *Machine) relayServers() (list []netip.AddrPort) {
	for _, a := range m.relays {
		if !a.leaving && len(list) < mostRelays && a.cfg.Server.Addr() != m.servers.Rendezvous.Addr() {
			list = append(list, a.cfg.Server)
		}
	}
	return list
}

// hintServers are those that a socket may ask, the best order first: neighbours in
// the list have different addresses where there are two.
func (m *Machine) hintServers() []netip.AddrPort {
	list := []netip.AddrPort{m.servers.Rendezvous}
	list = append(list, m.relayServers()...)
	if m.survey.others[0].IsValid() {
		list = append(list, m.survey.others[0])
		if m.survey.traits.Mapping == traits.AddressAndPortDependent {
			list = append(list, m.survey.others[1])
		}
	}
	return list
}

// extension tells others of it.
func (m *Machine) traitsExtension() (extension, bool) {
	if m.survey.traits == (traits.Traits{}) {
		return extension{}, false
	}
	return extension{Kind: extensionTraits, Value: m.survey.traits.Append([]byte{byte(m.accepts())})}, true
}

// takeTraits reads them from a peer's offer.
func (s *session) takeTraits(o offer) {
	value, ok := o.extension(extensionTraits)
	if !ok || len(value) == 0 {
		return
	}
	if t, err := traits.Decode(value[1:]); err == nil {
		s.hard.peer, s.hard.accepts = t, acceptance(value[0])
	}
}
