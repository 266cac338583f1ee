package rendezvous

import (
	"encoding/binary"
	"fmt"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/stun"
)

// register sends a REGISTER at once, in place of one in flight.
func (c *Client) register(now time.Time) {
	c.inFlight.CancelIf(func(p *pending) bool { return p.method == stun.MethodRegister })
	c.next = time.Time{}
	c.send(now, &pending{
		method:    stun.MethodRegister,
		withOffer: c.offerPending || !c.registered, withTicket: c.ticketPending || !c.registered,
	})
}

// ask sends a request, or keeps it until we are registered.
func (c *Client) ask(now time.Time, p *pending) {
	if c.admitted() {
		c.send(now, p)
		return
	}
	c.waiting = append(c.waiting, p)
}

// admitted reports whether the server knows us, by the present ticket.
func (c *Client) admitted() bool { return c.registered && !c.ticketPending }

// send starts a transaction.
func (c *Client) send(now time.Time, p *pending) {
	t := c.inFlight.Start(now, c.build(now, p), c.schedule(), p)
	c.transmit(t.Request)
}

// pipeline sends introductions right behind a REGISTER from another address than
// before: the server knows us, and its answer would take a round trip more. Who
// roams waits for that. One that overtakes the REGISTER is answered all the same, or
// asked for again.
func (c *Client) pipeline(now time.Time, behind *pending) {
	if behind.method != stun.MethodRegister || c.registered || c.ticketPending || c.serverSequence == 0 {
		return
	}
	waiting := c.waiting
	c.waiting = nil
	for _, w := range waiting {
		if w.method == stun.MethodConnect {
			c.send(now, w)
		} else {
			c.waiting = append(c.waiting, w)
		}
	}
}

// schedule is the configured one, or one that follows the round-trip time and
// slows down while nobody answers. It does not double between the requests of
// one transaction: after a cut of seconds, the first request that gets through
// should not be seconds away.
func (c *Client) schedule() stun.Schedule {
	if c.cfg.Schedule != (stun.Schedule{}) {
		return c.cfg.Schedule
	}
	rto := defaultRTO
	if c.rtt > 0 {
		rto = max(minRTO, 2*c.rtt)
	}
	return stun.Schedule{
		RTO:         min(rto<<min(c.failures, 4), max(rto, maxRTO)),
		MaxRequests: requests,
		FinalWait:   finalWait,
		Constant:    true,
	}
}

// apart is half of d to one and a half of it: those who lost the server at one moment
// are not to come back at one.
func (c *Client) apart(d time.Duration) time.Duration {
	id := drawID(c.cfg.Rand)
	return d/2 + time.Duration(binary.BigEndian.Uint32(id[:]))*d>>32
}

// build makes the message of a request, with the present nonce and key.
func (c *Client) build(now time.Time, p *pending) []byte {
	// Room for what is of one size, and for what is not.
	const fixed = 4*(4+3) + 2*(4+identity.Size) + (4 + sequenceSize) + (4 + SessionSize) + (4 + challengePadding) + sealSize
	w := stun.Write(p.method, pion.ClassRequest, drawID(c.cfg.Rand), fixed+len(c.nonce)+len(c.offer)+len(c.ticket))
	own := c.cfg.Key.ID()
	w.Bytes(stun.AttrPeerID, own[:])
	if p.signed = c.key != nil && c.nonce != nil; !p.signed {
		// Only to be challenged: padded, so that the answer is not longer.
		w.Bytes(pion.AttrPadding, make([]byte, challengePadding))
		return finish(w, nil)
	}
	c.sequence = max(c.sequence+1, uint64(now.UnixMicro()))
	w.Uint64(stun.AttrSequence, c.sequence)
	w.Bytes(pion.AttrNonce, c.nonce)
	switch p.method {
	case stun.MethodRegister:
		if p.leaving {
			w.Uint32(pion.AttrLifetime, 0)
		} else if p.withOffer {
			p.version = c.offerVersion
			w.Bytes(stun.AttrOffer, c.offer)
		}
		if !p.leaving && p.withTicket && len(c.ticket) > 0 {
			p.ticket = c.ticketVersion
			w.Bytes(stun.AttrTicket, c.ticket)
		}
	case stun.MethodConnect:
		w.Bytes(stun.AttrTarget, p.target[:])
		w.Bytes(stun.AttrSession, p.session[:])
		w.Bytes(stun.AttrOffer, c.offer)
	case stun.MethodJoin:
		w.Text(stun.AttrRoom, p.room.name)
		if !p.cursor.IsZero() {
			w.Bytes(stun.AttrCursor, p.cursor[:])
		}
	case stun.MethodLeave:
		w.Text(stun.AttrRoom, p.room.name)
	}
	return finish(w, c.key)
}

// adopt takes the server's key for true.
func (c *Client) adopt(server identity.ID) {
	key, err := sharedKey(c.cfg.Key, server, c.cfg.Key.ID(), server)
	if err != nil {
		return
	}
	c.server, c.key = server, key
}

// failed ends a request for which there is no good answer.
func (c *Client) failed(now time.Time, p *pending, err error) {
	refused := stun.IsCode(err, stun.CodeForbidden)
	if refused {
		err = fmt.Errorf("%w: %w", ErrTicket, err)
	}
	switch p.method {
	case stun.MethodRegister:
		c.registered, c.announce = false, true
		c.failures++
		why := ErrUnreachable // of all that waited
		if refused {
			why = err
			c.refuse(now, err)
		} else {
			c.next = now.Add(c.apart(c.schedule().RTO))
			if !c.outage {
				c.outage = true
				c.emit(Unreachable{Since: c.lastHeard, Err: err})
			}
		}
		waiting := c.waiting
		c.waiting = nil
		for _, w := range waiting {
			if refused && w.method == stun.MethodJoin {
				continue // a good ticket will have us join anew
			}
			c.failed(now, w, why)
		}
	case stun.MethodConnect:
		if stun.IsCode(err, stun.CodeNotFound) {
			err = ErrUnknownPeer
		}
		c.emit(ConnectFailed{Peer: p.target, Session: p.session, Err: err})
	case stun.MethodJoin:
		c.forget(p.room)
		c.emit(RoomFailed{Room: p.room.name, Err: err})
	}
}

// refuse ends a registration that the server refuses: it is there, and we are not
// wanted.
func (c *Client) refuse(now time.Time, err error) {
	c.next, c.outage, c.lastHeard = now.Add(refusedRetry), false, now
	if !c.refused {
		c.refused = true
		c.emit(Refused{Err: err})
	}
}

// succeeded takes the answer to a REGISTER.
func (c *Client) succeeded(now time.Time, t *stun.Transaction, p *pending, m *pion.Message) {
	reflexive, err := stun.GetXORAddress(m, pion.AttrXORMappedAddress)
	if err != nil {
		c.failed(now, p, err)
		return
	}
	sequence, err := getSequence(m)
	if err != nil {
		c.failed(now, p, err)
		return
	}
	if c.serverSequence == 0 || sequence < c.serverSequence {
		c.oldest = sequence // a new life of ours, or of a server whose clock went back
	}
	c.serverSequence = sequence
	if !t.Retransmitted() {
		c.measure(now.Sub(t.Started))
	}
	old := c.reflexive
	c.registered, c.outage, c.refused, c.failures, c.reflexive = true, false, false, 0, reflexive
	if p.withOffer {
		c.offerPending = p.version != c.offerVersion
	}
	renewed := p.withTicket && c.ticketPending && p.ticket == c.ticketVersion
	if renewed {
		c.ticketPending = false
	}
	if c.cfg.Keepalive > 0 {
		c.next = now.Add(c.refresh(m))
	}
	if c.offerPending || c.ticketPending {
		c.register(now) // it changed while this one was under way
	}
	if old.IsValid() && old != reflexive {
		c.emit(ReflexiveChanged{Old: old, New: reflexive})
	}
	if c.announce {
		c.announce = false
		c.emit(Registered{Reflexive: reflexive, RTT: c.rtt})
		c.rejoin(now)
	} else if renewed {
		c.emit(TicketRenewed{})
		c.rejoin(now) // it may be for another mesh
	}
	if !c.admitted() {
		return
	}
	waiting := c.waiting
	c.waiting = nil
	for _, w := range waiting {
		c.send(now, w)
	}
}

// refresh is when to register again: before the NAT's mapping expires, and
// well before the registration does.
func (c *Client) refresh(m *pion.Message) time.Duration {
	seconds, err := stun.GetUint32(m, pion.AttrLifetime)
	if lifetime := time.Duration(seconds) * time.Second; err == nil && lifetime > 0 {
		return min(c.cfg.Keepalive, lifetime*3/4)
	}
	return c.cfg.Keepalive
}

// measure smooths the round-trip time as RFC 6298 does.
func (c *Client) measure(sample time.Duration) {
	if c.rtt == 0 {
		c.rtt = sample
		return
	}
	c.rtt += (sample - c.rtt) / 8
}
