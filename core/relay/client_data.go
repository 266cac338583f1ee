package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// Send passes a payload to a permitted peer: as ChannelData once a channel is
// bound, as a Send indication before. Without permission the server drops it
// silently; a permission that was asked for just now counts, as the server
// reads both in order. The payload is copied.
func (c *Client) Send(now time.Time, to netip.AddrPort, payload []byte) error {
	if c.state != clientAllocated {
		return fmt.Errorf("send to %s: %w", to, ErrNotAllocated)
	}
	if len(payload) > maxRelayedPayload {
		return fmt.Errorf("send %d bytes to %s: %w", len(payload), to, ErrTooLarge)
	}
	s := c.peers[to]
	if s != nil && s.bound {
		c.send(appendChannelData(make([]byte, 0, channelHeaderSize+len(payload)), s.channel, payload))
		return nil
	}
	c.indicate(to, payload, false)
	if s != nil && c.cfg.ChannelAfter > 0 && !s.asked && !s.refused {
		if s.sent++; s.sent >= c.cfg.ChannelAfter {
			c.askChannel(now, to, s)
		}
	}
	return nil
}

// SendWhole is Send of a datagram that leaves the relay in one piece or not at all
// (DONT-FRAGMENT), for those who look for the path's MTU: Unreachable tells of it where
// it is less. It always goes as a Send indication. ErrFragments: the relay cannot.
func (c *Client) SendWhole(_ time.Time, to netip.AddrPort, payload []byte) error {
	switch {
	case c.state != clientAllocated:
		return fmt.Errorf("send to %s: %w", to, ErrNotAllocated)
	case !c.whole:
		return fmt.Errorf("send to %s: %w", to, ErrFragments)
	case len(payload) > maxRelayedPayload:
		return fmt.Errorf("send %d bytes to %s: %w", len(payload), to, ErrTooLarge)
	}
	c.indicate(to, payload, true)
	return nil
}

// indicate sends a Send indication.
func (c *Client) indicate(to netip.AddrPort, payload []byte, whole bool) {
	w := stun.Write(pion.MethodSend, pion.ClassIndication, c.indicationID(), 24+4+4+len(payload)+3)
	w.XORAddress(pion.AttrXORPeerAddress, to)
	if whole {
		w.Bytes(pion.AttrDontFragment)
	}
	w.Bytes(pion.AttrData, payload)
	c.send(w.Raw())
}

// indicationID is the transaction id of a Send indication. Nothing ever
// answers one, so it only has to differ from its neighbours; a random one would
// cost a read of the random source for each packet.
func (c *Client) indicationID() (id [pion.TransactionIDSize]byte) {
	c.indications++
	binary.BigEndian.PutUint64(id[4:], c.indications)
	return id
}

// handleChannelData emits what came on a channel of ours.
func (c *Client) handleChannelData(payload []byte) {
	number, data, ok := parseChannelData(payload)
	if !ok {
		return
	}
	if from, known := c.channels[number]; known && c.state == clientAllocated {
		c.out.Emit(Data{From: from, Payload: bytes.Clone(data)})
	}
}

// handleData emits what came in a Data indication from an address that we
// permitted; the relay passes no others (RFC 8656 section 11.4).
func (c *Client) handleData(m *pion.Message) {
	raw, present := m.Attributes.Get(pion.AttrXORPeerAddress)
	if !present || c.state != clientAllocated {
		return
	}
	from, ok := parseXORAddress(m.TransactionID, raw.Value)
	if !ok || c.permission(from.Addr()) == nil {
		return
	}
	if raw, present := m.Attributes.Get(stun.AttrICMP); present {
		if kind, code, mtu, ok := parseICMP(raw.Value); ok {
			c.out.Emit(Unreachable{Peer: from, Type: kind, Code: code, MTU: mtu})
		}
		return
	}
	data, present := m.Attributes.Get(pion.AttrData)
	if !present {
		return
	}
	c.out.Emit(Data{From: from, Payload: bytes.Clone(data.Value)})
}
