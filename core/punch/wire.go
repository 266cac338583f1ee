package punch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// attrNomination carries the number of a nomination, 32 bits, in checks with
// USE-CANDIDATE: of two nominations the higher number is the later one. The
// number is the one that libwebrtc uses for draft-thatcher-ice-renomination; it
// is comprehension-optional.
const attrNomination pion.AttrType = 0xC001

// codeRoleConflict is 487 (RFC 8445 section 7.3.1.1).
const codeRoleConflict = 487

type transactionID = [pion.TransactionIDSize]byte

// credentials are one side's ufrag and password (RFC 8445 section 5.3).
type credentials struct {
	ufrag, pwd string
}

func (c credentials) integrity() stun.Integrity { return stun.ShortTerm(c.pwd) }

// check is a connectivity check as it is on the wire.
type check struct {
	id           transactionID
	priority     uint32
	useCandidate bool
	// nomination is 0 where the peer does not number its nominations.
	nomination  uint32
	controlling bool
	tieBreaker  uint64
}

var errNotOurs = errors.New("not a STUN message of this session")

// parse reads a STUN message, which has to have a FINGERPRINT
// (RFC 8445 section 7.1): the socket carries other protocols too.
func parse(payload []byte) (*pion.Message, error) {
	m, err := stun.Parse(payload)
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
	if err != nil || string(username) != local.ufrag+":"+remote.ufrag {
		return c, errNotOurs
	}
	if err := local.integrity().Check(m); err != nil {
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

// writeCheck makes a connectivity check (RFC 8445 section 7.1).
func writeCheck(c check, local, remote credentials) ([]byte, error) {
	role := pion.AttrICEControlled
	if c.controlling {
		role = pion.AttrICEControlling
	}
	attributes := []pion.Setter{
		pion.NewUsername(remote.ufrag + ":" + local.ufrag),
		stun.Uint32(pion.AttrPriority, c.priority),
		stun.Attribute{Type: role, Value: binary.BigEndian.AppendUint64(nil, c.tieBreaker)},
	}
	if c.useCandidate {
		attributes = append(attributes,
			stun.Attribute{Type: pion.AttrUseCandidate}, stun.Uint32(attrNomination, c.nomination))
	}
	return sealed(stun.Build(pion.MethodBinding, pion.ClassRequest, c.id,
		append(attributes, remote.integrity(), pion.Fingerprint)...))
}

// writeSuccess answers a check. What protected the request protects the
// response (RFC 8445 section 7.3).
func writeSuccess(request *pion.Message, mapped netip.AddrPort, local credentials) ([]byte, error) {
	return sealed(stun.Success(request,
		stun.XORAddress{Type: pion.AttrXORMappedAddress, Address: mapped}, local.integrity(), pion.Fingerprint))
}

func writeError(request *pion.Message, code int, reason string, local credentials) ([]byte, error) {
	return sealed(stun.Error(request, code, reason, local.integrity(), pion.Fingerprint))
}

func writeUnknown(request *pion.Message, unknown []pion.AttrType, local credentials) ([]byte, error) {
	return sealed(stun.Unknown(request, unknown, local.integrity(), pion.Fingerprint))
}

// writeIndication makes a keepalive (RFC 8445 section 11).
func writeIndication(id transactionID) ([]byte, error) {
	return sealed(stun.Build(pion.MethodBinding, pion.ClassIndication, id, pion.Fingerprint))
}

func sealed(m *pion.Message, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("punch: %w", err)
	}
	return m.Raw, nil
}
