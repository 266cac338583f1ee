package rendezvous

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// Dependence is what a NAT's mapping or filtering looks at (RFC 4787 sections
// 4.1 and 5).
type Dependence uint8

// The dependences, and not knowing.
const (
	Unknown Dependence = iota
	EndpointIndependent
	AddressDependent
	AddressAndPortDependent
)

func (d Dependence) String() string {
	switch d {
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case AddressAndPortDependent:
		return "address-and-port-dependent"
	default:
		return "unknown"
	}
}

// Discovered is the one event of a Discovery, and its end.
type Discovered struct {
	Mapping, Filtering Dependence
	// Reflexive is the mapping towards the server's first address.
	Reflexive netip.AddrPort
	// PortDelta is by how much the external port grew from one mapping to the
	// next, where the mapping is not endpoint-independent: what a prediction
	// starts from. With a random allocation it says nothing.
	PortDelta int
	// Evidence are the tests in the order in which they ended, for people.
	Evidence []Evidence
	// Err says why something is unknown: no answer at all, or a server that
	// has no second address.
	Err error
}

// Evidence is the outcome of one test.
type Evidence struct {
	Test string
	// To is where the request went, From where the answer came from and
	// Reflexive what it said. From is not valid if there was none.
	To, From, Reflexive netip.AddrPort
}

func (e Evidence) String() string {
	if !e.From.IsValid() {
		return fmt.Sprintf("%s: sent to %v, no answer", e.Test, e.To)
	}
	return fmt.Sprintf("%s: sent to %v, answered from %v, seen as %v", e.Test, e.To, e.From, e.Reflexive)
}

// Errors of Discovered.
var (
	ErrNoAlternate = errors.New("the STUN server has no second address (no OTHER-ADDRESS), which behaviour discovery needs")
	ErrSocket      = errors.New("no socket for the discovery")
)

// discoverySchedule bounds a test: four requests in 2.5 s. A filter that drops
// answers looks the same as loss, so each is asked for several times.
var discoverySchedule = stun.Schedule{RTO: 500 * time.Millisecond, MaxRequests: 4, FinalWait: 2, Constant: true}

// test is one of RFC 5780's.
type test uint8

const (
	testMapping1   test = iota // to the server
	testMapping2               // to its other address, same port
	testMapping3               // to its other address and port
	testFiltering1             // to the server, from the second socket
	testFiltering2             // answer from the other address and port
	testFiltering3             // answer from the other port
)

var testNames = [...]string{
	"mapping I", "mapping II (other address)", "mapping III (other address and port)",
	"filtering I", "filtering II (answer from other address and port)", "filtering III (answer from other port)",
}

// The sockets: one for each behaviour, since testing mappings opens filters.
const (
	socketMapping sansio.Socket = iota
	socketFiltering
	discoverySockets
)

// Discovery measures the behaviour of the NATs in front of this host as RFC
// 5780 section 4 does, both behaviours at once. It is a sansio.Machine that
// gives one Discovered within 7.5 s and then has closed its sockets.
type Discovery struct {
	sansio.Outbox
	server netip.AddrPort
	random io.Reader
	sched  stun.Schedule

	inFlight stun.Transactions[test]
	open     int
	bound    [discoverySockets]bool
	over     bool
	other    netip.AddrPort
	// seen are the reflexive addresses of the mapping tests; the zero value
	// where there was no answer.
	seen   [3]netip.AddrPort
	result Discovered
}

// NewDiscovery makes a discovery against a server, with a source of
// unpredictable transaction ids. A zero schedule is four requests in 2.5 s a
// test.
func NewDiscovery(server netip.AddrPort, random io.Reader, schedule stun.Schedule) *Discovery {
	if schedule == (stun.Schedule{}) {
		schedule = discoverySchedule
	}
	d := &Discovery{server: plain(server), random: random, sched: schedule}
	local := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if d.server.Addr().Is6() {
		local = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	for s := range discoverySockets {
		d.Bind(s, local)
	}
	return d
}

// HandleInterfaces implements sansio.Machine.
func (d *Discovery) HandleInterfaces(time.Time, []netip.Addr) {}

// HandleBound implements sansio.Machine.
func (d *Discovery) HandleBound(now time.Time, s sansio.Socket, _ netip.AddrPort, err error) {
	if d.over {
		if err == nil {
			d.Unbind(s) // it came after the end
		}
		return
	}
	if err != nil {
		d.result.Err = fmt.Errorf("%w: %w", ErrSocket, err)
		d.finish()
		return
	}
	d.bound[s] = true
	if s == socketMapping {
		d.send(now, testMapping1, d.server, 0)
	} else {
		d.send(now, testFiltering1, d.server, 0)
	}
}

func (d *Discovery) send(now time.Time, t test, to netip.AddrPort, change byte) {
	var attributes []stun.Attribute
	if change != 0 {
		attributes = []stun.Attribute{stun.Uint32(pion.AttrChangeRequest, uint32(change))}
	}
	started := d.inFlight.Start(now, stun.Binding(drawID(d.random), stun.PaysForDiscovery, attributes...), d.sched, t)
	d.open++
	d.Send(d.socket(t), to, started.Request)
}

func (d *Discovery) socket(t test) sansio.Socket {
	if t >= testFiltering1 {
		return socketFiltering
	}
	return socketMapping
}

// target is where a test's requests go.
func (d *Discovery) target(t test) netip.AddrPort {
	switch t {
	case testMapping2:
		return netip.AddrPortFrom(d.other.Addr(), d.server.Port())
	case testMapping3:
		return d.other
	default:
		return d.server
	}
}

// HandleDatagram implements sansio.Machine.
func (d *Discovery) HandleDatagram(now time.Time, g sansio.Datagram) {
	m, err := stun.Parse(g.Payload)
	if err != nil || d.over || m.Type.Method != pion.MethodBinding {
		return
	}
	_, t, ok := d.inFlight.Find(m.TransactionID)
	if !ok || d.socket(t) != g.Socket {
		return
	}
	from := plain(g.Remote)
	switch m.Type.Class {
	case pion.ClassSuccessResponse:
		reflexive, err := stun.GetXORAddress(m, pion.AttrXORMappedAddress)
		if err != nil || !d.answersFrom(t, from) {
			return
		}
		d.inFlight.Take(m.TransactionID)
		d.open--
		if t == testMapping1 || t == testFiltering1 {
			d.learnOther(m)
		}
		d.ended(now, t, from, reflexive)
	case pion.ClassErrorResponse:
		d.inFlight.Take(m.TransactionID)
		d.open--
		if d.result.Err == nil {
			d.result.Err = fmt.Errorf("%s: %w", testNames[t], stun.ErrorOf(m))
		}
		d.record(t, netip.AddrPort{}, netip.AddrPort{})
		d.finishIfIdle()
	}
}

// answersFrom reports whether an answer came from where the test asked it to: a
// server that ignores CHANGE-REQUEST proves nothing about a filter.
func (d *Discovery) answersFrom(t test, from netip.AddrPort) bool {
	switch t {
	case testFiltering2:
		return from == d.other
	case testFiltering3:
		return from == netip.AddrPortFrom(d.server.Addr(), d.other.Port())
	default:
		return from == d.target(t)
	}
}

func (d *Discovery) learnOther(m *pion.Message) {
	other, err := stun.GetAddress(m, pion.AttrOtherAddress)
	if err == nil && other.Addr() != d.server.Addr() && other.Port() != d.server.Port() && other.Addr().Is4() == d.server.Addr().Is4() {
		d.other = other
	}
}

func (d *Discovery) record(t test, from, reflexive netip.AddrPort) {
	d.result.Evidence = append(d.result.Evidence, Evidence{Test: testNames[t], To: d.target(t), From: from, Reflexive: reflexive})
}

// ended takes the outcome of a test, answered or not, and goes on.
func (d *Discovery) ended(now time.Time, t test, from, reflexive netip.AddrPort) {
	answered := from.IsValid()
	d.record(t, from, reflexive)
	switch t {
	case testMapping1, testMapping2, testMapping3:
		d.seen[t] = reflexive
		d.mapping(now, t, answered)
	case testFiltering1:
		if answered && d.usable() {
			d.send(now, testFiltering2, d.server, changeAddress|changePort)
		}
	case testFiltering2:
		if answered {
			d.result.Filtering = EndpointIndependent
		} else {
			d.send(now, testFiltering3, d.server, changePort)
		}
	case testFiltering3:
		if answered {
			d.result.Filtering = AddressDependent
		} else {
			d.result.Filtering = AddressAndPortDependent
		}
	}
	d.finishIfIdle()
}

// finishIfIdle ends the discovery when no test is under way.
func (d *Discovery) finishIfIdle() {
	if d.open > 0 || !d.allBound() {
		return
	}
	if d.result.Err == nil && !d.seen[0].IsValid() {
		d.result.Err = ErrUnreachable
	}
	d.finish()
}

// mapping takes the outcome of a mapping test (RFC 5780 section 4.3).
func (d *Discovery) mapping(now time.Time, t test, answered bool) {
	switch {
	case !answered:
		if t != testMapping1 && d.result.Err == nil {
			d.result.Err = fmt.Errorf("%v does not answer: %w", d.target(t), ErrUnreachable)
		}
	case t == testMapping1:
		d.result.Reflexive = d.seen[0]
		if d.usable() {
			d.send(now, testMapping2, d.target(testMapping2), 0)
		}
	case t == testMapping2 && d.seen[1] == d.seen[0]:
		d.result.Mapping = EndpointIndependent
	case t == testMapping2:
		d.result.PortDelta = int(d.seen[1].Port()) - int(d.seen[0].Port())
		d.send(now, testMapping3, d.target(testMapping3), 0)
	case d.seen[2] == d.seen[1]:
		d.result.Mapping = AddressDependent
	default:
		d.result.Mapping = AddressAndPortDependent
		d.result.PortDelta = int(d.seen[2].Port()) - int(d.seen[1].Port())
	}
}

// usable reports whether the server has a second address, and notes if not.
func (d *Discovery) usable() bool {
	if !d.other.IsValid() && d.result.Err == nil {
		d.result.Err = ErrNoAlternate
	}
	return d.other.IsValid()
}

func (d *Discovery) allBound() bool { return d.bound[socketMapping] && d.bound[socketFiltering] }

func (d *Discovery) finish() {
	d.over = true
	d.inFlight = stun.Transactions[test]{}
	for s, bound := range d.bound {
		if bound {
			d.Unbind(sansio.Socket(s))
		}
	}
	d.Emit(d.result)
}

// HandleTimeout implements sansio.Machine.
func (d *Discovery) HandleTimeout(now time.Time) {
	for {
		started, t, failed, ok := d.inFlight.Poll(now)
		if !ok {
			return
		}
		if failed {
			d.open--
			d.ended(now, t, netip.AddrPort{}, netip.AddrPort{})
		} else {
			d.Send(d.socket(t), d.target(t), started.Request)
		}
	}
}

// PollTimeout implements sansio.Machine.
func (d *Discovery) PollTimeout() time.Time { return d.inFlight.Deadline() }
