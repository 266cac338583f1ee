package punch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/pion/stun/v3"
)

// attrNomination carries the number of a nomination, 32 bits, in checks with
// USE-CANDIDATE: of two nominations the higher number is the later one. The
// number is the one that libwebrtc uses for draft-thatcher-ice-renomination; it
// is comprehension-optional.
const attrNomination stun.AttrType = 0xC001

// errorRoleConflict is 487 (RFC 8445 section 7.3.1.1).
const errorRoleConflict = stun.CodeRoleConflict

// credentials are one side's ufrag and password (RFC 8445 section 5.3).
type credentials struct {
	ufrag, pwd string
}

// check is a connectivity check as read from the wire.
type check struct {
	id           [stun.TransactionIDSize]byte
	priority     uint32
	useCandidate bool
	// nomination is 0 where the peer does not number its nominations.
	nomination  uint32
	controlling bool
	tieBreaker  uint64
}

var (
	errNotOurs     = errors.New("not a STUN message of this session")
	errNoIntegrity = errors.New("message integrity is missing or wrong")
)

// unknownAttributes is the error for requests with attributes that have to be
// understood and are not (RFC 8489 section 6.3.1).
type unknownAttributes []stun.AttrType

func (u unknownAttributes) Error() string {
	return fmt.Sprintf("unknown comprehension-required attributes %v", []stun.AttrType(u))
}

// decode reads a STUN message with FINGERPRINT. Attributes after
// MESSAGE-INTEGRITY are dropped, for they are not protected
// (RFC 8489 section 14.5).
func decode(payload []byte) (*stun.Message, error) {
	m := stun.NewWithOptions(stun.WithStrict(true))
	if _, err := m.Write(payload); err != nil {
		return nil, errNotOurs
	}
	if len(m.Raw) != int(m.Length)+headerSize {
		return nil, errNotOurs
	}
	if stun.Fingerprint.Check(m) != nil {
		return nil, errNotOurs
	}
	return m, nil
}

const headerSize = 20

// LocalUfrag reads from a check which agent it is for: the first half of its
// USERNAME (RFC 8445 section 7.2.2). It allocates nothing and proves nothing;
// false means that the payload is no Binding request with a user name.
func LocalUfrag(payload []byte) (string, bool) {
	if len(payload) < headerSize || binary.BigEndian.Uint16(payload) != bindingRequest {
		return "", false
	}
	for rest := payload[headerSize:]; len(rest) >= 4; {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if len(rest) < 4+size {
			return "", false
		}
		if stun.AttrType(kind) == stun.AttrUsername {
			for i, c := range rest[4 : 4+size] {
				if c == ':' {
					return string(rest[4 : 4+i]), true
				}
			}
			return "", false
		}
		padded := 4 + (size+3)&^3
		if len(rest) < padded {
			return "", false
		}
		rest = rest[padded:]
	}
	return "", false
}

const bindingRequest = 0x0001

// readCheck verifies a request against the local credentials.
func readCheck(m *stun.Message, local, remote credentials) (check, error) {
	var c check
	username, err := m.Get(stun.AttrUsername)
	if err != nil || string(username) != local.ufrag+":"+remote.ufrag {
		return c, errNotOurs
	}
	if stun.NewShortTermIntegrity(local.pwd).Check(m) != nil {
		return c, errNoIntegrity
	}
	var unknown unknownAttributes
	for _, attribute := range m.Attributes {
		switch attribute.Type {
		case stun.AttrPriority, stun.AttrUseCandidate, stun.AttrUsername,
			stun.AttrMessageIntegrity, stun.AttrMessageIntegritySHA256:
		default:
			if attribute.Type.Required() {
				unknown = append(unknown, attribute.Type)
			}
		}
	}
	c.id = m.TransactionID
	if unknown != nil {
		return c, unknown
	}
	if v, err := m.Get(stun.AttrPriority); err == nil && len(v) == 4 {
		c.priority = binary.BigEndian.Uint32(v)
	}
	c.useCandidate = m.Contains(stun.AttrUseCandidate)
	if v, err := m.Get(attrNomination); err == nil && len(v) == 4 {
		c.nomination = binary.BigEndian.Uint32(v)
	}
	if v, err := m.Get(stun.AttrICEControlling); err == nil && len(v) == 8 {
		c.controlling, c.tieBreaker = true, binary.BigEndian.Uint64(v)
	} else if v, err := m.Get(stun.AttrICEControlled); err == nil && len(v) == 8 {
		c.tieBreaker = binary.BigEndian.Uint64(v)
	}
	return c, nil
}

// writeCheck makes a connectivity check (RFC 8445 section 7.1).
func writeCheck(c check, local, remote credentials) ([]byte, error) {
	role := stun.AttrICEControlled
	if c.controlling {
		role = stun.AttrICEControlling
	}
	setters := []stun.Setter{
		stun.BindingRequest,
		stun.NewTransactionIDSetter(c.id),
		stun.NewUsername(remote.ufrag + ":" + local.ufrag),
		stun.RawAttribute{Type: stun.AttrPriority, Value: binary.BigEndian.AppendUint32(nil, c.priority)},
		stun.RawAttribute{Type: role, Value: binary.BigEndian.AppendUint64(nil, c.tieBreaker)},
	}
	if c.useCandidate {
		setters = append(setters,
			stun.RawAttribute{Type: stun.AttrUseCandidate},
			stun.RawAttribute{Type: attrNomination, Value: binary.BigEndian.AppendUint32(nil, c.nomination)})
	}
	return seal(remote.pwd, setters...)
}

// writeSuccess answers a check: the response is protected by the password that
// protected the request (RFC 8445 section 7.3).
func writeSuccess(id [stun.TransactionIDSize]byte, mapped netip.AddrPort, pwd string) ([]byte, error) {
	return seal(pwd, stun.BindingSuccess, stun.NewTransactionIDSetter(id),
		&stun.XORMappedAddress{IP: mapped.Addr().AsSlice(), Port: int(mapped.Port())})
}

func writeError(id [stun.TransactionIDSize]byte, code stun.ErrorCode, unknown []stun.AttrType, pwd string) ([]byte, error) {
	setters := []stun.Setter{stun.BindingError, stun.NewTransactionIDSetter(id), code}
	if unknown != nil {
		setters = append(setters, stun.UnknownAttributes(unknown))
	}
	return seal(pwd, setters...)
}

// writeIndication makes a keepalive (RFC 8445 section 11).
func writeIndication(id [stun.TransactionIDSize]byte) ([]byte, error) {
	m, err := stun.Build(stun.NewType(stun.MethodBinding, stun.ClassIndication),
		stun.NewTransactionIDSetter(id), stun.Fingerprint)
	if err != nil {
		return nil, err
	}
	return m.Raw, nil
}

func seal(pwd string, setters ...stun.Setter) ([]byte, error) {
	setters = append(setters, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
	m, err := stun.Build(setters...)
	if err != nil {
		return nil, err
	}
	return m.Raw, nil
}
