package relay

import (
	"net/netip"
	"slices"
	"time"
)

// FastPath passes on what goes through channels, in the server's stead and exactly as it
// would, before it gets to the server's sockets. It may leave anything to the server,
// at any time. The server calls it when something changes, before it sends what
// tells others of that; all of its methods return at once.
type FastPath interface {
	// Open has a flow passed on, or goes on with one that is open by what has changed of
	// its ends. Client, Channel, Relayed and Peer are what it is known by.
	Open(now time.Time, f Flow)
	// Close ends it.
	Close(f Flow)
	// Passed is what it has passed on since it began.
	Passed() Passed
}

// Flow is a channel of a client that comes by UDP: what may be passed on unseen.
type Flow struct {
	// Listen and Client are the ends of what has the channel's number, Relayed and Peer
	// those of what has not.
	Listen, Client, Relayed, Peer netip.AddrPort
	Channel                       uint16
	// ToPeer and ToClient are when the directions end. A direction that has ended is the
	// server's, which knows more than channels.
	ToPeer, ToClient time.Time
	// Relay says that Peer may be the relayed address of another client: what goes there
	// goes on as what comes from Relayed to it, or is left to the server where there is
	// no such flow.
	Relay bool
}

// Passed counts datagrams, and bytes of application data.
type Passed struct{ ToPeers, ToPeersBytes, ToClients, ToClientsBytes uint64 }

// extendBefore is how long before the end that the fast path knows of it is told of a later one.
const extendBefore = time.Second

// offload opens a channel's flow, or has it follow what has changed; what the server has
// to look at itself is none.
func (s *Server) offload(now time.Time, a *allocation, c *channel) {
	if s.cfg.FastPath == nil {
		return
	}
	if !s.offloadable(a, c) || c.expires <= now.UnixNano() {
		s.unload(a, c)
		return
	}
	f := s.flow(now, a, c)
	c.toPeer, c.toClient = f.ToPeer.UnixNano(), f.ToClient.UnixNano()
	s.cfg.FastPath.Open(now, f)
}

// offloadable reports whether a channel is one that may be passed on unseen.
func (s *Server) offloadable(a *allocation, c *channel) bool {
	return a.via == listenSocket && !a.limits.any && (!s.policy.ours(c.peer.Addr()) || s.relays(c.peer))
}

// relays reports whether an address may be a relayed one of ours.
func (s *Server) relays(peer netip.AddrPort) bool {
	return slices.Contains(s.policy.relays, peer.Addr())
}

// unload closes a channel's flow, if there is one.
func (s *Server) unload(a *allocation, c *channel) {
	if c != nil && c.offloaded() {
		c.toPeer, c.toClient = 0, 0
		s.cfg.FastPath.Close(s.flow(time.Time{}, a, c))
	}
}

// extend tells of a later end when the server gets what might have been passed on. What
// refreshes allocations and permissions does not: that would be work for each
// channel, of which a client may have many, for one request. No refresh brings an end nearer
// than a channel's: DefaultLifetime, the least, is ChannelLifetime.
func (s *Server) extend(now time.Time, a *allocation, c *channel) {
	soon := now.Add(extendBefore).UnixNano()
	if soon < c.toPeer && soon < c.toClient {
		return
	}
	f := s.flow(now, a, c)
	if soon >= c.toPeer && f.ToPeer.UnixNano() > c.toPeer || soon >= c.toClient && f.ToClient.UnixNano() > c.toClient {
		s.offload(now, a, c)
	}
}

// flow describes a channel.
func (s *Server) flow(now time.Time, a *allocation, c *channel) Flow {
	until := func(expires int64) time.Time {
		return now.Add(min(a.expires.Sub(now), time.Duration(expires-now.UnixNano())))
	}
	return Flow{
		Listen: s.policy.listen[0], Client: a.client, Relayed: a.to(c.peer.Addr()).addr, Peer: c.peer, Channel: c.number,
		ToPeer: until(c.expires), ToClient: until(min(c.expires, a.permissions[hostOf(c.peer.Addr())])),
		Relay: s.relays(c.peer),
	}
}

// review opens and closes flows after what the policy says has changed.
func (s *Server) review(now time.Time) {
	if s.cfg.FastPath == nil {
		return
	}
	for _, a := range s.allocations {
		for _, c := range a.byNumber {
			if s.offloadable(a, c) != c.offloaded() {
				s.offload(now, a, c)
			}
		}
	}
}

// offloadAll is offload of all channels of an allocation.
func (s *Server) offloadAll(now time.Time, a *allocation) {
	for _, c := range a.byNumber {
		s.offload(now, a, c)
	}
}

// unloadAll is unload of all channels of an allocation.
func (s *Server) unloadAll(a *allocation) {
	for _, c := range a.byNumber {
		s.unload(a, c)
	}
}
