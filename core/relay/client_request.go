package relay

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// codeMismatch is 437: no such allocation, or one too many (RFC 8656 section
// 19).
const codeMismatch = int(pion.CodeAllocMismatch)

// codeOtherUser is 441: the allocation was made by other credentials.
const codeOtherUser = int(pion.CodeWrongCredentials)

// maxChallenges is how often one request is repeated because the server asked
// for (other) credentials or a fresh nonce; more means a server that will
// never be content.
const maxChallenges = 3

type requestKind uint8

const (
	requestAllocate requestKind = iota
	requestRefresh
	requestEvict  // Refresh 0 of an allocation that a 437 told us of
	requestDelete // Refresh 0 on Close
	requestPermission
	requestChannel
	requestProbe
	requestKinds // how many there are
)

// clientRequest is one request in flight, kept so that it can be built again
// with fresh credentials.
type clientRequest struct {
	kind       requestKind
	peer       netip.AddrPort // requestPermission, requestChannel
	channel    uint16         // requestChannel
	renews     bool           // requestRefresh: first with other credentials
	key        stun.Integrity // of the credentials that it carries; nil: none
	challenges int
}

// request builds r with the credentials known now and sends it.
func (c *Client) request(now time.Time, r *clientRequest) {
	id, err := stun.NewID(c.cfg.Rand)
	if err != nil {
		c.failed(now, r, fmt.Errorf("draw a transaction id: %w", err))
		return
	}
	const most = 8 + 12 + 24 // of a kind's own attributes, and integrity
	w := stun.Write(r.method(), pion.ClassRequest, id, most+4*(4+3)+len(c.cfg.Username)+len(c.former.username)+len(c.realm)+len(c.nonce))
	switch r.kind {
	case requestAllocate:
		addRequestedTransport(&w, protocolUDP)
		if c.cfg.Lifetime > 0 {
			addLifetime(&w, c.cfg.Lifetime)
		}
	case requestRefresh:
		if c.cfg.Lifetime > 0 {
			addLifetime(&w, c.cfg.Lifetime)
		}
	case requestEvict, requestDelete:
		addLifetime(&w, 0)
	case requestPermission:
		w.XORAddress(pion.AttrXORPeerAddress, r.peer)
	case requestChannel:
		addChannelNumber(&w, r.channel)
		w.XORAddress(pion.AttrXORPeerAddress, r.peer)
	}
	r.key = nil
	if r.kind != requestProbe && c.integrity != nil {
		username, key := c.cfg.Username, c.integrity
		if r.kind == requestEvict && c.former.integrity != nil {
			username, key = c.former.username, c.former.integrity
		}
		w.Text(pion.AttrUsername, username)
		w.Bytes(pion.AttrRealm, c.realm)
		w.Bytes(pion.AttrNonce, c.nonce)
		w.Sign(key)
		r.key = key
	}
	c.inFlight[r.kind]++
	tx := c.requests.Start(now, w.Raw(), c.cfg.Schedule, r)
	c.send(bytes.Clone(tx.Request))
}

func (r *clientRequest) method() pion.Method {
	switch r.kind {
	case requestAllocate:
		return pion.MethodAllocate
	case requestPermission:
		return pion.MethodCreatePermission
	case requestChannel:
		return pion.MethodChannelBind
	case requestProbe:
		return pion.MethodBinding
	}
	return pion.MethodRefresh
}

// retransmit sends again what is due and gives up what is past its schedule.
func (c *Client) retransmit(now time.Time) {
	for {
		tx, r, failed, ok := c.requests.Poll(now)
		switch {
		case !ok:
			return
		case failed:
			c.over(r)
			c.failed(now, r, ErrNoAnswer)
		default:
			c.send(bytes.Clone(tx.Request))
		}
	}
}

// over notes that a request is no longer in flight.
func (c *Client) over(r *clientRequest) { c.inFlight[r.kind]-- }

// handleResponse matches a response with its request; false if it is not ours.
func (c *Client) handleResponse(now time.Time, m *pion.Message) bool {
	tx, r, ours := c.requests.Find(m.TransactionID)
	if !ours {
		return false
	}
	if m.Type.Method != r.method() {
		return true
	}
	if !c.authentic(r, m) {
		return true // as if it never arrived (RFC 8489 section 9.2.5)
	}
	c.requests.Cancel(tx.ID)
	c.over(r)
	if err := stun.ErrorOf(m); err != nil {
		c.refused(now, r, m, err)
	} else {
		c.succeeded(now, tx, r, m)
	}
	return true
}

// authentic checks a response's integrity. A success that answers a signed
// request must be signed; an error may come unsigned, as 401 and 438 always do
// and other codes from servers that reject before they look at credentials.
func (c *Client) authentic(r *clientRequest, m *pion.Message) bool {
	if r.key == nil {
		return true
	}
	_, present := m.Attributes.Get(pion.AttrMessageIntegrity)
	if !present {
		return m.Type.Class == pion.ClassErrorResponse
	}
	return r.key.Check(m) == nil
}

// refused handles an error response.
func (c *Client) refused(now time.Time, r *clientRequest, m *pion.Message, err error) {
	switch {
	case stun.IsCode(err, stun.CodeUnauthorized) && r.key != nil && !c.otherRealm(m):
		err = fmt.Errorf("user %q: %w", c.cfg.Username, ErrCredentials)
	case stun.IsCode(err, stun.CodeUnauthorized), stun.IsCode(err, stun.CodeStaleNonce):
		if r.challenges++; r.challenges <= maxChallenges && c.challenged(m) {
			c.request(now, r)
			return
		}
	case stun.IsCode(err, codeOtherUser) && r.kind != requestAllocate && r.kind != requestEvict && r.kind != requestDelete:
		c.lost(fmt.Errorf("%w: %s: %w", ErrOtherUser, c.cfg.Server, err))
		return
	case stun.IsCode(err, codeMismatch):
		switch {
		case r.kind == requestAllocate && !c.evicted:
			// The server still holds an allocation of this 5-tuple, from an
			// earlier life of ours. Delete it, then ask again, once.
			c.evicted = true
			c.request(now, &clientRequest{kind: requestEvict})
			return
		case r.kind == requestEvict: // gone already
			c.allocate(now)
			return
		case r.kind == requestRefresh, r.kind == requestPermission, r.kind == requestChannel:
			c.lost(fmt.Errorf("%w: %s: %w", ErrForgotten, c.cfg.Server, err))
			return
		}
	}
	c.failed(now, r, err)
}

// otherRealm reports whether a 401 asks for credentials of another realm than
// those that were refused: the relay was started anew with another one.
func (c *Client) otherRealm(m *pion.Message) bool {
	realm, err := m.Get(pion.AttrRealm)
	return err == nil && !bytes.Equal(realm, c.realm)
}

// challenged takes realm and nonce from a 401 or 438.
func (c *Client) challenged(m *pion.Message) bool {
	nonce, err := m.Get(pion.AttrNonce)
	if err != nil {
		return false
	}
	realm, err := m.Get(pion.AttrRealm)
	if err != nil {
		return false
	}
	c.nonce = bytes.Clone(nonce)
	if c.integrity == nil || !bytes.Equal(c.realm, realm) {
		c.realm = bytes.Clone(realm)
		c.integrity = stun.LongTerm(c.cfg.Username, string(realm), c.cfg.Password)
	}
	return true
}

// succeeded handles a success response.
func (c *Client) succeeded(now time.Time, tx *stun.Transaction, r *clientRequest, m *pion.Message) {
	switch r.kind {
	case requestAllocate:
		e, ok := allocationOf(m)
		if !ok {
			c.failed(now, r, ErrMalformed)
			return
		}
		if !tx.Retransmitted() {
			e.RTT = now.Sub(tx.Started)
		}
		c.allocated(now, e)
	case requestRefresh:
		if d, present, ok := lifetimeOf(m.Attributes); present && ok && d > 0 {
			c.scheduleRefresh(now, d)
			if r.renews {
				c.former = formerCredentials{}
				c.out.Emit(Renewed{})
			}
		} else {
			c.lost(fmt.Errorf("refresh: %w", ErrMalformed))
		}
	case requestEvict:
		c.former = formerCredentials{}
		c.allocate(now)
	case requestPermission:
		c.granted(now, r.peer)
	case requestChannel:
		c.bound(now, r.peer, r.channel)
	case requestProbe:
		raw, present := m.Attributes.Get(pion.AttrXORMappedAddress)
		if !present {
			return
		}
		if seen, ok := parseXORAddress(m.TransactionID, raw.Value); ok && seen != c.reflexive {
			c.lost(fmt.Errorf("%w from %s to %s", ErrAddressChanged, c.reflexive, seen))
		}
	}
}

// failed handles a request that came to nothing.
func (c *Client) failed(now time.Time, r *clientRequest, err error) {
	switch r.kind {
	case requestAllocate, requestEvict:
		c.former = formerCredentials{} // they do not help
		c.abandon()
		c.out.Emit(AllocateFailed{Err: fmt.Errorf("allocate at %s: %w", c.cfg.Server, err)})
	case requestRefresh:
		c.lost(fmt.Errorf("refresh at %s: %w", c.cfg.Server, err))
	case requestProbe:
		if errors.Is(err, ErrNoAnswer) {
			c.lost(fmt.Errorf("keepalive to %s: %w", c.cfg.Server, err))
		}
	case requestPermission:
		c.denied(now, r.peer, err)
	case requestChannel:
		c.unbound(r.peer)
	}
}

// allocationOf reads a success response to Allocate.
func allocationOf(m *pion.Message) (e Allocated, ok bool) {
	relayed, present := m.Attributes.Get(pion.AttrXORRelayedAddress)
	if !present {
		return e, false
	}
	if e.Relayed, ok = parseXORAddress(m.TransactionID, relayed.Value); !ok {
		return e, false
	}
	mapped, present := m.Attributes.Get(pion.AttrXORMappedAddress)
	if !present {
		return e, false
	}
	if e.Reflexive, ok = parseXORAddress(m.TransactionID, mapped.Value); !ok {
		return e, false
	}
	d, present, ok := lifetimeOf(m.Attributes)
	e.Lifetime = d
	return e, present && ok && d > 0
}
