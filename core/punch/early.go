package punch

// amplification is how many bytes may go to an address that is not proved yet, for
// each authentic one that came from it (RFC 9000 section 8.1).
const amplification = 3

// Early gives ways by which a datagram of so many bytes may leave although no path is
// proved: the best direct and the best relayed pair on which the peer's checks came,
// which tells that it reaches us, and not yet that we reach it. What is sent because
// of what came counts, against three times that: answers, these datagrams, and
// checks where the peer had not offered the address. Empty: there is a path, or none
// of these, or the agent is standard.
//
// A peer that gets its peer's first check can say something half a round trip before
// its own checks are answered. Nobody can be flooded by that: it takes the password,
// or a copy of an authentic check for each three of its size.
func (a *Agent) Early(size int) (ways []Path) {
	if !a.cfg.Extended || a.selected != nil || a.revoked {
		return nil
	}
	var direct, relayed *pair
	for _, p := range a.pairs { // the best first
		if p.former || p.got == 0 || p.state == failed || p.spent+size > amplification*p.got {
			continue
		}
		switch {
		case p.relayed() && relayed == nil:
			relayed = p
		case !p.relayed() && direct == nil && !a.cfg.NoSplit:
			direct = p // one way alone: without split paths there would be none
		}
	}
	for _, p := range []*pair{direct, relayed} {
		if p != nil {
			p.spent += size
			a.stats.Early++
			ways = append(ways, a.pathOf(p))
		}
	}
	return ways
}
