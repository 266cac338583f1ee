package traits

import (
	"io"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// schedule bounds a question: four requests in 2.5 s.
var schedule = stun.Schedule{RTO: 500 * time.Millisecond, MaxRequests: 4, FinalWait: 2, Constant: true}

// MaxQuestions bounds a survey.
const MaxQuestions = 8

// Survey asks STUN servers how they see one socket (RFC 5780 section 4.3). It owns
// no socket: who does hands it what arrives, sends what PollTransmit gives and calls
// HandleTimeout at PollTimeout. It is not safe for concurrent use.
type Survey struct {
	random   io.Reader
	asked    []Observation
	inFlight stun.Transactions[int] // by place in asked
	out      sansio.Queue[question]
	other    netip.AddrPort
}

type question struct {
	to      netip.AddrPort
	payload []byte
}

// NewSurvey makes one. random gives transaction ids, which have to be unpredictable
// where the network is not trusted.
func NewSurvey(random io.Reader) *Survey { return &Survey{random: random} }

// Ask asks a server, unless it was asked before.
func (s *Survey) Ask(now time.Time, server netip.AddrPort) {
	for _, o := range s.asked {
		if o.To == server {
			return
		}
	}
	if len(s.asked) >= MaxQuestions || !server.IsValid() {
		return
	}
	id, err := stun.NewID(s.random)
	if err != nil {
		panic("traits: random source: " + err.Error())
	}
	t := s.inFlight.Start(now, stun.Binding(id, stun.PaysForDiscovery), schedule, len(s.asked))
	s.asked = append(s.asked, Observation{To: server, Sent: now})
	s.out.Push(question{server, t.Request})
}

// Note takes what was seen by other means: in the answer to an Allocate, say.
func (s *Survey) Note(o Observation) {
	for i, known := range s.asked {
		if known.To == o.To {
			if !known.Mapped.IsValid() {
				s.asked[i].Mapped = o.Mapped
			}
			return
		}
	}
	if len(s.asked) < MaxQuestions {
		s.asked = append(s.asked, o)
	}
}

// HandleDatagram takes an answer, and says whether it was one.
func (s *Survey) HandleDatagram(_ time.Time, from netip.AddrPort, payload []byte) bool {
	if s.inFlight.Len() == 0 || !stun.Is(payload) {
		return false
	}
	t, i, ok := s.inFlight.Find([pion.TransactionIDSize]byte(payload[8:20]))
	if !ok || s.asked[i].To != from {
		return false
	}
	m, err := stun.Parse(payload)
	if err != nil || m.Type.Method != pion.MethodBinding {
		return false
	}
	switch m.Type.Class {
	case pion.ClassSuccessResponse:
		mapped, err := stun.GetXORAddress(m, pion.AttrXORMappedAddress)
		if err != nil {
			return true
		}
		s.asked[i].Mapped, s.asked[i].Repeated = mapped, t.Retransmitted()
		if other, err := stun.GetAddress(m, pion.AttrOtherAddress); err == nil && !s.other.IsValid() && differs(other, from) {
			s.other = other
		}
	case pion.ClassErrorResponse:
	default:
		return false
	}
	s.inFlight.Take(m.TransactionID)
	return true
}

// differs reports whether a second address is one to ask: of the same family, and
// with another port, as RFC 5780 section 6 wants it.
func differs(other, from netip.AddrPort) bool {
	a := other.Addr()
	return other.Port() != 0 && other.Port() != from.Port() && a != from.Addr() && a.Is4() == from.Addr().Is4() &&
		!a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() == !from.Addr().IsLoopback()
}

// Other is a server's second address (OTHER-ADDRESS), if one has told it.
func (s *Survey) Other() (netip.AddrPort, bool) { return s.other, s.other.IsValid() }

// Seen are the answers so far, in the order of the questions.
func (s *Survey) Seen() (seen []Observation) {
	for _, o := range s.asked {
		if o.Mapped.IsValid() {
			seen = append(seen, o)
		}
	}
	return seen
}

// Done reports whether nothing is to come any more.
func (s *Survey) Done() bool { return s.inFlight.Len() == 0 }

// HandleTimeout says that the time named by PollTimeout has come.
func (s *Survey) HandleTimeout(now time.Time) {
	for {
		t, i, failed, ok := s.inFlight.Poll(now)
		if !ok {
			return
		}
		if !failed {
			s.out.Push(question{s.asked[i].To, t.Request})
		}
	}
}

// PollTimeout is when HandleTimeout wants to be called; the zero time means never.
func (s *Survey) PollTimeout() time.Time { return s.inFlight.Deadline() }

// PollTransmit gives the next datagram to send.
func (s *Survey) PollTransmit() (to netip.AddrPort, payload []byte, ok bool) {
	q, ok := s.out.Pop()
	return q.to, q.payload, ok
}
