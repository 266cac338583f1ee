package nat

import (
	"slices"
	"time"
)

// Firewall is a packet filter without translation, on a router, on a host, or in
// a chain that the oracle walks. The zero value lets everything pass.
//
// The outbound lists say what may begin. Whoever may begin a flow is answered:
// packets back, and ICMP errors about it, always pass.
type Firewall struct {
	// Inbound says what may enter.
	Inbound FirewallInbound
	// OutboundUDP lists the destination ports to which UDP may leave, ascending;
	// nil lets all UDP leave, an empty list none. OutboundTCP does so for TCP.
	OutboundUDP, OutboundTCP []uint16
	// KeepOther lets nothing leave that is neither UDP nor TCP, as an ICMP echo.
	KeepOther bool
	// Reject says which senders are told of what is dropped.
	Reject Rejection
	// ResetTCP has the sender of a TCP segment that may not leave told by a RST.
	// Otherwise it is told as all others are.
	ResetTCP bool
	// Portal is the captive portal in front of everything else.
	Portal Portal
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

// Rejection says which senders of dropped packets get an ICMP error: destination
// unreachable, communication administratively prohibited (type 3 code 13, RFC
// 1812 section 5.2.7.1). That is for TCP as well: RFC 6092 REC-34 asks for it, and
// RFC 3360 (BCP 60) against resets by those in the middle.
type Rejection uint8

const (
	// RejectNone drops silently, which RFC 1812 section 5.2.7.1 lets a router do.
	RejectNone Rejection = iota
	// RejectLeaving tells those inside: of what may not leave, nor pass between
	// hosts inside.
	RejectLeaving
	// RejectEntering tells those outside, of what may not enter.
	RejectEntering
	// RejectBoth tells both.
	RejectBoth
)

// Leaving reports whether those inside are told.
func (r Rejection) Leaving() bool { return r == RejectLeaving || r == RejectBoth }

// Entering reports whether those outside are told.
func (r Rejection) Entering() bool { return r == RejectEntering || r == RejectBoth }

// Portal is a captive portal (RFC 8952): hosts behind the firewall whose address
// has not been logged in reach nothing beyond it, and are not reached. Their TCP
// connections to port 80, wherever they lead, are answered by the portal. The
// rest of the firewall is for those that are logged in.
type Portal struct {
	On bool
	// Session is how long a login lasts; 0: until the router reboots.
	Session time.Duration
}

// MaxSession is the longest Session of a Portal.
const MaxSession = 30 * 24 * time.Hour

// PortalPort is the TCP port whose connections a portal answers.
const PortalPort = 80

// FirewallPreset is a firewall with a name.
type FirewallPreset struct {
	Name string
	// Title is what it stands for, in a line.
	Title    string
	Firewall Firewall
}

// FirewallPresets gives all firewalls that have a name.
func FirewallPresets() []FirewallPreset {
	return []FirewallPreset{
		{"open", "everything passes", Firewall{}},
		{"stateful", "answers alone may enter (RFC 6092)", Firewall{Inbound: InboundReplies}},
		{"udp-blocked", "stateful, and no UDP passes", Firewall{Inbound: InboundReplies, OutboundUDP: []uint16{}}},
		{
			"tcp-443-only", "stateful, and nothing leaves but TCP to port 443, no DNS either",
			Firewall{Inbound: InboundReplies, OutboundUDP: []uint16{}, OutboundTCP: []uint16{443}, KeepOther: true},
		},
		{"captive-portal", "stateful, for hosts that have logged in; others get the portal's page", Firewall{Inbound: InboundReplies, Portal: Portal{On: true}}},
	}
}

// AllowsUDP reports whether UDP to this destination port may leave.
func (f Firewall) AllowsUDP(port uint16) bool { return allows(f.OutboundUDP, port) }

// AllowsTCP reports whether TCP to this destination port may leave.
func (f Firewall) AllowsTCP(port uint16) bool { return allows(f.OutboundTCP, port) }

func allows(ports []uint16, port uint16) bool { return ports == nil || slices.Contains(ports, port) }

// KeepsIn reports whether there is something that may not leave, lists of an
// Access left aside.
func (f Firewall) KeepsIn() bool {
	return f.OutboundUDP != nil || f.OutboundTCP != nil || f.KeepOther
}

// Clone gives a copy that shares nothing.
func (f Firewall) Clone() Firewall {
	f.OutboundUDP, f.OutboundTCP = slices.Clone(f.OutboundUDP), slices.Clone(f.OutboundTCP)
	return f
}
