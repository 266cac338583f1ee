package relay

import (
	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// signer signs messages and checks them, by MESSAGE-INTEGRITY-SHA256 or by
// MESSAGE-INTEGRITY. The zero value does neither.
type signer struct {
	key    []byte
	sha256 bool
}

func (s signer) none() bool { return s.key == nil }

func (s signer) check(m *pion.Message) error {
	if s.sha256 {
		return stun.IntegritySHA256(s.key).Check(m)
	}
	return stun.Integrity(s.key).Check(m)
}

func (s signer) sign(w *stun.Writer) {
	if s.sha256 {
		w.SignSHA256(s.key)
	} else {
		w.Sign(s.key)
	}
}

// integrityAt is the position of the first attribute of integrity, or -1: what is
// before it is what the sender vouches for.
func integrityAt(attributes pion.Attributes) int {
	for i, a := range attributes {
		if a.Type == pion.AttrMessageIntegrity || a.Type == pion.AttrMessageIntegritySHA256 {
			return i
		}
	}
	return -1
}
