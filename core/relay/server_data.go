package relay

import (
	"encoding/binary"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
)

// fromChannel passes a client's ChannelData to the peer (RFC 8656 section 12.6).
func (s *Server) fromChannel(now time.Time, d sansio.Datagram) (nothing sansio.Forwarded) {
	number, data, ok := parseChannelData(d.Payload)
	if !ok {
		s.stats.DroppedMalformed++
		return nothing
	}
	a := s.allocationOf(now, d.Socket, d.Remote)
	if a == nil {
		s.stats.DroppedNoAllocation++
		return nothing
	}
	c := a.channelByNumber(now, number)
	if c == nil {
		s.stats.DroppedNoChannel++
		return nothing
	}
	if c.offloaded() {
		s.extend(now, a, c)
	}
	return s.toPeer(now, a, c.peer, data, false)
}

// fromSend passes a Send indication's data to the peer (RFC 8656 section 11.2).
// Indications are not authenticated: the 5-tuple and the permission are.
func (s *Server) fromSend(now time.Time, d sansio.Datagram, m *pion.Message) {
	a := s.allocationOf(now, d.Socket, d.Remote)
	if a == nil {
		s.stats.DroppedNoAllocation++
		return
	}
	raw, haveAddress := m.Attributes.Get(pion.AttrXORPeerAddress)
	data, haveData := m.Attributes.Get(pion.AttrData)
	if !haveAddress || !haveData || len(s.unknownAttributes(m.Attributes)) > 0 {
		s.stats.DroppedMalformed++
		return
	}
	peer, ok := parseXORAddress(m.TransactionID, raw.Value)
	if !ok || peer.Addr().Is4In6() || !a.to(peer.Addr()).addr.IsValid() || peer.Port() == 0 {
		s.stats.DroppedMalformed++
		return
	}
	if !a.permitted(now, peer.Addr()) {
		s.stats.DroppedNoPermission++
		return
	}
	if f := s.toPeer(now, a, peer, data.Value, m.Contains(pion.AttrDontFragment)); f.Remote.IsValid() {
		f.Payload = append(s.buffers.get(len(f.Payload)), f.Payload...)
		s.Transmit(f.Datagram)
	}
}

// toPeer sends from the relayed address. The policy's word on an address was
// given with the permission or the channel and stands; but for our own
// addresses it is asked once more for each packet: a permission covers all
// ports, and which of ours are relayed transport addresses changes.
func (s *Server) toPeer(now time.Time, a *allocation, peer netip.AddrPort, data []byte, whole bool) (nothing sansio.Forwarded) {
	from := a.to(peer.Addr())
	if s.policy.ours(peer.Addr()) && !s.policy.permits(from.addr, peer) {
		s.stats.DroppedForbidden++
		return nothing
	}
	if a.limits.any && !a.limits.admit(now, len(data)) {
		s.stats.DroppedRate++
		return nothing
	}
	s.stats.ToPeers++
	s.stats.ToPeersBytes += uint64(len(data))
	return sansio.Forwarded{Datagram: sansio.Datagram{Socket: from.socket, Remote: peer, DontFragment: whole, Payload: data}}
}

// fromPeer passes what came to a relayed address to its client, as ChannelData
// if the peer has a channel, as a Data indication otherwise (RFC 8656 sections
// 11.3 and 12.7).
func (s *Server) fromPeer(now time.Time, d sansio.Datagram) (nothing sansio.Forwarded) {
	a := s.bySocket[d.Socket]
	if a == nil || !now.Before(a.expires) {
		s.stats.DroppedNoAllocation++ // a reservation that nobody claimed yet, or one just ended
		return nothing
	}
	if !a.permitted(now, d.Remote.Addr()) {
		s.stats.DroppedNoPermission++
		return nothing
	}
	if len(d.Payload) > maxRelayedPayload {
		s.stats.DroppedMalformed++
		return nothing
	}
	if a.limits.any && !a.limits.admit(now, len(d.Payload)) {
		s.stats.DroppedRate++
		return nothing
	}
	s.stats.ToClients++
	s.stats.ToClientsBytes += uint64(len(d.Payload))
	f := sansio.Forwarded{Datagram: sansio.Datagram{Socket: a.via, Remote: a.client, Payload: d.Payload}}
	if c := a.channelByPeer(now, d.Remote); c != nil {
		if c.offloaded() {
			s.extend(now, a, c)
		}
		s.header = appendChannelHeader(s.header[:0], c.number, len(d.Payload))
		f.Prefix = s.header
		return f
	}
	f.Payload = s.dataIndication(d.Remote, d.Payload)
	return f
}

// dataIndication writes a Data indication: header, XOR-PEER-ADDRESS, DATA. It
// is written by hand because it is the data path of clients without channels.
func (s *Server) dataIndication(peer netip.AddrPort, data []byte) []byte {
	id := s.indicationID()
	padding := -len(data) & 3
	b := append(s.header[:0], make([]byte, headerSize)...)
	b = binary.BigEndian.AppendUint16(b, pion.AttrXORPeerAddress.Value())
	b = binary.BigEndian.AppendUint16(b, 0)
	b = appendXORAddress(b, id, peer)
	binary.BigEndian.PutUint16(b[headerSize+2:], uint16(len(b)-headerSize-attributeHeaderSize))
	b = binary.BigEndian.AppendUint16(b, pion.AttrData.Value())
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	b = append(b, data...)
	b = append(b, make([]byte, padding)...)

	binary.BigEndian.PutUint16(b, pion.NewType(pion.MethodData, pion.ClassIndication).Value())
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-headerSize))
	binary.BigEndian.PutUint32(b[4:], magicCookie)
	copy(b[8:], id[:])
	s.header = b
	return b
}

// indicationID is the transaction id of an indication. Nobody answers it: it need not
// be random.
func (s *Server) indicationID() (id [pion.TransactionIDSize]byte) {
	s.indications++
	binary.BigEndian.PutUint64(id[4:], s.indications)
	return id
}
