package relay

import (
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
)

// What the server lets live how long, and how much of it.
const (
	// DefaultLifetime and MaxLifetime bound an allocation's lifetime (RFC 8656
	// section 7.2).
	DefaultLifetime = 10 * time.Minute
	MaxLifetime     = time.Hour
	// PermissionLifetime is a permission's (RFC 8656 section 9).
	PermissionLifetime = 5 * time.Minute
	// ChannelLifetime is a channel binding's (RFC 8656 section 12).
	ChannelLifetime = 10 * time.Minute
	// ChannelHold is how long a number and a peer that were bound to each other are
	// bound to nothing else when the binding has expired (RFC 8656 section 12: 5
	// minutes); to each other they may be bound again at once.
	ChannelHold = 5 * time.Minute
	// ReservationLifetime is how long the sibling of an EVEN-PORT allocation
	// is held (RFC 8656 section 7.2 says at least 30 s).
	ReservationLifetime = 30 * time.Second

	// maxPermissions and maxChannels bound what one allocation may make the
	// server remember. A client with more peers than this gets 508.
	maxPermissions = 1024
	maxChannels    = 1024
)

// allocation is a relayed transport address, or one of each family, and whom it
// serves (RFC 8656 section 3.2). Its 5-tuple is the client's address and the socket of
// ours that the client came to.
type allocation struct {
	client   netip.AddrPort
	via      sansio.Socket
	username string
	account  string
	source   host          // that it is counted for
	by       Authenticator // that has its user's password
	relays   [families]relayed
	expires  time.Time
	limits   limits

	// The request that made or moved it, so that a retransmission gets the same
	// answer.
	created  [pion.TransactionIDSize]byte
	response []byte

	// tickets move it (RFC 8016): the last one that was given, and the one before it,
	// for a client that did not get the last one. Zero: none.
	tickets [2]ticket

	// Expiry times are Unix nanoseconds: compact, and compared on each packet.
	permissions map[host]int64
	byNumber    map[uint16]*channel
	byPeer      map[endpoint]*channel
}

// relayed is a relayed transport address of ours; the zero value: none.
type relayed struct {
	addr   netip.AddrPort
	socket sansio.Socket
}

// first is the relayed address that the allocation is known by.
func (a *allocation) first() netip.AddrPort {
	if r := a.relays[four]; r.addr.IsValid() {
		return r.addr
	}
	return a.relays[six].addr
}

// number orders allocations.
func (a *allocation) number() sansio.Socket {
	if a.relays[four].addr.IsValid() {
		return a.relays[four].socket
	}
	return a.relays[six].socket
}

// other is that of the other family, if there are both.
func (a *allocation) other() netip.AddrPort {
	if a.relays[four].addr.IsValid() {
		return a.relays[six].addr
	}
	return netip.AddrPort{}
}

// to is the relayed address that a peer is reached from, if there is one.
func (a *allocation) to(peer netip.Addr) *relayed { return &a.relays[familyOf(peer)] }

// channel is a channel binding.
type channel struct {
	number  uint16
	peer    netip.AddrPort
	expires int64 // Unix nanoseconds; the hold comes after it
	// Until when the fast path has it; zero: it has not.
	toPeer, toClient int64
}

func (c *channel) offloaded() bool { return c.toPeer != 0 }

func (a *allocation) permitted(now time.Time, peer netip.Addr) bool {
	return now.UnixNano() < a.permissions[hostOf(peer)]
}

// permit installs or refreshes a permission.
func (a *allocation) permit(now time.Time, peer netip.Addr) {
	if a.permissions == nil {
		a.permissions = make(map[host]int64)
	}
	a.permissions[hostOf(peer)] = now.Add(PermissionLifetime).UnixNano()
}

// channelByNumber is the live channel with a number, or nil.
func (a *allocation) channelByNumber(now time.Time, number uint16) *channel {
	if c := a.byNumber[number]; c != nil && now.UnixNano() < c.expires {
		return c
	}
	return nil
}

func (c *channel) held(now time.Time) bool { return now.UnixNano() < c.expires+int64(ChannelHold) }

// bindable reports whether a number and a peer may be bound to each other: neither
// is bound to, or held for, anything else.
func (a *allocation) bindable(now time.Time, number uint16, peer netip.AddrPort) bool {
	byNumber, byPeer := a.byNumber[number], a.byPeer[endpointOf(peer)]
	return byNumber == byPeer || (byNumber == nil || !byNumber.held(now)) && (byPeer == nil || !byPeer.held(now))
}

// channelByPeer is the live channel to a peer, or nil.
func (a *allocation) channelByPeer(now time.Time, peer netip.AddrPort) *channel {
	if c := a.byPeer[endpointOf(peer)]; c != nil && now.UnixNano() < c.expires {
		return c
	}
	return nil
}

// bind makes or refreshes a channel, whose number and peer are free or bound to
// each other, and with it the permission (RFC 8656 section 12.2).
func (a *allocation) bind(now time.Time, number uint16, peer netip.AddrPort) {
	if a.byNumber == nil {
		a.byNumber = make(map[uint16]*channel)
		a.byPeer = make(map[endpoint]*channel)
	}
	a.unbind(a.byNumber[number])
	a.unbind(a.byPeer[endpointOf(peer)])
	c := &channel{number: number, peer: peer, expires: now.Add(ChannelLifetime).UnixNano()}
	a.byNumber[number], a.byPeer[endpointOf(peer)] = c, c
	a.permit(now, peer.Addr())
}

func (a *allocation) unbind(c *channel) {
	if c != nil {
		delete(a.byNumber, c.number)
		delete(a.byPeer, endpointOf(c.peer))
	}
}

// sweep forgets expired permissions, and channels whose hold is over, of which it tells, and
// returns when the next one expires, zero if there is none.
func (a *allocation) sweep(now time.Time, over func(*allocation, *channel)) (next int64) {
	at := now.UnixNano()
	for peer, expires := range a.permissions {
		if expires <= at {
			delete(a.permissions, peer)
		} else if next == 0 || expires < next {
			next = expires
		}
	}
	for _, c := range a.byNumber {
		if end := c.expires + int64(ChannelHold); end <= at {
			over(a, c)
			a.unbind(c)
		} else if next == 0 || end < next {
			next = end
		}
	}
	return next
}

// reservation is the held sibling of an EVEN-PORT allocation.
type reservation struct {
	account string // only this one may claim it
	source  host
	relayed
	expires time.Time
}

// token names a reservation (RFC 8656 section 18.9).
type token [8]byte
