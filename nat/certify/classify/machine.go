package classify

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// Machine is one classification: it has no I/O and no clock. The driver calls
// Start once, then drains PollOpen and PollSend after every call, reports what
// happened with the Handle methods, and calls HandleTimeout at PollTimeout. When
// Result says true, all is told; the driver then closes all sockets. A Machine is
// not safe for concurrent use.
type Machine struct {
	cfg     Config
	opens   []Open
	sends   []Send
	sockets []*socket
	live    []*query
	alarms  []alarm
	opening int
	phases  []func(now time.Time)
	other   netip.AddrPort // OTHER-ADDRESS of the server

	samples []analysis.Sample
	hairpin turned
	rewrote string // how the NAT changed an address in the payload
	result  Result
	done    bool
}

type socket struct {
	number int
	local  netip.AddrPort
	opened func(now time.Time, s *socket)
}

type alarm struct {
	at   time.Time
	of   *life // the search that waits for it, if it may be given up
	ring func(now time.Time)
}

// New makes a classification. The error says what the configuration lacks.
func New(cfg Config) (*Machine, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.RTO == 0 {
		cfg.RTO = DefaultRTO
	}
	if cfg.Copies == 0 {
		cfg.Copies = DefaultCopies
	}
	m := &Machine{cfg: cfg, result: Result{Server: cfg.Server}}
	m.phases = []func(now time.Time){
		m.samplePorts, // alone: others would take ports in between
		func(now time.Time) {
			m.tellPorts()
			m.tellPooling()
			m.measureMapping(now)
			m.measureFiltering(now)
			m.measureHairpin(now)
		},
		m.tellHairpin,
		m.measureLifetime,
	}
	return m, nil
}

// Start begins.
func (m *Machine) Start(now time.Time) { m.advance(now) }

// PollOpen gives the next socket to open or close.
func (m *Machine) PollOpen() (o Open, ok bool) { return pop(&m.opens) }

// PollSend gives the next datagram to send.
func (m *Machine) PollSend() (s Send, ok bool) { return pop(&m.sends) }

func pop[T any](queue *[]T) (first T, ok bool) {
	if len(*queue) == 0 {
		return first, false
	}
	first = (*queue)[0]
	*queue = (*queue)[1:]
	return first, true
}

// Result gives what was found out, once all is.
func (m *Machine) Result() (Result, bool) { return m.result, m.done }

// HandleOpened answers an Open: the local address as bound, or the error.
func (m *Machine) HandleOpened(now time.Time, number int, local netip.AddrPort, err error) {
	if m.done || number < 0 || number >= len(m.sockets) || m.sockets[number].opened == nil {
		return
	}
	s := m.sockets[number]
	if err != nil {
		m.fail(fmt.Errorf("classify: open a UDP socket at %s: %w", m.cfg.Local, err))
		return
	}
	s.local = local
	opened := s.opened
	s.opened = nil
	m.opening--
	opened(now, s)
	m.advance(now)
}

// HandleDatagram gives a datagram that arrived. What is no answer to a request,
// and no request that came back by hairpin, is ignored.
func (m *Machine) HandleDatagram(now time.Time, number int, from netip.AddrPort, payload []byte) {
	if m.done || number < 0 || number >= len(m.sockets) {
		return
	}
	msg := &pion.Message{Raw: append([]byte(nil), payload...)}
	if !pion.IsMessage(payload) || msg.Decode() != nil || msg.Type.Method != pion.MethodBinding {
		return
	}
	i := slices.IndexFunc(m.live, func(q *query) bool { return q.id == msg.TransactionID })
	if i < 0 {
		return
	}
	if m.live[i].take(m, number, from, msg) {
		m.finish(now, m.live[i])
		m.advance(now)
	}
}

// HandleTimeout says that the time named by PollTimeout has come. A call too early
// is harmless.
func (m *Machine) HandleTimeout(now time.Time) {
	if m.done {
		return
	}
	for _, q := range slices.Clone(m.live) {
		switch {
		case now.Before(q.next) || m.done:
		case q.copies > 0:
			m.transmit(now, q)
		default:
			m.finish(now, q)
		}
	}
	for !m.done {
		i := slices.IndexFunc(m.alarms, func(a alarm) bool { return !now.Before(a.at) })
		if i < 0 {
			break
		}
		ring := m.alarms[i].ring
		m.alarms = slices.Delete(m.alarms, i, i+1)
		ring(now)
	}
	m.advance(now)
}

// PollTimeout is when HandleTimeout wants to be called; the zero time means never.
func (m *Machine) PollTimeout() (next time.Time) {
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if m.done {
		return next
	}
	for _, q := range m.live {
		sooner(q.next)
	}
	for _, a := range m.alarms {
		sooner(a.at)
	}
	return next
}

// advance starts the next phase when nothing of the present one is under way.
func (m *Machine) advance(now time.Time) {
	for !m.done && m.opening == 0 && len(m.live) == 0 && len(m.alarms) == 0 {
		if len(m.phases) == 0 {
			m.conclude()
			return
		}
		phase := m.phases[0]
		m.phases = m.phases[1:]
		phase(now)
	}
}

func (m *Machine) open(opened func(now time.Time, s *socket)) {
	s := &socket{number: len(m.sockets), opened: opened}
	m.sockets = append(m.sockets, s)
	m.opening++
	m.opens = append(m.opens, Open{Socket: s.number})
}

func (m *Machine) fail(err error) { m.result.Err, m.done = err, true }

func (m *Machine) find(axis nat.Axis, measured string, evidence ...string) {
	m.result.Findings = append(m.result.Findings, Finding{Axis: axis, Measured: measured, Evidence: evidence})
}

func (m *Machine) untold(axis nat.Axis, why string, args ...any) {
	m.result.Untold = append(m.result.Untold, Untold{Axis: axis, Why: fmt.Sprintf(why, args...)})
}
