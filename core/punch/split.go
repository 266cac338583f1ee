package punch

import (
	"net/netip"
	"time"
)

// This file is split paths. ICE takes an answer only from the address that was probed
// (RFC 8445 section 7.2.5.2.1): an address stands for a way there and back. Behind
// two NATs that take a new port for each destination there is none such, though
// each side reaches the other. An extended agent takes the two ways for themselves:
//
//   - An answer proves that what we send to the probed address arrives, wherever it
//     comes from: the peer knows the password and has seen the transaction id,
//     96 random bits that went to that address only.
//   - A check of the peer's, authenticated too, proves the way back: it came.
//
// Who is off the path sees no id and can prove nothing: neither a wrong address that
// the peer offers, nor an answer with a guessed or an old id. Who is on the path can
// carry a check elsewhere and its answer back, and so make himself a hop as long as
// he does; he could drop or read the packets before, too, and consent ends with
// him. What he cannot do is to have us send to an address that does not lead to the
// peer. A peer that itself sees what arrives at a third one's address can have us
// send there: in ICE it would have to forge a source address besides.

// splits says whether an answer is believed that came on a base from another address
// than was probed.
func (a *Agent) splits(p *pair, b Base) bool {
	if !a.cfg.Extended || a.cfg.NoSplit || p.base != b || p.relayed() {
		return false
	}
	a.stats.Split++
	return true
}

// needless says that another pair with an address of the peer's would only be one
// more of the same: a split path leads to that host, and NATs that take a new port
// for each destination would have the two sides learn of new addresses for ever. The
// address that answers come from is worth a try: the way there and back may be one.
func (a *Agent) needless(now time.Time, b Base, from netip.AddrPort) bool {
	for _, p := range a.pairs {
		if p.state == succeeded && p.split() && p.base == b && p.remote.Addr.Addr() == from.Addr() && p.from != from && !a.doubtful(now, p) {
			return true
		}
	}
	return false
}

// pathTo gives the pair that packets from an address belong to: the one with that
// address, or a split one with that host.
func (a *Agent) pathTo(b Base, from netip.AddrPort) *pair {
	if p := a.findPair(b, from); p != nil {
		return p
	}
	if s := a.selected; s != nil && s.base == b && (s.from == from || s.split() && s.remote.Addr.Addr() == from.Addr()) {
		return s
	}
	return nil
}
