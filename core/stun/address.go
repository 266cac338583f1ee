package stun

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/pion/stun/v3"
)

const (
	familyIPv4 = 1
	familyIPv6 = 2
)

// XORAddress is an attribute in the form of XOR-MAPPED-ADDRESS (RFC 8489
// section 14.2), whose address no NAT that rewrites payloads recognises.
type XORAddress struct {
	Type    stun.AttrType
	Address netip.AddrPort
}

// AddTo implements stun.Setter.
func (a XORAddress) AddTo(m *stun.Message) error {
	v, err := encodeAddress(a.Type, a.Address)
	if err != nil {
		return err
	}
	mask(v, m.TransactionID)
	m.Add(a.Type, v)
	return nil
}

// GetXORAddress reads an attribute in the form of XOR-MAPPED-ADDRESS.
func GetXORAddress(m *stun.Message, t stun.AttrType) (netip.AddrPort, error) {
	v, err := m.Get(t)
	if err != nil {
		return netip.AddrPort{}, &AttributeError{Type: t, Missing: true}
	}
	if len(v) != 8 && len(v) != 20 {
		return netip.AddrPort{}, fmt.Errorf("%v of %d bytes, want 8 or 20", t, len(v))
	}
	var plain [20]byte
	copy(plain[:], v)
	mask(plain[:len(v)], m.TransactionID)
	return decodeAddress(t, plain[:len(v)])
}

// Address is an attribute in the form of MAPPED-ADDRESS (RFC 8489 section 14.1).
type Address struct {
	Type    stun.AttrType
	Address netip.AddrPort
}

// AddTo implements stun.Setter.
func (a Address) AddTo(m *stun.Message) error {
	v, err := encodeAddress(a.Type, a.Address)
	if err != nil {
		return err
	}
	m.Add(a.Type, v)
	return nil
}

// GetAddress reads an attribute in the form of MAPPED-ADDRESS.
func GetAddress(m *stun.Message, t stun.AttrType) (netip.AddrPort, error) {
	v, err := m.Get(t)
	if err != nil {
		return netip.AddrPort{}, &AttributeError{Type: t, Missing: true}
	}
	return decodeAddress(t, v)
}

func encodeAddress(t stun.AttrType, a netip.AddrPort) ([]byte, error) {
	addr := a.Addr().Unmap()
	if !addr.IsValid() {
		return nil, fmt.Errorf("%v: no address given", t)
	}
	family := byte(familyIPv4)
	if addr.Is6() {
		family = familyIPv6
	}
	v := binary.BigEndian.AppendUint16([]byte{0, family}, a.Port())
	return append(v, addr.AsSlice()...), nil
}

func decodeAddress(t stun.AttrType, v []byte) (netip.AddrPort, error) {
	// The first byte is to be ignored (RFC 8489 section 14.1).
	switch {
	case len(v) == 8 && v[1] == familyIPv4, len(v) == 20 && v[1] == familyIPv6:
	default:
		return netip.AddrPort{}, fmt.Errorf("%v of %d bytes is neither an IPv4 nor an IPv6 address", t, len(v))
	}
	addr, _ := netip.AddrFromSlice(v[4:])
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(v[2:4])), nil
}

// mask XORs port and address with the cookie and the transaction id.
func mask(v []byte, id [stun.TransactionIDSize]byte) {
	var key [16]byte
	binary.BigEndian.PutUint32(key[:4], Cookie)
	copy(key[4:], id[:])
	v[2] ^= key[0]
	v[3] ^= key[1]
	for i := 4; i < len(v); i++ {
		v[i] ^= key[i-4]
	}
}
