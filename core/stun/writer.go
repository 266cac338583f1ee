package stun

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"

	"github.com/pion/stun/v3"
)

const (
	attributeHeader = 4
	// fingerprintXOR is RFC 8489 section 14.7's.
	fingerprintXOR = 0x5354554e
)

// Writer writes one message, attribute after attribute, into memory of its own. It
// gives the same bytes as Build, without a value and an interface for each
// attribute: for messages that are sent for every session or packet.
type Writer struct{ raw []byte }

// Write begins a message. room is how many bytes its attributes take, their headers
// and padding, integrity and fingerprint included; where it is too little, more is
// allocated.
func Write(method stun.Method, class stun.MessageClass, id [stun.TransactionIDSize]byte, room int) Writer {
	raw := make([]byte, headerSize, headerSize+room)
	binary.BigEndian.PutUint16(raw, stun.NewType(method, class).Value())
	binary.BigEndian.PutUint32(raw[4:], Cookie)
	copy(raw[8:], id[:])
	return Writer{raw}
}

// begin writes the header of an attribute of size bytes.
func (w *Writer) begin(t stun.AttrType, size int) {
	w.raw = binary.BigEndian.AppendUint16(w.raw, t.Value())
	w.raw = binary.BigEndian.AppendUint16(w.raw, uint16(size))
}

// end pads the attribute.
func (w *Writer) end() {
	for len(w.raw)%4 != 0 {
		w.raw = append(w.raw, 0)
	}
}

// Bytes adds an attribute. The caller knows that it fits: a value has 65,535 bytes
// at most, and so has the message.
func (w *Writer) Bytes(t stun.AttrType, value ...[]byte) {
	size := 0
	for _, v := range value {
		size += len(v)
	}
	w.begin(t, size)
	for _, v := range value {
		w.raw = append(w.raw, v...)
	}
	w.end()
}

// Text adds an attribute that is a text, given in pieces.
func (w *Writer) Text(t stun.AttrType, pieces ...string) {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	w.begin(t, size)
	for _, p := range pieces {
		w.raw = append(w.raw, p...)
	}
	w.end()
}

// Uint32 adds an attribute that holds a number.
func (w *Writer) Uint32(t stun.AttrType, v uint32) {
	w.begin(t, 4)
	w.raw = binary.BigEndian.AppendUint32(w.raw, v)
}

// Uint64 adds an attribute that holds a large one.
func (w *Writer) Uint64(t stun.AttrType, v uint64) {
	w.begin(t, 8)
	w.raw = binary.BigEndian.AppendUint64(w.raw, v)
}

// XORAddress adds an attribute in the form of XOR-MAPPED-ADDRESS. An address that
// is none becomes IPv4's unspecified one.
func (w *Writer) XORAddress(t stun.AttrType, a netip.AddrPort) {
	at := len(w.raw) + attributeHeader
	w.Address(t, a)
	mask(w.raw[at:], [stun.TransactionIDSize]byte(w.raw[8:headerSize]))
}

// Address adds an attribute in the form of MAPPED-ADDRESS, likewise.
func (w *Writer) Address(t stun.AttrType, a netip.AddrPort) {
	addr := a.Addr().Unmap()
	if addr.Is6() {
		w.begin(t, 20)
		w.raw = append(w.raw, 0, familyIPv6)
	} else {
		w.begin(t, 8)
		w.raw = append(w.raw, 0, familyIPv4)
	}
	w.raw = binary.BigEndian.AppendUint16(w.raw, a.Port())
	if addr.Is6() {
		raw := addr.As16()
		w.raw = append(w.raw, raw[:]...)
	} else {
		var raw [4]byte
		if addr.Is4() {
			raw = addr.As4()
		}
		w.raw = append(w.raw, raw[:]...)
	}
}

// ErrorCode adds an ERROR-CODE.
func (w *Writer) ErrorCode(code int, reason string) {
	w.begin(stun.AttrErrorCode, 4+len(reason))
	w.raw = append(w.raw, 0, 0, byte(code/100), byte(code%100))
	w.raw = append(w.raw, reason...)
	w.end()
}

// Add adds an attribute of Build's kind.
func (w *Writer) Add(a Attribute) { w.Bytes(a.Type, a.Value) }

// Sign adds MESSAGE-INTEGRITY, over all that precedes it. A nil key adds nothing.
func (w *Writer) Sign(key Integrity) {
	if key == nil {
		return
	}
	d := digests.Get().(*digest)
	tag := d.sum(key, w.raw, integritySize)
	w.begin(stun.AttrMessageIntegrity, integritySize)
	w.raw = append(w.raw, tag...)
	digests.Put(d)
}

// SignSHA256 adds MESSAGE-INTEGRITY-SHA256, over all that precedes it. A nil key adds
// nothing.
func (w *Writer) SignSHA256(key IntegritySHA256) {
	if key == nil {
		return
	}
	d := digestsSHA256.Get().(*digest)
	tag := d.sum(key, w.raw, integritySHA256Size)
	w.begin(stun.AttrMessageIntegritySHA256, integritySHA256Size)
	w.raw = append(w.raw, tag...)
	digestsSHA256.Put(d)
}

// Fingerprint adds FINGERPRINT, which is the last attribute.
func (w *Writer) Fingerprint() {
	covered := len(w.raw)
	w.length(covered + attributeHeader + 4)
	w.Uint32(stun.AttrFingerprint, crc32.ChecksumIEEE(w.raw[:covered])^fingerprintXOR)
}

// length writes the length of a message of so many bytes, header included.
func (w *Writer) length(total int) {
	binary.BigEndian.PutUint16(w.raw[2:], uint16(total-headerSize))
}

// Len is how long the message is by now.
func (w *Writer) Len() int { return len(w.raw) }

// Raw ends the message and gives it away.
func (w *Writer) Raw() []byte {
	w.length(len(w.raw))
	return w.raw
}
