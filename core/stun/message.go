package stun

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pion/stun/v3"
)

const (
	headerSize = 20
	// Cookie is the magic cookie of RFC 8489 section 5.
	Cookie = 0x2112A442
	// maxUnknown bounds the list in a 420 response, so that it does not grow
	// beyond the request it answers.
	maxUnknown = 16
)

// Errors of Parse. A message with one of them is dropped without an answer.
var (
	ErrNotSTUN     = errors.New("not a STUN message")
	ErrMalformed   = errors.New("malformed STUN message")
	ErrFingerprint = errors.New("STUN message with a wrong FINGERPRINT")
)

// Is reports whether b looks like a STUN message with a magic cookie: enough to
// tell it from other traffic on the same socket (RFC 8489 section 5, RFC 7983).
func Is(b []byte) bool {
	return len(b) >= headerSize && b[0] < 4 && binary.BigEndian.Uint32(b[4:8]) == Cookie &&
		int(binary.BigEndian.Uint16(b[2:4])) == len(b)-headerSize && len(b)%4 == 0
}

// Parse reads one datagram. The message keeps a copy of raw, nothing of it.
// What follows MESSAGE-INTEGRITY, but for MESSAGE-INTEGRITY-SHA256 and
// FINGERPRINT, is not authenticated and left out (RFC 8489 section 14.5), and so is
// what follows MESSAGE-INTEGRITY-SHA256 alone but for FINGERPRINT, which is checked
// where there is one.
func Parse(raw []byte) (*stun.Message, error) { return new(Parser).Parse(raw) }

// Parser reads datagrams one after another into the same memory. The zero value is
// ready. It is not safe for concurrent use.
type Parser struct {
	message    stun.Message
	attributes [parserAttributes]stun.RawAttribute
}

// parserAttributes is what nearly all messages have at most.
const parserAttributes = 10

// strict leaves out what follows MESSAGE-INTEGRITY.
var strict = stun.WithStrict(true)

// Parse is the function of this name. The message, and all that points into it, is
// valid until the next call.
func (p *Parser) Parse(raw []byte) (*stun.Message, error) {
	if !Is(raw) {
		return nil, ErrNotSTUN
	}
	m := &p.message
	if m.Attributes == nil {
		m.Attributes = p.attributes[:0]
		strict(m)
	}
	m.Raw = append(m.Raw[:0], raw...)
	if err := m.Decode(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	for i, a := range m.Attributes {
		switch a.Type {
		case stun.AttrMessageIntegrity:
			if len(a.Value) != integritySize {
				return nil, fmt.Errorf("%w: MESSAGE-INTEGRITY of %d bytes, want %d", ErrMalformed, len(a.Value), integritySize)
			}
		case stun.AttrMessageIntegritySHA256:
			if !cutRightly(len(a.Value)) {
				return nil, fmt.Errorf("%w: MESSAGE-INTEGRITY-SHA256 of %d bytes, want 16 to 32, a multiple of four", ErrMalformed, len(a.Value))
			}
		case stun.AttrFingerprint:
			// The last eight bytes, or it says nothing about what follows.
			if i != len(m.Attributes)-1 || len(a.Value) != 4 || &a.Value[0] != &m.Raw[len(m.Raw)-4] {
				return nil, fmt.Errorf("%w: FINGERPRINT is not the last attribute", ErrMalformed)
			}
			if stun.Fingerprint.Check(m) != nil {
				return nil, ErrFingerprint
			}
		}
	}
	return m, nil
}

// Build makes a message. Attributes come in the order given; an Integrity and
// stun.Fingerprint belong last. The transaction id is the caller's, so that
// nothing here draws randomness.
func Build(method stun.Method, class stun.MessageClass, id [stun.TransactionIDSize]byte, attributes ...stun.Setter) (*stun.Message, error) {
	m := stun.New()
	m.Type = stun.NewType(method, class)
	m.TransactionID = id
	m.WriteHeader()
	for _, a := range attributes {
		if err := a.AddTo(m); err != nil {
			return nil, fmt.Errorf("build %v: %w", m.Type, err)
		}
	}
	return m, nil
}

// Attribute is a raw attribute to put into a message.
type Attribute struct {
	Type  stun.AttrType
	Value []byte
}

// AddTo implements stun.Setter.
func (a Attribute) AddTo(m *stun.Message) error {
	if room := 0xFFFF - int(m.Length) - 4; len(a.Value) > room {
		return fmt.Errorf("attribute %v of %d bytes: only %d fit", a.Type, len(a.Value), max(0, room))
	}
	m.Add(a.Type, a.Value)
	return nil
}

// Uint32 is an attribute that holds a number, as LIFETIME does.
func Uint32(t stun.AttrType, v uint32) Attribute {
	return Attribute{Type: t, Value: binary.BigEndian.AppendUint32(nil, v)}
}

// GetUint32 reads an attribute of exactly four bytes.
func GetUint32(m *stun.Message, t stun.AttrType) (uint32, error) {
	v, err := GetFixed(m, t, 4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(v), nil
}

// GetFixed reads an attribute of exactly size bytes; the slice is the message's.
func GetFixed(m *stun.Message, t stun.AttrType, size int) ([]byte, error) {
	v, err := m.Get(t)
	if err != nil {
		return nil, &AttributeError{Type: t, Missing: true}
	}
	if len(v) != size {
		return nil, &AttributeError{Type: t, Size: len(v), Want: size}
	}
	return v, nil
}

// AttributeError says that an attribute is missing or has another size than it must
// have. Its text is made when somebody reads it: many attributes are optional.
type AttributeError struct {
	Type       stun.AttrType
	Missing    bool
	Size, Want int
}

func (e *AttributeError) Error() string {
	if e.Missing {
		return fmt.Sprintf("%v is missing", e.Type)
	}
	return fmt.Sprintf("%v of %d bytes, want %d", e.Type, e.Size, e.Want)
}

// UnknownRequired lists the comprehension-required attributes of m that are not
// among known, each once, at most 16. Those of authentication are always known.
func UnknownRequired(m *stun.Message, known ...stun.AttrType) []stun.AttrType {
	var unknown []stun.AttrType
next:
	for _, a := range m.Attributes {
		switch a.Type {
		case stun.AttrUsername, stun.AttrUserhash, stun.AttrRealm, stun.AttrNonce, stun.AttrPasswordAlgorithm,
			stun.AttrMessageIntegrity, stun.AttrMessageIntegritySHA256:
			continue
		}
		if !a.Type.Required() || len(unknown) == maxUnknown {
			continue
		}
		for _, k := range known {
			if a.Type == k {
				continue next
			}
		}
		for _, u := range unknown {
			if a.Type == u {
				continue next
			}
		}
		unknown = append(unknown, a.Type)
	}
	return unknown
}
