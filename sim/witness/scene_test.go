package witness_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

// The scene of most tests: hosts a and b behind a NAT each, a relay and a
// rendezvous on the Internet, all interfaces captured.
//
//	a 10.0.0.2 — nat-a 198.18.1.1 —┬ internet ┬— nat-b 198.18.2.1 — b 10.0.0.2
//	                        relay 198.19.0.9  rendezvous 198.19.0.10
const (
	aIn, bIn       = "10.0.0.2:5000", "10.0.0.2:6000"
	aOut, bOut     = "198.18.1.1:40000", "198.18.2.1:50000"
	relayServer    = "198.19.0.9:3478"
	relayedA       = "198.19.0.9:49160"
	rendezvousAddr = "198.19.0.10:3478"
)

var (
	start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	scene = witness.Scene{
		Hosts:      []string{"a", "b", "relay", "rendezvous"},
		Relay:      []netip.Addr{netip.MustParseAddr("198.19.0.9")},
		Rendezvous: []netip.Addr{netip.MustParseAddr("198.19.0.10")},
	}
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// udp makes the bytes of a UDP packet, with its checksum done.
func udp(src, dst string, id uint16, payload []byte) []byte {
	s, d := ap(src), ap(dst)
	var b []byte
	if s.Addr().Is4() {
		b = make([]byte, 20, 28+len(payload))
		b[0], b[8], b[9] = 0x45, 64, 17
		binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
		binary.BigEndian.PutUint16(b[4:], id)
		copy(b[12:], s.Addr().AsSlice())
		copy(b[16:], d.Addr().AsSlice())
	} else {
		b = make([]byte, 40, 48+len(payload))
		b[0], b[6], b[7] = 0x60, 17, 64
		binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
		copy(b[8:], s.Addr().AsSlice())
		copy(b[24:], d.Addr().AsSlice())
	}
	b = binary.BigEndian.AppendUint16(b, s.Port())
	b = binary.BigEndian.AppendUint16(b, d.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(append(b, 0, 0), payload...)
	witness.FinishChecksum(b)
	return b
}

// story collects packets by their way through the lab.
type story struct {
	tb      testing.TB
	packets []witness.Packet
	id      uint16
}

// way is a list of steps "point direction src dst", divided by ";". Steps are a
// millisecond apart; "" for the addresses means those of the step before.
func (s *story) way(after time.Duration, payload []byte, way string) *story {
	s.tb.Helper()
	s.id++
	src, dst := "", ""
	for i, step := range strings.Split(way, ";") {
		f := strings.Fields(step)
		if len(f) == 4 {
			src, dst = f[2], f[3]
		} else if len(f) != 2 {
			s.tb.Fatalf("step %q", step)
		}
		node, intf, _ := strings.Cut(f[0], ":")
		direction := witness.In
		if f[1] == "out" {
			direction = witness.Out
		}
		p, err := witness.Parse(start.Add(after+time.Duration(i)*time.Millisecond),
			witness.Point{Node: node, Interface: strings.ReplaceAll(intf, "to-", "to ")}, direction, udp(src, dst, s.id, payload))
		if err != nil {
			s.tb.Fatal(err)
		}
		s.packets = append(s.packets, p)
	}
	return s
}

// sorted gives the packets in order of time, as a recorder does.
func (s *story) sorted() []witness.Packet {
	sorted := append([]witness.Packet(nil), s.packets...)
	sortPackets(sorted)
	return sorted
}

func sortPackets(p []witness.Packet) {
	for i := 1; i < len(p); i++ {
		for j := i; j > 0 && p[j].At.Before(p[j-1].At); j-- {
			p[j], p[j-1] = p[j-1], p[j]
		}
	}
}

// Ways of one packet. %s are inserted where a test wants another address.
const (
	directAB = "a:uplink out " + aIn + " " + bOut + ";nat-a:to-a in;nat-a:uplink out " + aOut + " " + bOut +
		";internet:to-nat-a in;internet:to-nat-b out;nat-b:uplink in;nat-b:to-b out " + aOut + " " + bIn + ";b:uplink in"
	directBA = "b:uplink out " + bIn + " " + aOut + ";nat-b:to-b in;nat-b:uplink out " + bOut + " " + aOut +
		";internet:to-nat-b in;internet:to-nat-a out;nat-a:uplink in;nat-a:to-a out " + bOut + " " + aIn + ";a:uplink in"
	// filteredAB dies inside nat-b.
	filteredAB = "a:uplink out " + aIn + " " + bOut + ";nat-a:to-a in;nat-a:uplink out " + aOut + " " + bOut +
		";internet:to-nat-a in;internet:to-nat-b out;nat-b:uplink in"
	aToRelay = "a:uplink out " + aIn + " " + relayServer + ";nat-a:to-a in;nat-a:uplink out " + aOut + " " + relayServer +
		";internet:to-nat-a in;internet:to-relay out;relay:uplink in"
	relayToA = "relay:uplink out " + relayServer + " " + aOut + ";internet:to-relay in;internet:to-nat-a out;nat-a:uplink in" +
		";nat-a:to-a out " + relayServer + " " + aIn + ";a:uplink in"
	relayedToB = "relay:uplink out " + relayedA + " " + bOut + ";internet:to-relay in;internet:to-nat-b out;nat-b:uplink in" +
		";nat-b:to-b out " + relayedA + " " + bIn + ";b:uplink in"
	bToRelayed = "b:uplink out " + bIn + " " + relayedA + ";nat-b:to-b in;nat-b:uplink out " + bOut + " " + relayedA +
		";internet:to-nat-b in;internet:to-relay out;relay:uplink in"
	relayToB = "relay:uplink out " + relayServer + " " + bOut + ";internet:to-relay in;internet:to-nat-b out;nat-b:uplink in" +
		";nat-b:to-b out " + relayServer + " " + bIn + ";b:uplink in"
	aToRendezvous = "a:uplink out " + aIn + " " + rendezvousAddr + ";nat-a:to-a in;nat-a:uplink out " + aOut + " " + rendezvousAddr +
		";internet:to-nat-a in;internet:to-rendezvous out;rendezvous:uplink in"
)

// payload is a datagram that no other equals.
func payload(n int) []byte { return []byte(fmt.Sprintf("payload number %d", n)) }

// stunMessage makes a STUN message of a type with attributes.
func stunMessage(kind uint16, transaction string, attributes ...[]byte) []byte {
	var body []byte
	for _, a := range attributes {
		body = append(body, a...)
	}
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = binary.BigEndian.AppendUint32(b, 0x2112a442)
	return append(append(b, fmt.Sprintf("%-12.12s", transaction)...), body...)
}

func attribute(kind uint16, value []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func bindingRequest(transaction string) []byte { return stunMessage(0x0001, transaction) }

func channelData(channel uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, channel)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// peerAddress is XOR-PEER-ADDRESS of an IPv4 address.
func peerAddress(s string) []byte {
	a := ap(s)
	b := binary.BigEndian.AppendUint16([]byte{0, 1}, a.Port()^0x2112)
	return attribute(0x0012, binary.BigEndian.AppendUint32(b, binary.BigEndian.Uint32(a.Addr().AsSlice())^0x2112a442))
}

func sendIndication(peer string, data []byte) []byte {
	return stunMessage(0x0016, "send", peerAddress(peer), attribute(0x0013, data))
}

func dataIndication(peer string, data []byte) []byte {
	return stunMessage(0x0017, "data", peerAddress(peer), attribute(0x0013, data))
}
