package punch

import "p2pmodel/core/stun"

// Probe makes a check that belongs to no pair, for an address that is nobody's
// candidate and a base that need not be known: a guess, of which there may be
// thousands. The owner sends it. No answer is awaited: if it arrives, the peer
// learns the address that it came from and checks it, and that makes a pair here.
func (a *Agent) Probe() []byte {
	a.stats.ChecksSent++
	return writeCheck(check{
		id: a.newID(), priority: priority(PeerReflexive, directPreference),
		controlling: a.controlling, tieBreaker: a.cfg.TieBreaker,
	}, a.local, a.remote)
}

// Authentic reports whether a datagram is a check of the session's peer, without
// acting on it: for owners who have a base of their own to give only to those who
// prove themselves.
func (a *Agent) Authentic(payload []byte) bool {
	if ufrag, ok := LocalUfrag(payload); !ok || ufrag != a.local.ufrag {
		return false
	}
	var p stun.Parser
	m, err := parse(&p, payload)
	if err != nil {
		return false
	}
	_, err = readCheck(m, a.local, a.remote)
	return err == nil
}
