package peer

import (
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/traits"
)

// survey learns how the NATs in front of the machine's socket give ports, beside the
// registration and from the same socket: nothing waits for it.
type survey struct {
	*traits.Survey
	// traits are those of the last survey that ended; zero: none has.
	traits traits.Traits
	// others are asked once the rendezvous has told its second address.
	others bool
}

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

// examine begins a survey: at the start, and in another network.
func (m *Machine) examine(now time.Time) {
	m.survey = survey{}
	if m.accepts() == 0 {
		return
	}
	m.survey.Survey = traits.NewSurvey(m.cfg.Rand)
	m.survey.Ask(now, m.servers.Rendezvous)
	for _, server := range m.relayServers() {
		m.survey.Ask(now, server)
	}
	m.sendSurvey()
}

func (m *Machine) sendSurvey() {
	for to, payload, ok := m.survey.PollTransmit(); ok; to, payload, ok = m.survey.PollTransmit() {
		m.Outbox.Send(0, to, payload)
	}
}

// surveyed takes an answer to the survey, and reports whether it was one.
func (m *Machine) surveyed(now time.Time, from netip.AddrPort, payload []byte) bool {
	if m.survey.Survey == nil || !m.survey.HandleDatagram(now, from, payload) {
		return false
	}
	if other, ok := m.survey.Other(); ok && !m.survey.others {
		m.survey.others = true
		m.survey.Ask(now, netip.AddrPortFrom(other.Addr(), from.Port()))
		m.survey.Ask(now, other)
		m.sendSurvey()
	}
	m.conclude(now)
	return true
}

// conclude learns the traits when the last answer has come, or will not come.
func (m *Machine) conclude(now time.Time) {
	if !m.survey.Done() {
		return
	}
	t := traits.Infer(m.local.Port(), m.survey.Seen())
	if t == m.survey.traits {
		return
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
	other, two := netip.AddrPort{}, false
	if m.survey.Survey != nil {
		other, two = m.survey.Other()
	}
	list = append(list, m.relayServers()...)
	if two {
		list = append(list, netip.AddrPortFrom(other.Addr(), m.servers.Rendezvous.Port()))
	}
	if m.survey.traits.Mapping == traits.AddressAndPortDependent && two {
		list = append(list, other)
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
