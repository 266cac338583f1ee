package peer

import (
	"encoding/base64"

	"p2pmodel/core/identity"
)

// keys are the ICE credentials of one side of one session. They come from the
// Diffie-Hellman secret of the two static keys, the session id and the side's
// own id: the rendezvous and the relays, which see the session id, know none of
// them, and none ever crosses the wire. They prove who checks. Data has keys of its
// own, which package secure agrees upon.
type keys struct{ ufrag, pwd string }

const (
	ufragBytes = 6  // 8 characters, 48 bits; RFC 8445 section 5.3 wants 24
	pwdBytes   = 24 // 32 characters, 192 bits; it wants 128
)

// deriveKeys gives the keys of one side. The base64 alphabet is that of
// ice-char (RFC 8839 section 5.4).
func deriveKeys(from identity.Deriver, session SessionID, side identity.ID) keys {
	checks := from.Key("checks", session[:], side[:])
	return keys{
		ufrag: base64.RawStdEncoding.EncodeToString(checks[:ufragBytes]),
		pwd:   base64.RawStdEncoding.EncodeToString(checks[ufragBytes : ufragBytes+pwdBytes]),
	}
}

// sessionKeys gives both sides' keys, of what their static keys share.
func sessionKeys(shared []byte, own, peer identity.ID, session SessionID) (local, remote keys) {
	from := identity.NewDeriver(shared)
	return deriveKeys(from, session, own), deriveKeys(from, session, peer)
}
