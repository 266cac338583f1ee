package punch

import (
	"encoding/binary"
	"errors"
	"net/netip"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// attrNomination carries the number of a nomination, 32 bits, in checks with
// USE-CANDIDATE: of two nominations the higher number is the later one. The
// number is the one that libwebrtc uses for draft-thatcher-ice-renomination; it
// is comprehension-optional.
const attrNomination pion.AttrType = 0xC001

// attrFill makes a check longer, so that it pays for what it asks for; what is in it
// says nothing. PADDING (RFC 5780 section 7.6) would have to be understood.
const attrFill pion.AttrType = 0xFFF1

var filling [paidSize]byte

// codeRoleConflict is 487 (RFC 8445 section 7.3.1.1).
const codeRoleConflict = 487

type transactionID = [pion.TransactionIDSize]byte

// credentials are one side's ufrag and password (RFC 8445 section 5.3).
type credentials struct {
	ufrag     string
	integrity stun.Integrity
}

func newCredentials(ufrag, pwd string) credentials { return credentials{ufrag, stun.ShortTerm(pwd)} }

// check is a connectivity check as it is on the wire.
type check struct {
	id           transactionID
	priority     uint32
	useCandidate bool
	// nomination is 0 where the peer does not number its nominations.
	nomination  uint32
	controlling bool
	tieBreaker  uint64
	ride        []byte // of a Rider; nil: nothing
	fill        int    // bytes of attrFill, with its header; 0: there is none
}

var errNotOurs = errors.New("not a STUN message of this session")

// parse reads a STUN message, which has to have a FINGERPRINT
// (RFC 8445 section 7.1): the socket carries other protocols too.
func parse(p *stun.Parser, payload []byte) (*pion.Message, error) {
	m, err := p.Parse(payload)
	if err != nil || !m.Contains(pion.AttrFingerprint) {
		return nil, errNotOurs
	}
	return m, nil
}

// LocalUfrag reads from a check which agent it is for: the first half of its
// USERNAME (RFC 8445 section 7.2.2). It proves nothing; false means that the
// payload is no Binding request with such a user name.
func LocalUfrag(payload []byte) (string, bool) {
	if !stun.Is(payload) || binary.BigEndian.Uint16(payload) != bindingRequest {
		return "", false
	}
	for rest := payload[headerSize:]; len(rest) >= 4; {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := 4 + (size+3)&^3
		if len(rest) < padded {
			return "", false
		}
		if pion.AttrType(kind) != pion.AttrUsername {
			rest = rest[padded:]
			continue
		}
		for i, c := range rest[4 : 4+size] {
			if c == ':' {
				return string(rest[4 : 4+i]), true
			}
		}
		return "", false
	}
	return "", false
}

const (
	headerSize     = 20
	bindingRequest = 0x0001
)

// readCheck verifies a request against the credentials. The error is
// errNotOurs where it is for somebody else, and otherwise one of package stun's.
func readCheck(m *pion.Message, local, remote credentials) (check, error) {
	c := check{id: m.TransactionID}
	username, err := m.Get(pion.AttrUsername)
	n := len(local.ufrag)
	if err != nil || len(username) < n+1 || string(username[:n]) != local.ufrag || username[n] != ':' ||
		remote.ufrag != "" && string(username[n+1:]) != remote.ufrag {
		return c, errNotOurs
	}
	if err := local.integrity.Check(m); err != nil {
		return c, err
	}
	c.priority, _ = stun.GetUint32(m, pion.AttrPriority) // 0 is none
	c.useCandidate = m.Contains(pion.AttrUseCandidate)
	c.nomination, _ = stun.GetUint32(m, attrNomination)
	role := pion.AttrICEControlled
	if m.Contains(pion.AttrICEControlling) {
		role, c.controlling = pion.AttrICEControlling, true
	}
	if v, err := stun.GetFixed(m, role, 8); err == nil {
		c.tieBreaker = binary.BigEndian.Uint64(v)
	}
	return c, nil
}

// Room for the attributes of messages: of a check all but the ufrags and what rides,
// of an answer all but what rides and the text of an error.
const (
	checkRoom  = 4 + 3 + 8 + 12 + 4 + 8 + 24 + 8
	answerRoom = 24 + 24 + 8
)

// writeCheck makes a connectivity check (RFC 8445 section 7.1).
func writeCheck(c check, local, remote credentials) []byte {
	w := stun.Write(pion.MethodBinding, pion.ClassRequest, c.id, checkRoom+len(remote.ufrag)+1+len(local.ufrag)+rideRoom(c.ride)+c.fill)
	w.Text(pion.AttrUsername, remote.ufrag, ":", local.ufrag)
	w.Uint32(pion.AttrPriority, c.priority)
	role := pion.AttrICEControlled
	if c.controlling {
		role = pion.AttrICEControlling
	}
	w.Uint64(role, c.tieBreaker)
	if c.useCandidate {
		w.Bytes(pion.AttrUseCandidate)
		if c.nomination != 0 {
			w.Uint32(attrNomination, c.nomination)
		}
	}
	if c.ride != nil {
		w.Bytes(attrRide, c.ride)
	}
	if c.fill > 0 {
		w.Bytes(attrFill, filling[:c.fill-4])
	}
	return seal(w, remote)
}

// writeSuccess answers a check. What protected the request protects the
// response (RFC 8445 section 7.3). ride is a Rider's; nil: nothing.
func writeSuccess(request *pion.Message, mapped netip.AddrPort, local credentials, ride []byte) []byte {
	w := stun.Write(request.Type.Method, pion.ClassSuccessResponse, request.TransactionID, answerRoom+rideRoom(ride))
	w.XORAddress(pion.AttrXORMappedAddress, mapped)
	if ride != nil {
		w.Bytes(attrRide, ride)
	}
	return seal(w, local)
}

func writeError(request *pion.Message, code int, reason string, local credentials) []byte {
	w := answerTo(request, pion.ClassErrorResponse)
	w.ErrorCode(code, reason)
	return seal(w, local)
}

func writeUnknown(request *pion.Message, unknown []pion.AttrType, local credentials) []byte {
	w := answerTo(request, pion.ClassErrorResponse)
	w.ErrorCode(stun.CodeUnknownAttribute, "Unknown Attribute")
	var types []byte
	for _, t := range unknown {
		types = binary.BigEndian.AppendUint16(types, t.Value())
	}
	w.Bytes(pion.AttrUnknownAttributes, types)
	return seal(w, local)
}

// writeIndication makes a keepalive (RFC 8445 section 11).
func writeIndication(id transactionID) []byte {
	w := stun.Write(pion.MethodBinding, pion.ClassIndication, id, 8)
	w.Fingerprint()
	return w.Raw()
}

func answerTo(request *pion.Message, class pion.MessageClass) stun.Writer {
	return stun.Write(request.Type.Method, class, request.TransactionID, answerRoom)
}

// seal ends a message.
func seal(w stun.Writer, by credentials) []byte {
	w.Sign(by.integrity)
	w.Fingerprint()
	return w.Raw()
}
