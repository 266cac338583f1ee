package punch

import (
	"net/netip"
	"slices"
	"time"
)

// This file bounds what addresses that the peer has not offered can become. Checks that
// come from them are authentic: whoever sends them knows the password, and may yet have
// seen to it that they come from anywhere.
//
// Between two NATs that take a new port for each destination and let everybody in, each
// check to a new address comes from another one, which the peer has to check, from a new
// port: 890 datagrams a second without an end where answers of other addresses do not
// count. A peer that means harm needs no NAT for that. What is more than a few is
// answered and no more.
//
// A check that nominates has an allowance of its own: it comes by the path that the peer
// will use, or has used when its NAT took another port, and is not to be lost because
// others came before it. So has one that came over a relay, whose address the peer's
// offer will name. Where neither allowance has anything left, a nomination is not
// answered, or the peer would use what we do not.

const (
	// strangeAddresses is how many addresses that nobody offered become pairs after a
	// restart, and as many again if they are nominated, strangeEvery how soon one more
	// does.
	strangeAddresses = 8
	strangeEvery     = 10 * time.Second
	// standardStrange is as many of a standard agent, which has to check whoever checks
	// it (RFC 8445 section 7.3.1.4): the rest of the check list is for what is offered.
	standardStrange = MaxPairs / 2
)

// chances is a token bucket of strange addresses. The zero value is full.
type chances struct {
	used float64
	at   time.Time
}

// take reports whether there may be one more now, and counts it.
func (c *chances) take(now time.Time, most int) bool {
	if passed := now.Sub(c.at); passed > 0 {
		c.used = max(0, c.used-passed.Seconds()/strangeEvery.Seconds())
		c.at = now
	}
	if c.used+1 > float64(most) {
		return false
	}
	c.used++
	return true
}

// learn gives the pair that a check arrived on, making a peer-reflexive
// candidate of an address that nobody offered (RFC 8445 section 7.3.1.3). None is
// made, though the check is to be answered, where a split path leads there already.
func (a *Agent) learn(now time.Time, b Base, from netip.AddrPort, c check) (p *pair, ok bool) {
	if p := a.findPair(b, from); p != nil {
		return p, true
	}
	if !c.useCandidate && a.needless(now, b, from) {
		return nil, true
	}
	remote, strange := Candidate{Kind: PeerReflexive, Addr: from, Priority: c.priority}, true
	for _, r := range a.remotes {
		if r.Addr == from {
			remote, strange = r, false
		}
	}
	if strange && throughRelay(c.priority) {
		remote.Kind = Relayed
	}
	if named := c.useCandidate || remote.Kind == Relayed; strange && !(named && a.mayName(now)) && !a.mayLearn(now) {
		return nil, a.cfg.Extended && !c.useCandidate
	}
	a.askBeside(now) // the peer may have moved: does it still answer there?
	if p = a.addPair(now, b, remote); p == nil {
		return nil, false
	}
	p.strange = strange
	return p, true
}

// mayLearn bounds how many peer-reflexive candidates there are.
func (a *Agent) mayLearn(now time.Time) bool {
	if !a.cfg.Extended {
		return a.learned.take(now, standardStrange)
	}
	return a.learned.take(now, strangeAddresses)
}

// mayName is what is allowed beside that to checks that nominate.
func (a *Agent) mayName(now time.Time) bool { return a.named.take(now, strangeAddresses) }

// offered says whether an address is one of those that the peer has offered.
func (a *Agent) offered(addr netip.AddrPort) bool {
	return slices.ContainsFunc(a.remotes, func(r Candidate) bool { return r.Addr == addr })
}
