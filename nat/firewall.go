package nat

// Firewall is a packet filter without translation, on a router or in a chain
// that the oracle walks. The zero value lets everything pass.
type Firewall struct {
	// Inbound says what may enter.
	Inbound FirewallInbound
	// OutboundUDP lists the destination ports to which UDP may leave, ascending;
	// nil lets all UDP leave, an empty list none.
	OutboundUDP []uint16
}

// FirewallInbound is the inbound policy of a Firewall.
type FirewallInbound uint8

const (
	// InboundOpen lets everything enter.
	InboundOpen FirewallInbound = iota
	// InboundReplies lets only packets enter that answer an outbound flow
	// (same addresses and ports reversed), RFC 6092 REC-11 with
	// address-and-port-dependent filtering.
	InboundReplies
)
