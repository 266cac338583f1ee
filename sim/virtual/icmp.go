package virtual

import "net/netip"

// answer has a node tell the sender of a packet by an ICMP error what became of
// it. Nobody is told about an ICMP error (RFC 1122 section 3.2.2), nor about what
// came from nowhere.
func (n *Network) answer(at *node, about *packet, kind, code uint8, mtu uint16) {
	if about.isError() || !about.src.IsValid() || about.src.Addr().IsUnspecified() {
		return
	}
	e := n.take()
	e.protocol, e.kind, e.code, e.mtu, e.ttl = protocolICMP, kind, code, mtu, defaultTTL
	e.dst = netip.AddrPortFrom(about.src.Addr(), 0)
	if n.ours(at, about.dst.Addr()) {
		e.src = netip.AddrPortFrom(about.dst.Addr(), 0) // who was asked answers
	}
	e.quoted = n.copy(about)
	e.quoted.data = nil
	e.setSize()
	n.emit(at, e)
}

// ours reports whether an address is one of the node's own.
func (n *Network) ours(at *node, a netip.Addr) bool {
	if at.kind == host {
		return at.host.has(a)
	}
	return n.has(at, a)
}

// reply is what a node without sockets says to a packet that is for it.
func (n *Network) reply(at *node, p *packet) {
	switch {
	case p.protocol == protocolUDP:
		n.answer(at, p, icmpUnreachable, codePortUnreachable, 0)
	case p.protocol == protocolTCP && p.flags&tcpRST == 0:
		n.reset(at, p)
	case p.protocol == protocolICMP && p.kind == icmpEchoRequest:
		e := n.copy(p)
		e.kind, e.ttl, e.data = icmpEchoReply, defaultTTL, nil
		e.src, e.dst = p.dst, p.src
		n.emit(at, e)
	}
}

// reset answers a TCP segment in the name of whom it was for (RFC 9293 section
// 3.5.2).
func (n *Network) reset(at *node, p *packet) {
	r := n.take()
	r.protocol, r.ttl, r.whole = protocolTCP, defaultTTL, true
	r.src, r.dst = p.dst, p.src
	if r.flags = tcpRST; p.flags&tcpACK != 0 {
		r.seq = p.ack
	} else {
		r.flags |= tcpACK
		r.ack = p.seq + uint32(len(p.payload))
		if p.flags&(tcpSYN|tcpFIN) != 0 {
			r.ack++
		}
	}
	r.setSize()
	n.emit(at, r)
}

// emit sends what a node itself has to say. A source that is not set is the
// node's own address on the way out.
func (n *Network) emit(at *node, p *packet) {
	switch at.kind {
	case host:
		at.host.emit(p)
	case router:
		at.router.emit(p)
	default:
		c := n.behind(at, p.dst.Addr())
		if c == nil {
			n.put(p)
			return
		}
		n.leave(at, p, c.down)
	}
}

// leave sends a core's or a router's own packet by a lane.
func (n *Network) leave(at *node, p *packet, out *lane) {
	if !p.src.IsValid() {
		p.src = netip.AddrPortFrom(n.own(at, out), 0)
	}
	at.sent++
	p.id = at.sent
	out.send(n, p)
}
