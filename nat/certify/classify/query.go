package classify

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"
)

// Flags of CHANGE-REQUEST (RFC 5780 section 7.2).
const (
	changeAddress = 0x04
	changePort    = 0x02
)

// query is one request, repeated until it is answered, or until silence is the
// answer.
type query struct {
	id       [pion.TransactionIDSize]byte
	from, at *socket        // at: where the answer must arrive
	to       netip.AddrPort // where it goes
	origin   netip.AddrPort // where the answer must come from; zero: a request that is to come back by hairpin
	change   byte
	port     uint16 // RESPONSE-PORT; 0: none
	copies   int    // still to be sent
	next     time.Time
	raw      []byte

	answered  bool
	reflexive netip.AddrPort
	other     netip.AddrPort
	source    netip.AddrPort // of a hairpinned request
	misled    netip.AddrPort // whence an answer came that was asked from elsewhere
	refused   string         // the server's error
	done      func(now time.Time, q *query)
}

// attrPad is comprehension-optional and in nobody's registry; padding is three more
// addresses of IPv6 with their headers, and a fingerprint.
const (
	attrPad pion.AttrType = 0xFFF0
	padding               = 4*24 + 8 - 4
)

// ask sends a Binding request.
func (m *Machine) ask(now time.Time, q *query) {
	if q.at == nil {
		q.at = q.from
	}
	if _, err := io.ReadFull(m.cfg.Rand, q.id[:]); err != nil {
		m.fail(fmt.Errorf("classify: draw a transaction id: %w", err))
		return
	}
	setters := []pion.Setter{pion.NewTransactionIDSetter(q.id), pion.BindingRequest}
	if q.change != 0 {
		setters = append(setters, pion.RawAttribute{Type: pion.AttrChangeRequest, Value: []byte{0, 0, 0, q.change}})
	}
	if q.port != 0 {
		setters = append(setters, pion.RawAttribute{Type: pion.AttrResponsePort, Value: append(binary.BigEndian.AppendUint16(nil, q.port), 0, 0)})
	}
	// As long as the answer, or a server that never sends strangers more than came from
	// them holds it back. Others ignore what they do not know.
	setters = append(setters, pion.RawAttribute{Type: attrPad, Value: make([]byte, padding)})
	msg, err := pion.Build(setters...)
	if err != nil {
		m.fail(fmt.Errorf("classify: build a request: %w", err))
		return
	}
	q.raw = msg.Raw
	q.copies = m.cfg.Copies
	m.live = append(m.live, q)
	m.transmit(now, q)
}

func (m *Machine) transmit(now time.Time, q *query) {
	m.sends = append(m.sends, Send{Socket: q.from.number, To: q.to, Payload: q.raw})
	q.copies--
	q.next = now.Add(m.cfg.RTO)
	if q.copies == 0 {
		q.next = now.Add(2 * m.cfg.RTO)
	}
}

func (m *Machine) finish(now time.Time, q *query) {
	m.live = slices.DeleteFunc(m.live, func(o *query) bool { return o == q })
	q.done(now, q)
}

// take looks at a message with the query's id; true ends the query.
func (q *query) take(m *Machine, socket int, from netip.AddrPort, msg *pion.Message) bool {
	if msg.Type.Class == pion.ClassRequest {
		if q.origin.IsValid() || socket != q.at.number {
			return false
		}
		q.answered, q.source = true, from
		return true
	}
	if !q.origin.IsValid() || socket != q.at.number {
		return false
	}
	switch msg.Type.Class {
	case pion.ClassErrorResponse:
		q.refused = "an error without a code"
		var code pion.ErrorCodeAttribute
		if code.GetFrom(msg) == nil {
			q.refused = fmt.Sprintf("error %d %s", code.Code, code.Reason)
		}
		return true
	case pion.ClassSuccessResponse:
		if from != q.origin {
			q.misled = from
			return false
		}
		masked, plain, ok := reflexive(msg)
		if !ok {
			return false
		}
		if plain.IsValid() && plain != masked {
			m.rewrote = fmt.Sprintf("the server wrote %s, and %s arrived: something on the way rewrites addresses in payload", masked, plain)
		}
		q.answered, q.reflexive, q.other = true, masked, address(msg, pion.AttrOtherAddress)
		return true
	}
	return false
}

// reflexive gives the address that the server saw, masked and plain; a server of
// RFC 3489 gives the plain one only.
func reflexive(msg *pion.Message) (masked, plain netip.AddrPort, ok bool) {
	plain = address(msg, pion.AttrMappedAddress)
	var x pion.XORMappedAddress
	if x.GetFrom(msg) == nil {
		masked = addrPort(x.IP, x.Port)
	}
	if !masked.IsValid() {
		masked = plain
	}
	return masked, plain, masked.IsValid()
}

func address(msg *pion.Message, attribute pion.AttrType) netip.AddrPort {
	var a pion.MappedAddress
	if a.GetFromAs(msg, attribute) != nil {
		return netip.AddrPort{}
	}
	return addrPort(a.IP, a.Port)
}

func addrPort(ip []byte, port int) netip.AddrPort {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || port < 1 || port > 65535 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port))
}
