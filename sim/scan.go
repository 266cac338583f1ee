package sim

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/nat"
)

// Scan is what a host tries on others: a SYN to TCP ports and a datagram to UDP
// ports. It is judged by what crosses the wires: what got to a host, answered or
// not, and what came back.
type Scan struct {
	// Targets are IPv4 addresses, at most 1000.
	Targets []netip.Addr
	// TCP and UDP are the ports: nil is all of them, from 1 to 65535; an empty
	// slice is none.
	TCP, UDP []nat.PortRange
	// From is the source of all probes. Without an address it is the first of the
	// host's active uplink, without a port it is DefaultScanPort. An address that
	// is another's is sent nevertheless; answers then go there, not here.
	From netip.AddrPort
	// Rate bounds the probes a second; 0: DefaultScanRate, or SlowScanRate in a lab
	// that declares links.
	Rate int
	// Wait is how long nothing may be seen any more before the scan ends, after the
	// last probe; 0: 300 ms, and four times the longest delay of a link.
	Wait time.Duration
}

const (
	// DefaultScanPort is in the dynamic range (RFC 6335 section 6), above what
	// Linux gives to sockets that ask for none.
	DefaultScanPort = 61616
	// DefaultScanRate is what a machine of two processors does without loss: all
	// ports of a host take less than two seconds.
	DefaultScanRate = 80_000
	// SlowScanRate is what links that can be impaired keep up with.
	SlowScanRate = 15_000
	// MaxScanThroughNAT bounds the probes of a scan that passes a NAT: each takes
	// an entry of its tables, and what has none there is dropped.
	MaxScanThroughNAT = 30_000
)

// Transport is what a probe is of.
type Transport string

// The transports.
const (
	TCP Transport = "tcp"
	UDP Transport = "udp"
)

// Probe is what was sent to a port.
type Probe struct {
	Transport Transport
	Target    netip.AddrPort
}

// String gives "tcp 198.18.0.2:443".
func (p Probe) String() string { return fmt.Sprintf("%s %s", p.Transport, p.Target) }

// Reached says that a probe entered a host by one of its uplinks.
type Reached struct {
	Probe
	Host string
}

// AnswerKind is how a probe was answered.
type AnswerKind string

// The answers. An ICMP error may come from a router on the way.
const (
	SynAck   AnswerKind = "syn-ack"
	Reset    AnswerKind = "reset"
	Datagram AnswerKind = "datagram"
	Error    AnswerKind = "icmp error"
)

// Answer is what came back for a probe.
type Answer struct {
	Probe
	Kind AnswerKind
	From netip.Addr // who sent it
}

// ScanResult is what became of a scan, by the packets on the wires. The lab's
// captures do not have its probes, nor the refusals that they meet.
type ScanResult struct {
	Sent int
	// Reached are the probes that entered a host, each once, in order of host,
	// transport and port.
	Reached []Reached
	// Answers are what came back, each kind once for each probe. Hosts bound how
	// many ICMP errors they send in a second, so that not all are there.
	Answers []Answer
	Took    time.Duration
}

// Ports gives the ports of a host that probes reached, by what they were sent
// to.
func (r ScanResult) Ports(host string, t Transport) []nat.PortRange {
	var ports []uint16
	for _, p := range r.Reached {
		if p.Host == host && p.Transport == t {
			ports = append(ports, p.Target.Port())
		}
	}
	return ranges(ports)
}

// Answered gives the ports of an address that gave an answer of this kind.
func (r ScanResult) Answered(target netip.Addr, t Transport, kind AnswerKind) []nat.PortRange {
	var ports []uint16
	for _, a := range r.Answers {
		if a.Target.Addr() == target && a.Transport == t && a.Kind == kind {
			ports = append(ports, a.Target.Port())
		}
	}
	return ranges(ports)
}

// String says what was reached, for people: "agent tcp 443; udp-1 udp 3478,
// 49152-65535".
func (r ScanResult) String() string {
	var hosts, parts []string
	for _, p := range r.Reached {
		if !slices.Contains(hosts, p.Host) {
			hosts = append(hosts, p.Host)
		}
	}
	for _, h := range hosts {
		for _, t := range []Transport{TCP, UDP} {
			if ports := r.Ports(h, t); len(ports) > 0 {
				parts = append(parts, fmt.Sprintf("%s %s %s", h, t, nat.FormatPorts(ports)))
			}
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}

// ranges joins ports to ranges.
func ranges(ports []uint16) (all []nat.PortRange) {
	slices.Sort(ports)
	for _, p := range slices.Compact(ports) {
		if n := len(all); n > 0 && all[n-1].High+1 == p {
			all[n-1].High = p
		} else {
			all = append(all, nat.PortRange{Low: p, High: p})
		}
	}
	return all
}

// Compare orders by host, transport, address and port.
func (r Reached) Compare(o Reached) int {
	return cmp.Or(cmp.Compare(r.Host, o.Host), r.Probe.Compare(o.Probe))
}

// Compare orders by transport, address and port.
func (p Probe) Compare(o Probe) int {
	return cmp.Or(cmp.Compare(p.Transport, o.Transport), p.Target.Compare(o.Target))
}

// Compare orders by probe, kind and sender.
func (a Answer) Compare(o Answer) int {
	return cmp.Or(a.Probe.Compare(o.Probe), cmp.Compare(a.Kind, o.Kind), a.From.Compare(o.From))
}
