package identity

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// Derive makes a key of 32 bytes from a shared secret by HKDF-SHA-256
// (RFC 5869). The label says what the key is for; each context binds it to a
// fact that both sides know (an ID, a session). Contexts are length-prefixed:
// no two lists give the same key because of where one ends.
func Derive(shared []byte, label string, context ...[]byte) []byte {
	info := make([]byte, 0, 128)
	info = appendField(info, []byte("p2pmodel "+label))
	for _, c := range context {
		info = appendField(info, c)
	}
	key, err := hkdf.Key(sha256.New, shared, nil, string(info), Size)
	if err != nil {
		// HKDF fails only for outputs past 255 hashes, or where FIPS mode
		// forbids the hash; ours are constants.
		panic("identity: " + err.Error())
	}
	return key
}

func appendField(to, field []byte) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(len(field)))
	return append(to, field...)
}
