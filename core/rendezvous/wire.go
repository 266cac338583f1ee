package rendezvous

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"unicode/utf8"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/stun"
)

const (
	// MaxOffer is the most bytes of an offer: with all else, a CONNECT stays
	// below 1200 bytes, which every path carries unfragmented.
	MaxOffer = 900
	// MaxRoomName is the most bytes of a room's name.
	MaxRoomName = 64
	// MaxRoomMembers is how many peers a room holds.
	MaxRoomMembers = 64
	// SessionSize is the length of a session id.
	SessionSize = 16

	// pageSize is how many members one response lists: 768 bytes.
	pageSize = 24
	// challengePadding makes the first, unauthenticated REGISTER at least as
	// long as its answer, or the server does not answer.
	challengePadding = 64
	sequenceSize     = 8
)

type transactionID = [pion.TransactionIDSize]byte

// SessionID names a session between two peers; the initiator draws it.
type SessionID = [SessionSize]byte

// sharedKey is what authenticates messages between a peer and a rendezvous.
func sharedKey(own identity.Key, other, peer, server identity.ID) (stun.Integrity, error) {
	secret, err := own.Shared(other)
	if err != nil {
		return nil, err
	}
	return identity.Derive(secret, "rendezvous", peer[:], server[:]), nil
}

func idAttribute(t pion.AttrType, id identity.ID) stun.Attribute {
	return stun.Attribute{Type: t, Value: id[:]}
}

func getID(m *pion.Message, t pion.AttrType) (identity.ID, error) {
	v, err := stun.GetFixed(m, t, identity.Size)
	if err != nil {
		return identity.ID{}, err
	}
	return identity.IDFromBytes(v)
}

func sequenceAttribute(v uint64) stun.Attribute {
	return stun.Attribute{Type: stun.AttrSequence, Value: binary.BigEndian.AppendUint64(nil, v)}
}

func getSequence(m *pion.Message) (uint64, error) {
	v, err := stun.GetFixed(m, stun.AttrSequence, sequenceSize)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

func getSession(m *pion.Message) (SessionID, error) {
	v, err := stun.GetFixed(m, stun.AttrSession, SessionSize)
	if err != nil {
		return SessionID{}, err
	}
	return SessionID(v), nil
}

// errOffer is what an offer past MaxOffer gets.
var errOffer = fmt.Errorf("OFFER is longer than %d bytes", MaxOffer)

// getOffer copies the offer; nil if there is none.
func getOffer(m *pion.Message) ([]byte, error) {
	v, err := m.Get(stun.AttrOffer)
	if err != nil {
		return nil, nil
	}
	if len(v) > MaxOffer {
		return nil, errOffer
	}
	return append([]byte{}, v...), nil
}

// checkRoom says what is wrong with a room's name.
func checkRoom(name string) error {
	switch {
	case name == "":
		return errors.New("a room needs a name")
	case len(name) > MaxRoomName:
		return fmt.Errorf("room name of %d bytes: at most %d", len(name), MaxRoomName)
	case !utf8.ValidString(name):
		return errors.New("room name is not UTF-8")
	}
	return nil
}

func getRoom(m *pion.Message) (string, error) {
	v, err := m.Get(stun.AttrRoom)
	if err != nil {
		return "", errors.New("ROOM is missing")
	}
	return string(v), checkRoom(string(v))
}

func membersAttribute(ids []identity.ID) stun.Attribute {
	v := make([]byte, 0, len(ids)*identity.Size)
	for _, id := range ids {
		v = append(v, id[:]...)
	}
	return stun.Attribute{Type: stun.AttrMembers, Value: v}
}

func getMembers(m *pion.Message) ([]identity.ID, error) {
	v, err := m.Get(stun.AttrMembers)
	if err != nil {
		return nil, errors.New("MEMBERS is missing")
	}
	if len(v)%identity.Size != 0 || len(v) > pageSize*identity.Size {
		return nil, fmt.Errorf("MEMBERS of %d bytes", len(v))
	}
	var ids []identity.ID
	for ; len(v) > 0; v = v[identity.Size:] {
		ids = append(ids, identity.ID(v[:identity.Size]))
	}
	return ids, nil
}

// seal builds a message whose contents cannot fail to be encoded: their sizes
// are checked where they enter. key nil: not authenticated. Of the message only
// its type, its id and its bytes are there.
func seal(method pion.Method, class pion.MessageClass, id transactionID, key stun.Integrity, attributes ...pion.Setter) *pion.Message {
	room := sealSize
	for _, a := range attributes {
		if a, ok := a.(stun.Attribute); ok {
			room += 4 + (len(a.Value)+3)&^3
		} else {
			room += 24 // an address, a short text
		}
	}
	w := stun.Write(method, class, id, room)
	for _, a := range attributes {
		switch a := a.(type) {
		case stun.Attribute:
			w.Add(a)
		case stun.XORAddress:
			w.XORAddress(a.Type, a.Address)
		case pion.ErrorCodeAttribute:
			w.ErrorCode(int(a.Code), string(a.Reason))
		default:
			w.Add(encoded(id, a))
		}
	}
	return &pion.Message{Type: pion.NewType(method, class), TransactionID: id, Raw: finish(w, key)}
}

// sealSize is what integrity and fingerprint take.
const sealSize = 24 + 8

// finish ends a message. key nil: not authenticated.
func finish(w stun.Writer, key stun.Integrity) []byte {
	w.Sign(key)
	w.Fingerprint()
	return w.Raw()
}

// encoded has the codec write an attribute of its own.
func encoded(id transactionID, a pion.Setter) stun.Attribute {
	m, err := stun.Build(pion.MethodBinding, pion.ClassRequest, id, a)
	if err != nil || len(m.Attributes) != 1 {
		panic(fmt.Sprintf("rendezvous: attribute %T: %v", a, err))
	}
	return stun.Attribute{Type: m.Attributes[0].Type, Value: m.Attributes[0].Value}
}

// drawID draws a transaction id. Readers of randomness do not fail: those of
// the system abort the process instead, those of tests are endless.
func drawID(r io.Reader) transactionID {
	id, err := stun.NewID(r)
	if err != nil {
		panic("rendezvous: random source: " + err.Error())
	}
	return id
}

// plain is a, its IPv4 address never in the IPv6-mapped form.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
