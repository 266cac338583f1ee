package rendezvous

import (
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/stun"
)

// HandleDatagram takes a datagram that is for the client and says so; what is
// not is left to others.
func (c *Client) HandleDatagram(now time.Time, remote netip.AddrPort, payload []byte) bool {
	if plain(remote) != c.cfg.Server || !stun.Is(payload) {
		return false
	}
	m, err := c.parser.Parse(payload)
	if err != nil {
		return false
	}
	switch m.Type.Method {
	case stun.MethodRegister, stun.MethodConnect, stun.MethodJoin, stun.MethodLeave:
		c.handleResponse(now, m)
		return true
	case stun.MethodIntroduce, stun.MethodMember:
		c.handleRequest(m)
		return true
	}
	return false
}

// handleResponse takes an answer to a request of ours.
func (c *Client) handleResponse(now time.Time, m *pion.Message) {
	t, p, ok := c.inFlight.Find(m.TransactionID)
	if !ok || m.Type.Method != p.method {
		return // answered before, or never asked
	}
	switch m.Type.Class {
	case pion.ClassErrorResponse:
		if p.signed && !asksForNonce(stun.ErrorOf(m)) && c.key.Check(m) != nil {
			return // the server signs its answers to what is signed
		}
		c.inFlight.Take(m.TransactionID)
		c.handleError(now, p, m)
	case pion.ClassSuccessResponse:
		// Only who holds the server's key can have sent it. A wrong one leaves
		// the transaction in flight: the right one may still come.
		if c.key == nil || c.key.Check(m) != nil {
			return
		}
		c.inFlight.Take(m.TransactionID)
		c.lastHeard = now
		switch p.method {
		case stun.MethodRegister:
			c.succeeded(now, t, p, m)
		case stun.MethodConnect:
			c.connected(now, p, m)
		case stun.MethodJoin:
			c.joined(now, p, m)
		}
	}
}

// asksForNonce says that an error response cannot be authentic, since it asks
// for what is needed to be.
func asksForNonce(err error) bool {
	return stun.IsCode(err, stun.CodeUnauthorized) || stun.IsCode(err, stun.CodeStaleNonce)
}

// handleError takes an error response. Those that ask for a nonce cannot be
// authentic, since the server does not know us yet; they can only make us ask
// again, a bounded number of times.
func (c *Client) handleError(now time.Time, p *pending, m *pion.Message) {
	err := stun.ErrorOf(m)
	p.challenges++
	again := p.challenges <= maxChallenges
	switch {
	case again && asksForNonce(err):
		if err := c.challenged(m); err != nil {
			c.failed(now, p, err)
			return
		}
		c.send(now, p)
		c.pipeline(now, p)
	case again && stun.IsCode(err, stun.CodeConflict):
		// Our clock went back since the last registration: go on from there.
		if s, bad := getSequence(m); bad == nil && p.signed {
			c.sequence = max(c.sequence, s)
		}
		c.send(now, p)
	case again && stun.IsCode(err, stun.CodeMismatch):
		// The server has forgotten us: it was started anew.
		if p.method == stun.MethodRegister {
			p.withOffer, p.withTicket = true, true
			c.send(now, p)
		} else {
			c.waiting = append(c.waiting, p)
		}
		if c.registered {
			c.registered, c.announce = false, true
			if p.method != stun.MethodRegister {
				c.register(now)
			}
		}
	default:
		c.failed(now, p, err)
	}
}

// challenged takes the nonce, and the key of a server that we do not know yet
// or that has another key than it had.
func (c *Client) challenged(m *pion.Message) error {
	nonce, err := m.Get(pion.AttrNonce)
	if err != nil {
		return stun.ErrorOf(m)
	}
	c.nonce = slices.Clone(nonce)
	server, err := getID(m, stun.AttrServerKey)
	if err != nil || server == c.server {
		return nil // 438 brings no key
	}
	if c.cfg.ServerKey != nil && *c.cfg.ServerKey != server {
		return ErrWrongServer
	}
	c.adopt(server)
	if c.server != server {
		return identity.ErrUnusable
	}
	return nil
}

// connected takes the answer to a CONNECT: the target as the server knows it.
func (c *Client) connected(now time.Time, p *pending, m *pion.Message) {
	offer, err := getOffer(m)
	if err != nil {
		c.failed(now, p, err)
		return
	}
	reflexive, err := stun.GetXORAddress(m, pion.AttrXORPeerAddress)
	if err != nil {
		c.failed(now, p, err)
		return
	}
	c.emit(Introduced{Peer: p.target, Session: p.session, Offer: offer, Reflexive: somewhere(reflexive), Initiator: true})
}

// handleRequest takes what the server tells on its own: once each, but every
// copy is answered, because an answer may have been lost.
func (c *Client) handleRequest(m *pion.Message) {
	if m.Type.Class != pion.ClassRequest || !c.running || c.key == nil || c.key.Check(m) != nil {
		return
	}
	if !slices.Contains(c.seen, m.TransactionID) {
		if !c.fresh(m) || !c.told(m) {
			return
		}
		c.remember(m.TransactionID)
	}
	c.transmit(finish(stun.Write(m.Type.Method, pion.ClassSuccessResponse, m.TransactionID, sealSize), c.key))
}

// fresh reports whether a request of the server is of this life of ours and not
// long past. The key that authenticates it is that of all our lives, so without
// this an old introduction could be played back, and a session's frames with it.
func (c *Client) fresh(m *pion.Message) bool {
	sequence, err := getSequence(m)
	return err == nil && c.serverSequence != 0 && sequence > c.oldest && sequence+noticeLife > c.serverSequence
}

// told takes the contents of a request; false if they make no sense.
func (c *Client) told(m *pion.Message) bool {
	peer, err := getID(m, stun.AttrPeerID)
	if err != nil {
		return false
	}
	if m.Type.Method == stun.MethodMember {
		return c.member(peer, m)
	}
	session, err := getSession(m)
	if err != nil {
		return false
	}
	reflexive, err := stun.GetXORAddress(m, pion.AttrXORPeerAddress)
	if err != nil {
		return false
	}
	offer, err := getOffer(m)
	if err != nil {
		return false
	}
	c.emit(Introduced{Peer: peer, Session: session, Offer: offer, Reflexive: somewhere(reflexive)})
	return true
}

func (c *Client) remember(id transactionID) {
	if len(c.seen) < rememberedRequests {
		c.seen = append(c.seen, id)
		return
	}
	c.seen[c.seenNext] = id
	c.seenNext = (c.seenNext + 1) % rememberedRequests
}

// somewhere is a peer's address, or the zero value for one that has none.
func somewhere(a netip.AddrPort) netip.AddrPort {
	if a.Port() == 0 {
		return netip.AddrPort{}
	}
	return a
}
