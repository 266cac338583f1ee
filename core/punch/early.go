package punch

import (
	"net/netip"
	"slices"
	"time"
)

// SetRelays says at which addresses relays are that the owner trusts: what is sent
// to a relayed address there goes to nobody but who has allocated it, and has
// permitted that (RFC 8656 section 9). Data may go to the peer's before it is proved
// that the way leads to the peer: no one else gets it.
func (a *Agent) SetRelays(addrs []netip.Addr) { a.relays = addrs }

// Early gives ways by which a datagram of so many bytes may leave although no path is
// proved: the best direct and the best relayed pair on which the peer's checks came,
// which tells that it reaches us, and not yet that we reach it. To a relayed address
// of the peer's on a trusted relay all may go; to any other one no more, with all that
// is sent there because of what came from it, than came: see credit.go. So most of it
// takes the relay. What has said nothing for as long as ends a path is none of these: its
// relayed address may be somebody else's by now, if the relay has started anew. Empty:
// there is a path without doubts, or none of these, or the agent is standard.
//
// A peer that gets its peer's first check can say something half a round trip before
// its own checks are answered.
func (a *Agent) Early(now time.Time, size int) (ways []Path) {
	if !a.cfg.Extended || a.revoked || a.selected != nil && !a.doubtful(now, a.selected) {
		return nil
	}
	since := a.rebound
	if s := a.selected; s != nil && s.unanswered.After(since) {
		since = s.unanswered
	}
	var direct, relayed *pair
	for _, p := range a.pairs { // the best first
		if p == a.selected || p.former || p.got == 0 || p.heard.Before(since) || now.Sub(p.heard) >= a.deadAfter(p) || p.state == failed ||
			!a.trusted(p) && size > a.credit(p)-a.reserve(now, p) {
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
			if !a.trusted(p) {
				p.spent += size
			}
			a.stats.Early++
			ways = append(ways, a.pathOf(p))
		}
	}
	return ways
}

// trusted says that a pair's remote address is the peer's on a trusted relay.
func (a *Agent) trusted(p *pair) bool {
	return p.remote.Kind == Relayed && !p.strange && slices.Contains(a.relays, p.remote.Addr.Addr())
}
