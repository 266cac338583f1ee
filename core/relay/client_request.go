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
	requestMove   // Refresh with a ticket
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
	signer     signer         // of the credentials that it carries
	challenges int
}

// request builds r with the credentials known now and sends it.
func (c *Client) request(now time.Time, r *clientRequest) {
	id, err := stun.NewID(c.cfg.Rand)
	if err != nil {
		c.failed(now, r, fmt.Errorf("draw a transaction id: %w", err))
		return
	}
	const most = 8 + 12 + 24 + 20 + 16 + 36 + paidFor // of a kind's own attributes, and integrity
	w := stun.Write(r.method(), pion.ClassRequest, id, most+4*(4+3)+len(c.cfg.Username)+len(c.former.username)+len(c.realm)+len(c.nonce)+len(c.algorithms))
	c.ask(&w, r)
	as := c.as
	if r.kind == requestEvict && !c.former.signer.none() {
		as = c.former
	}
	r.signer = signer{}
	switch {
	case r.kind == requestProbe:
		w.Bytes(stun.AttrPad, padding[:stun.PaysForMapped-w.Len()-4])
	case as.signer.none():
		w.Text(pion.AttrSoftware, software)
		w.Bytes(stun.AttrPad, padding[:max(0, paidFor-w.Len()-4)])
	default:
		c.sign(&w, as)
		r.signer = as.signer
	}
	c.inFlight[r.kind]++
	tx := c.requests.Start(now, w.Raw(), c.cfg.Schedule, r)
	c.send(bytes.Clone(tx.Request))
}

// paidFor is how long a request without credentials is: as the challenge that answers
// it, so that a server which never sends strangers more than it got can answer at once.
const paidFor = 128

var padding [paidFor]byte

// ask writes what is a request's own.
func (c *Client) ask(w *stun.Writer, r *clientRequest) {
	switch r.kind {
	case requestAllocate:
		c.askAllocation(w)
	case requestRefresh, requestMove:
		if c.cfg.Lifetime > 0 {
			addLifetime(w, c.cfg.Lifetime)
		}
		if r.kind == requestMove {
			w.Bytes(stun.AttrMobilityTicket, c.ticket)
		}
	case requestEvict, requestDelete:
		addLifetime(w, 0)
	case requestPermission:
		w.XORAddress(pion.AttrXORPeerAddress, r.peer)
	case requestChannel:
		addChannelNumber(w, r.channel)
		w.XORAddress(pion.AttrXORPeerAddress, r.peer)
	}
}

func (c *Client) askAllocation(w *stun.Writer) {
	addRequestedTransport(w, protocolUDP)
	if c.cfg.Lifetime > 0 {
		addLifetime(w, c.cfg.Lifetime)
	}
	switch c.cfg.Families {
	case IPv6Family:
		w.Uint32(pion.AttrRequestedAddressFamily, familyIPv6<<24)
	case BothFamilies:
		w.Uint32(stun.AttrAdditionalAddressFamily, familyIPv6<<24)
		w.Uint32(stun.AttrDraftAdditionalFamily, familyIPv6<<24) // whoever knows neither ignores it
	}
	if c.wantWhole {
		w.Bytes(pion.AttrDontFragment)
	}
	if c.wantTicket {
		w.Bytes(stun.AttrMobilityTicket)
	}
}

// sign writes who we are, as the server has asked for it.
func (c *Client) sign(w *stun.Writer, as identity) {
	if as.hash != nil {
		w.Bytes(pion.AttrUserhash, as.hash)
	} else {
		w.Text(pion.AttrUsername, as.username)
	}
	w.Bytes(pion.AttrRealm, c.realm)
	w.Bytes(pion.AttrNonce, c.nonce)
	if c.algorithm != 0 {
		w.Bytes(pion.AttrPasswordAlgorithms, c.algorithms)
		w.Bytes(pion.AttrPasswordAlgorithm, stun.PasswordAlgorithms{c.algorithm}.Value())
	}
	as.signer.sign(w)
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
	if !c.authentic(r, m) || downgraded(m) {
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
	if r.signer.none() {
		return true
	}
	attribute := pion.AttrMessageIntegrity
	if r.signer.sha256 {
		attribute = pion.AttrMessageIntegritySHA256
	}
	if !m.Contains(attribute) {
		return m.Type.Class == pion.ClassErrorResponse
	}
	return r.signer.check(m) == nil
}

// downgraded reports whether somebody on the way has taken PASSWORD-ALGORITHMS out of
// a challenge, whose nonce says that it was there (RFC 8489 section 9.2.5).
func downgraded(m *pion.Message) bool {
	nonce, err := m.Get(pion.AttrNonce)
	if err != nil || m.Type.Class != pion.ClassErrorResponse {
		return false
	}
	security, _ := stun.SecurityOf(nonce)
	return security&stun.SecurityPasswordAlgorithms != 0 && !m.Contains(pion.AttrPasswordAlgorithms)
}

// refused handles an error response.
func (c *Client) refused(now time.Time, r *clientRequest, m *pion.Message, err error) {
	switch {
	case stun.IsCode(err, stun.CodeTryAlternate) && r.kind == requestAllocate:
		if c.redirected(now, r, m) {
			return
		}
		err = fmt.Errorf("%w: %w", ErrRedirected, err)
	case c.refusedOption(now, r, m, err):
		return
	case stun.IsCode(err, stun.CodeUnauthorized) && !r.signer.none() && !c.otherRealm(m):
		err = fmt.Errorf("user %q: %w", c.cfg.Username, ErrCredentials)
	case stun.IsCode(err, stun.CodeUnauthorized), stun.IsCode(err, stun.CodeStaleNonce):
		if r.challenges++; r.challenges <= maxChallenges && c.challenged(m) {
			c.request(now, r)
			return
		}
	case r.kind == requestMove:
		c.anew(now) // the ticket is of no use; what else is wrong we shall hear
		return
	case stun.IsCode(err, codeOtherUser) && r.kind != requestAllocate && r.kind != requestEvict && r.kind != requestDelete:
		c.lost(fmt.Errorf("%w: %s: %w", ErrOtherUser, c.server, err))
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
			c.lost(fmt.Errorf("%w: %s: %w", ErrForgotten, c.server, err))
			return
		}
	}
	c.failed(now, r, err)
}

// refusedOption does without what a server has and we can do without, and reports
// whether that was the matter.
func (c *Client) refusedOption(now time.Time, r *clientRequest, m *pion.Message, err error) bool {
	if r.kind != requestAllocate {
		return false
	}
	switch {
	case stun.IsCode(err, stun.CodeMobilityForbidden) && c.wantTicket:
		c.wantTicket = false
	case stun.IsCode(err, stun.CodeUnknownAttribute) && c.wantWhole:
		// Whichever it names: nothing else is of the range that must be understood.
		c.wantWhole = false
	default:
		return false
	}
	c.request(now, r)
	return true
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
	var algorithms []byte
	var algorithm stun.PasswordAlgorithm
	security, _ := stun.SecurityOf(nonce)
	if list, err := m.Get(pion.AttrPasswordAlgorithms); err == nil {
		as, ok := stun.ParsePasswordAlgorithms(list)
		if algorithm = as.Choose(); !ok || algorithm == 0 {
			return false // it wants what we do not have
		}
		algorithms = bytes.Clone(list)
	}
	anonymous := security&stun.SecurityUsernameAnonymity != 0
	same := !c.as.signer.none() && bytes.Equal(c.realm, realm) && c.algorithm == algorithm && c.anonymous == anonymous
	c.nonce, c.algorithms = bytes.Clone(nonce), algorithms
	if !same {
		c.realm, c.algorithm, c.anonymous = bytes.Clone(realm), algorithm, anonymous
		c.identify()
	}
	return true
}

// identify makes us who we are, in the realm and the way of the server.
func (c *Client) identify() {
	realm := string(c.realm)
	c.as = identity{username: c.cfg.Username}
	if c.algorithm != 0 {
		c.as.signer = signer{key: c.algorithm.Key(c.cfg.Username, realm, c.cfg.Password), sha256: true}
	} else {
		c.as.signer = signer{key: stun.LongTerm(c.cfg.Username, realm, c.cfg.Password)}
	}
	if c.anonymous {
		hash := stun.Userhash(c.cfg.Username, realm)
		c.as.hash = hash[:]
	}
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
		c.takeTicket(m)
		c.whole = c.wantWhole
		c.allocated(now, e)
	case requestMove:
		c.moved(now, tx, m)
	case requestRefresh:
		if d, present, ok := lifetimeOf(m.Attributes); present && ok && d > 0 {
			c.scheduleRefresh(now, d)
			if r.renews {
				c.former = identity{}
				c.out.Emit(Renewed{})
			}
		} else {
			c.lost(fmt.Errorf("refresh: %w", ErrMalformed))
		}
	case requestEvict:
		c.former = identity{}
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
		seen, ok := parseXORAddress(m.TransactionID, raw.Value)
		switch {
		case !ok || seen == c.reflexive:
		case !c.reflexive.IsValid():
			c.reflexive = seen
		default:
			c.lost(fmt.Errorf("%w from %s to %s", ErrAddressChanged, c.reflexive, seen))
		}
	}
}

// failed handles a request that came to nothing.
func (c *Client) failed(now time.Time, r *clientRequest, err error) {
	switch r.kind {
	case requestAllocate, requestEvict:
		c.former = identity{} // they do not help
		server := c.server
		c.abandon()
		c.server, c.redirects = c.cfg.Server, 0
		c.out.Emit(AllocateFailed{Err: fmt.Errorf("allocate at %s: %w", server, err)})
	case requestMove:
		// The way there is broken; the allocation may still be there.
		c.suspend()
		c.out.Emit(AllocateFailed{Err: fmt.Errorf("move the allocation at %s: %w", c.server, err)})
	case requestRefresh:
		c.lost(fmt.Errorf("refresh at %s: %w", c.server, err))
	case requestProbe:
		if errors.Is(err, ErrNoAnswer) {
			c.lost(fmt.Errorf("keepalive to %s: %w", c.server, err))
		}
	case requestPermission:
		c.denied(now, r.peer, err)
	case requestChannel:
		c.unbound(r.peer)
	}
}

// allocationOf reads a success response to Allocate.
func allocationOf(m *pion.Message) (e Allocated, ok bool) {
	for _, raw := range m.Attributes {
		if raw.Type != pion.AttrXORRelayedAddress {
			continue
		}
		a, ok := parseXORAddress(m.TransactionID, raw.Value)
		switch {
		case !ok:
			return e, false
		case !e.Relayed.IsValid():
			e.Relayed = a
		case a.Addr().Is4() && !e.Relayed.Addr().Is4():
			e.Relayed, e.Other = a, e.Relayed
		case a.Addr().Is4() != e.Relayed.Addr().Is4():
			e.Other = a
		}
	}
	if !e.Relayed.IsValid() {
		return e, false
	}
	mapped, present := m.Attributes.Get(pion.AttrXORMappedAddress)
	if !present {
		return e, false
	}
	if e.Reflexive, ok = parseXORAddress(m.TransactionID, mapped.Value); !ok {
		return e, false
	}
	if _, code, refused := addressErrorCodeOf(m.Attributes); refused {
		e.OtherErr = &stun.ResponseError{Code: code}
	}
	d, present, ok := lifetimeOf(m.Attributes)
	e.Lifetime = d
	return e, present && ok && d > 0
}
