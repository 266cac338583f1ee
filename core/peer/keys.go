package peer

import (
	"encoding/base64"
	"fmt"

	"p2pmodel/core/identity"
)

// keys are the secrets of one side of one session. They come from the
// Diffie-Hellman secret of the two static keys, the session id and the side's
// own id: the rendezvous and the relays, which see the session id, know none of
// them, and none ever crosses the wire.
type keys struct {
	// ufrag and pwd are the ICE credentials of the side.
	ufrag, pwd string
	// data authenticates the frames that the side sends.
	data *sealer
}

const (
	ufragBytes = 6  // 8 characters, 48 bits; RFC 8445 section 5.3 wants 24
	pwdBytes   = 24 // 32 characters, 192 bits; it wants 128
)

// deriveKeys gives the keys of one side. The base64 alphabet is that of
// ice-char (RFC 8839 section 5.4).
func deriveKeys(from identity.Deriver, session SessionID, side identity.ID) keys {
	derive := func(label string) []byte {
		return from.Key(label, session[:], side[:])
	}
	checks := derive("checks")
	return keys{
		ufrag: base64.RawStdEncoding.EncodeToString(checks[:ufragBytes]),
		pwd:   base64.RawStdEncoding.EncodeToString(checks[ufragBytes : ufragBytes+pwdBytes]),
		data:  newSealer(derive("data")),
	}
}

// sessionKeys gives both sides' keys. The error is identity.ErrUnusable: the
// peer's id is no usable key.
func sessionKeys(own identity.Key, peer identity.ID, session SessionID) (local, remote keys, err error) {
	shared, err := own.Shared(peer)
	if err != nil {
		return local, remote, fmt.Errorf("session with %s: %w", peer.Short(), err)
	}
	from := identity.NewDeriver(shared)
	return deriveKeys(from, session, own.ID()), deriveKeys(from, session, peer), nil
}
