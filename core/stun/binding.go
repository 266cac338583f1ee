package stun

import "github.com/pion/stun/v3"

// How long a Binding request is that pays for its answer, so that a server which never
// sends strangers more bytes than it got answers at once.
const (
	// PaysForMapped is as long as an answer with XOR-MAPPED-ADDRESS and FINGERPRINT.
	PaysForMapped = headerSize + addressSize + fingerprintSize
	// PaysForDiscovery is as long as one with MAPPED-ADDRESS, RESPONSE-ORIGIN and
	// OTHER-ADDRESS as well (RFC 5780).
	PaysForDiscovery = headerSize + 4*addressSize + fingerprintSize

	addressSize     = attributeHeader + 4 + 16 // of IPv6
	fingerprintSize = attributeHeader + 4
)

var zeros [PaysForDiscovery]byte

// Binding is a Binding request with FINGERPRINT that is as long as size, PaysForMapped or
// PaysForDiscovery, by AttrPad.
func Binding(id [stun.TransactionIDSize]byte, size int, attributes ...Attribute) []byte {
	w := Write(stun.MethodBinding, stun.ClassRequest, id, size)
	for _, a := range attributes {
		w.Add(a)
	}
	if missing := size - w.Len() - attributeHeader - fingerprintSize; missing >= 0 {
		w.Bytes(AttrPad, zeros[:missing])
	}
	w.Fingerprint()
	return w.Raw()
}
