package relay

import (
	"bytes"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// maxRedirects is how often relays may send us on before we have an allocation
// (RFC 8489 section 10).
const maxRedirects = 3

// resume asks for the allocation of before where there is a ticket for it, for a new
// one otherwise.
func (c *Client) resume(now time.Time) {
	if c.ticket == nil || c.as.signer.none() {
		c.anew(now)
		return
	}
	c.suspend()
	c.state = clientMoving
	c.request(now, &clientRequest{kind: requestMove})
}

// anew drops what was known of the allocation and asks for another one.
func (c *Client) anew(now time.Time) {
	c.abandon()
	c.server, c.redirects = c.cfg.Server, 0
	c.allocate(now)
}

// moved takes the answer to a Refresh from another address.
func (c *Client) moved(now time.Time, tx *stun.Transaction, m *pion.Message) {
	lifetime, present, ok := lifetimeOf(m.Attributes)
	if !present || !ok || lifetime == 0 {
		c.anew(now)
		return
	}
	c.takeTicket(m)
	e := Allocated{Relayed: c.relayed, Other: c.other, Lifetime: lifetime, Moved: true}
	if raw, has := m.Attributes.Get(pion.AttrXORMappedAddress); has {
		e.Reflexive, _ = parseXORAddress(m.TransactionID, raw.Value)
	}
	if !tx.Retransmitted() {
		e.RTT = now.Sub(tx.Started)
	}
	c.allocated(now, e)
}

// takeTicket keeps the ticket that came with an answer.
func (c *Client) takeTicket(m *pion.Message) {
	if t, has := m.Attributes.Get(stun.AttrMobilityTicket); has && len(t.Value) > 0 {
		c.ticket = bytes.Clone(t.Value)
	}
}

// regrant goes on with permissions and channels that came along with the allocation:
// those granted are told of again, requests that were in flight are made again.
func (c *Client) regrant(now time.Time) {
	for _, p := range c.permissions {
		refreshing := p.asked
		p.asked = false
		for _, q := range p.peers {
			s := c.peers[q]
			s.announced = false
			if s.bound && s.refreshAt.IsZero() {
				c.renew(&s.refreshAt, now)
			}
			s.asked = false
		}
		switch {
		case !p.granted:
			c.askPermission(now, p)
			continue
		case refreshing:
			c.renew(&p.refreshAt, now)
		}
		c.announce(p)
	}
}

// redirected goes to the server that another one named, and reports whether it did.
func (c *Client) redirected(now time.Time, r *clientRequest, m *pion.Message) bool {
	to, err := stun.GetAddress(m, pion.AttrAlternateServer)
	if err != nil || r.kind != requestAllocate || c.redirects == maxRedirects || to == c.server || !reachable(to, c.server) {
		return false
	}
	c.redirects++
	c.server = to
	c.realm, c.nonce, c.as = nil, nil, identity{}
	c.algorithms, c.algorithm, c.anonymous = nil, 0, false
	r.challenges = 0
	c.request(now, r)
	return true
}

// reachable reports whether one server may name another: an address of the same family
// that datagrams can be sent to. Where the first one is public so is the second, or
// whoever can forge an answer could have us talk to hosts of our own network.
func reachable(to, from netip.AddrPort) bool {
	a := to.Addr()
	return to.Port() != 0 && a.Is4() == from.Addr().Is4() && !a.IsUnspecified() && !a.IsMulticast() &&
		(a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()) == (from.Addr().IsPrivate() || from.Addr().IsLoopback() || from.Addr().IsLinkLocalUnicast())
}
