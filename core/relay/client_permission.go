package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// clientPermission is what the relay was asked for one peer address; TURN
// permissions know no ports (RFC 8656 section 9).
type clientPermission struct {
	addr  netip.Addr
	peers []netip.AddrPort // who wants it, in the order of Permit
	// granted says that the server has it; asked, that a request is in flight.
	granted, asked bool
	refreshAt      time.Time
}

// clientPeer is one transport address that the owner sends to.
type clientPeer struct {
	announced bool // Permitted was given on this allocation
	sent      int  // Send indications so far
	channel   uint16
	bound     bool // the channel may be used
	asked     bool // a ChannelBind is in flight
	refused   bool // the server will have no channel for it
	refreshAt time.Time
}

// Permit asks the relay to pass datagrams between the allocation and the
// peer's address; Permitted or PermitFailed follows. The permission is kept
// alive until Forget, and made again on a new allocation. Before there is an
// allocation the wish is remembered.
func (c *Client) Permit(now time.Time, peer netip.AddrPort) {
	if c.state == clientClosed {
		return
	}
	if c.peers[peer] == nil {
		c.peers[peer] = &clientPeer{}
	}
	p := c.permission(peer.Addr())
	if p == nil {
		p = &clientPermission{addr: peer.Addr()}
		c.permissions = append(c.permissions, p)
	}
	if !slices.Contains(p.peers, peer) {
		p.peers = append(p.peers, peer)
	}
	switch {
	case p.granted && c.state == clientAllocated:
		c.peers[peer].announced = true
		c.out.Emit(Permitted{Peer: peer})
	case c.state == clientAllocated:
		c.askPermission(now, p)
	}
}

// Forget stops keeping the peer's permission and channel; they expire on the
// server.
func (c *Client) Forget(peer netip.AddrPort) {
	p := c.permission(peer.Addr())
	if p == nil {
		return
	}
	delete(c.peers, peer)
	p.peers = slices.DeleteFunc(p.peers, func(q netip.AddrPort) bool { return q == peer })
	if len(p.peers) == 0 {
		c.permissions = slices.DeleteFunc(c.permissions, func(q *clientPermission) bool { return q == p })
	}
}

func (c *Client) permission(addr netip.Addr) *clientPermission {
	for _, p := range c.permissions {
		if p.addr == addr {
			return p
		}
	}
	return nil
}

// askPermission sends CreatePermission for the peer that asked last: where the
// port matters to the server (a relayed address of its own), the latest is the
// likeliest to be live.
func (c *Client) askPermission(now time.Time, p *clientPermission) {
	if p.asked {
		return
	}
	p.asked = true
	c.request(now, &clientRequest{kind: requestPermission, peer: p.peers[len(p.peers)-1]})
}

// granted notes a permission and tells everyone who waits for it.
func (c *Client) granted(now time.Time, peer netip.AddrPort) {
	p := c.permission(peer.Addr())
	if p == nil {
		return // forgotten meanwhile
	}
	p.asked, p.granted = false, true
	c.renew(&p.refreshAt, now.Add(permissionRefresh))
	c.announce(p)
}

// announce tells everyone who waits for a permission that it is there.
func (c *Client) announce(p *clientPermission) {
	for _, q := range p.peers {
		if s := c.peers[q]; !s.announced {
			s.announced = true
			c.out.Emit(Permitted{Peer: q})
		}
	}
}

// denied forgets the peer and, if others share its address, asks for them.
func (c *Client) denied(now time.Time, peer netip.AddrPort, err error) {
	p := c.permission(peer.Addr())
	if p == nil {
		return
	}
	p.asked, p.granted = false, false
	if slices.Contains(p.peers, peer) {
		c.Forget(peer)
		c.out.Emit(PermitFailed{Peer: peer, Err: fmt.Errorf("permit %s: %w", peer, err)})
	}
	if len(p.peers) > 0 {
		c.askPermission(now, p)
	}
}

// refreshPermissions renews the permissions and channels that are due.
func (c *Client) refreshPermissions(now time.Time) {
	if !due(now, c.renewAt) {
		return
	}
	for _, p := range slices.Clone(c.permissions) {
		if p.granted && due(now, p.refreshAt) {
			p.refreshAt = time.Time{}
			c.askPermission(now, p)
		}
		for _, q := range slices.Clone(p.peers) {
			if s := c.peers[q]; s != nil && s.bound && due(now, s.refreshAt) {
				c.askChannel(now, q, s)
			}
		}
	}
	c.renewAt = c.permissionDeadline()
}

// renew sets when a permission or a channel is to be renewed.
func (c *Client) renew(refreshAt *time.Time, at time.Time) {
	*refreshAt = at
	c.renewAt = earlier(c.renewAt, at)
}

// permissionDeadline is when the first of them is. Who has many peers asks for
// the time far more often than it changes: see renewAt.
func (c *Client) permissionDeadline() time.Time {
	var t time.Time
	for _, p := range c.permissions {
		t = earlier(t, p.refreshAt)
		for _, q := range p.peers {
			t = earlier(t, c.peers[q].refreshAt)
		}
	}
	return t
}

// askChannel sends ChannelBind, with the number that the peer had before, or the
// next free one.
func (c *Client) askChannel(now time.Time, peer netip.AddrPort, s *clientPeer) {
	s.refreshAt = time.Time{}
	number, known := c.numbers[peer]
	if !known {
		if c.nextChannel > maxChannelStrict {
			s.refused = true // all 4096 numbers are taken: stay with indications
			return
		}
		number = c.nextChannel
		c.nextChannel++
		c.numbers[peer] = number
	}
	s.asked = true
	// From now on: data on the channel may overtake the answer, on the way or in a
	// server that binds first and answers then (pion/turn v5.1.2 lost up to five
	// datagrams of a burst by that, measured). Where the answers are lost, data still
	// says what the server has bound.
	c.channels[number] = peer
	c.request(now, &clientRequest{kind: requestChannel, peer: peer, channel: number})
}

// bound notes that a channel may be used.
func (c *Client) bound(now time.Time, peer netip.AddrPort, number uint16) {
	if s := c.peers[peer]; s != nil {
		s.asked, s.bound, s.channel = false, true, number
		c.renew(&s.refreshAt, now.Add(channelRefresh))
	}
}

// unbound falls back to Send indications for good.
func (c *Client) unbound(peer netip.AddrPort) {
	if s := c.peers[peer]; s != nil {
		s.asked, s.bound, s.refused = false, false, true
	}
}

// forgetChannels is for another allocation. Peers keep their numbers, and no number
// is given to another peer: the server may still know the former allocation, and
// who comes back to the address that it was made from, as one who roams does, sends
// on its channels before it can know.
func (c *Client) forgetChannels() {
	c.channels = make(map[uint16]netip.AddrPort)
	if c.nextChannel <= maxChannelStrict-channelReserve && c.numbers != nil {
		return
	}
	c.numbers = make(map[netip.AddrPort]uint16)
	c.nextChannel = minChannel
}

// channelReserve is how many numbers have to be left for an allocation.
const channelReserve = 1024

// forgetGrants resets what the server knew of our peers.
func (c *Client) forgetGrants() {
	for _, p := range c.permissions {
		p.granted, p.asked, p.refreshAt = false, false, time.Time{}
	}
	for _, s := range c.peers {
		*s = clientPeer{}
	}
	c.renewAt = time.Time{}
}
