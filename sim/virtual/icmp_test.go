package virtual

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// chain is a host behind two NATs, a router without one, and a server.
const chain = `lab:
  routers: {carrier: {nat: restricted-cone}, home: {behind: carrier, nat: port-restricted-cone}}
  hosts: {inside: {behind: home}, server: {addresses: 2}, guarded: {firewall: {inbound: replies}}}
`

func parsed(t *testing.T, text string) *Network {
	t.Helper()
	lab, err := sim.ParseLab("lab.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	n, err := Fabric{}.Build(context.Background(), lab, sim.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n.(*Network)
}

func (n *Network) hostNamed(name string) *Host {
	for _, h := range n.hosts {
		if h.node.name == name {
			return h
		}
	}
	return nil
}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// TestErrorsAndEchoes: what a packet that no machine sends meets on its way, and
// what comes back to its sender.
func TestErrorsAndEchoes(t *testing.T) {
	udp := func(p *packet) {
		p.protocol, p.ttl, p.src, p.dst = protocolUDP, defaultTTL, at("192.168.1.2:5000"), at("198.18.0.3:9")
	}
	echo := func(p *packet) {
		p.protocol, p.kind, p.ttl, p.src, p.dst = protocolICMP, icmpEchoRequest, defaultTTL, at("192.168.1.2:77"), at("198.18.0.3:0")
	}
	tcp := func(p *packet) { udp(p); p.protocol, p.flags, p.seq = protocolTCP, tcpSYN, 1000 }
	for _, c := range []struct {
		name string
		make func(p *packet)
		want string // what comes back: from, summary, and the source that an error quotes
	}{
		{"a closed port", udp, "198.18.0.3 ICMP port unreachable about 192.168.1.2:5000"},
		{"a closed port of a second address", func(p *packet) { udp(p); p.dst = at("198.18.0.4:9") }, "198.18.0.4 ICMP port unreachable about 192.168.1.2:5000"},
		{"a closed port of TCP", tcp, "198.18.0.3 TCP RST ACK to 1001"},
		{"an echo", echo, "198.18.0.3 echo reply 77"},
		{"an echo to the router", func(p *packet) { echo(p); p.dst = at("192.168.1.1:0") }, "192.168.1.1 echo reply 77"},
		{"to the router", func(p *packet) { udp(p); p.dst = at("192.168.1.1:9") }, "192.168.1.1 ICMP port unreachable about 192.168.1.2:5000"},
		{"the first router ends it", func(p *packet) { udp(p); p.ttl = 1 }, "192.168.1.1 ICMP time to live exceeded about 192.168.1.2:5000"},
		{"the second router ends it", func(p *packet) { udp(p); p.ttl = 2 }, "100.64.0.1 ICMP time to live exceeded about 192.168.1.2:5000"},
		{"the core ends it", func(p *packet) { udp(p); p.ttl = 3 }, "198.18.0.1 ICMP time to live exceeded about 192.168.1.2:5000"},
		{"the core ends an echo", func(p *packet) { echo(p); p.ttl = 3 }, "198.18.0.1 ICMP time to live exceeded about 192.168.1.2:77"},
		{"it arrives at the last moment", func(p *packet) { udp(p); p.ttl = 4 }, "198.18.0.3 ICMP port unreachable about 192.168.1.2:5000"},
		{"nobody has the address", func(p *packet) { udp(p); p.dst = at("198.18.9.9:9") }, "198.18.0.1 ICMP network unreachable about 192.168.1.2:5000"},
		{"private addresses are not answered", func(p *packet) { udp(p); p.dst = at("10.9.9.9:9") }, ""},
		{"a guarded host is silent", func(p *packet) { udp(p); p.dst = at("198.18.0.5:9") }, ""},
		{"what a link has damaged is not answered", func(p *packet) { udp(p); p.fill([]byte("payload")); p.setSize(); p.corrupt(1 << 63) }, ""},
		{"an error is not answered", func(p *packet) {
			udp(p)
			p.protocol, p.kind, p.code, p.quoted = protocolICMP, icmpUnreachable, codePortUnreachable, &packet{protocol: protocolUDP, src: p.dst, dst: p.src, size: 28}
		}, ""},
	} {
		n := parsed(t, chain)
		p := n.take()
		c.make(p)
		if p.size == 0 {
			p.setSize()
		}
		inside := n.hostNamed("inside")
		inside.emit(p)
		if err := sim.Sleep(t.Context(), n, time.Second); err != nil {
			t.Fatal(err)
		}
		var back []string
		for _, w := range n.Packets() {
			if !strings.HasPrefix(c.name, "what a link") && !witness.ChecksumValid(w.Data) {
				t.Errorf("%s: wrong checksum at %v", c.name, w.Point)
			}
			if w.Point.Node == "inside" && w.Direction == witness.In {
				back = append(back, told(w))
			}
		}
		if got := strings.Join(back, "; "); got != c.want {
			t.Errorf("%s: %q comes back, want %q", c.name, got, c.want)
		}
	}
}

// told says what came back to a sender.
func told(w witness.Packet) string {
	b := w.Data[20:]
	port := func(i int) int { return int(b[i])<<8 | int(b[i+1]) }
	switch {
	case w.Protocol == protocolTCP:
		return fmt.Sprintf("%v TCP RST ACK to %d", w.Src.Addr(), port(10))
	case b[0] == icmpEchoReply:
		return fmt.Sprintf("%v echo reply %d", w.Src.Addr(), port(4))
	}
	summary := witness.Summary(w)
	quote := 28
	if w.Data[28+9] == protocolICMP {
		quote += 4 // the identifier
	}
	return fmt.Sprintf("%v %s about %v:%d", w.Src.Addr(), summary, netip.AddrFrom4([4]byte(w.Data[40:44])), port(quote))
}

// TestCorruption: a flipped bit is seen by a checksum that is wrong, wherever it
// is, and stays so through NATs; what is flipped back is right again.
func TestCorruption(t *testing.T) {
	for _, size := range []int{0, 1, 8, 101} {
		for bit := range (sizeUDP + size) * 8 {
			p := &packet{protocol: protocolUDP, ttl: defaultTTL, src: at("10.0.0.1:5000"), dst: at("198.18.0.3:9")}
			p.fill(make([]byte, size))
			p.setSize()
			flip := (uint64(bit)<<32 + 1<<31) / uint64((sizeUDP+size)*8) << 32
			p.corrupt(flip)
			if !p.damaged || witness.ChecksumValid(p.marshal(nil)) {
				t.Fatalf("size %d: bit %d is not noticed", size, bit)
			}
			p.src = at("198.18.0.2:1024")
			if p.data = nil; witness.ChecksumValid(p.marshal(nil)) {
				t.Fatalf("size %d: bit %d is not noticed behind a NAT", size, bit)
			}
		}
	}
}
