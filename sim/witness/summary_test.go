package witness_test

import (
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		payload []byte
		want    string
	}{
		{make([]byte, 64), "UDP 64 B payload"},
		{nil, "UDP 0 B payload"},
		{bindingRequest("x"), "STUN Binding request"},
		{stunMessage(0x0001, "x", attribute(0x0025, nil)), "STUN Binding request, nominates"},
		{stunMessage(0x0101, "x"), "STUN Binding success"},
		{stunMessage(0x0111, "x", attribute(0x0009, []byte{0, 0, 4, 87})), "STUN Binding error 487"},
		{stunMessage(0x0011, "x"), "STUN Binding indication"},
		{stunMessage(0x0003, "x"), "TURN Allocate request"},
		{stunMessage(0x0113, "x", attribute(0x0009, []byte{0, 0, 4, 1})), "TURN Allocate error 401"},
		{stunMessage(0x0104, "x"), "TURN Refresh success"},
		{stunMessage(0x0008, "x", peerAddress(bOut)), "TURN CreatePermission request for 198.18.2.1:50000"},
		{stunMessage(0x0009, "x", attribute(0x000c, []byte{0x40, 1, 0, 0}), peerAddress(bOut)), "TURN ChannelBind request 0x4001 for 198.18.2.1:50000"},
		{sendIndication(bOut, payload(1)), "TURN Send indication for 198.18.2.1:50000 (16 B)"},
		{dataIndication(bOut, bindingRequest("x")), "TURN Data indication from 198.18.2.1:50000 (20 B): STUN Binding request"},
		{channelData(0x4000, make([]byte, 84)), "ChannelData 0x4000 (84 B)"},
		{channelData(0x4000, bindingRequest("x")), "ChannelData 0x4000 (20 B): STUN Binding request"},
		{stunMessage(0x2880, "x"), "STUN method 0xa40 request"},
	} {
		p, err := witness.Parse(time.Time{}, witness.Point{}, witness.Out, udp(aIn, bOut, 1, c.payload))
		if err != nil {
			t.Fatal(err)
		}
		if got := witness.Summary(p); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	for _, c := range []struct {
		data []byte
		want string
	}{
		{ip4(6, "10.0.0.2", "10.0.0.3", tcp(1, 2, 3, 0x12, "")), "TCP SYN ACK"},
		{ip4(6, "10.0.0.2", "10.0.0.3", tcp(1, 2, 3, 0x10, "hello")), "TCP ACK 5 B"},
		{ip4(1, "10.0.0.2", "10.0.0.3", []byte{3, 4, 0, 0, 0, 0, 0, 0}), "ICMP fragmentation needed"},
		{ip4(1, "10.0.0.2", "10.0.0.3", []byte{42, 1, 0, 0}), "ICMP type 42 code 1"},
		{ip4(132, "10.0.0.2", "10.0.0.3", make([]byte, 12)), "IP protocol 132 (12 B)"},
		{fragmentOf(udp(aIn, bOut, 1, make([]byte, 3000)), 0, 1480), "UDP, first fragment (1480 B)"},
		{fragmentOf(udp(aIn, bOut, 1, make([]byte, 3000)), 1, 1480), "fragment at 1480 (1480 B)"},
		{[]byte{0x45, 0}, "malformed packet (2 B)"},
		{nil, "malformed packet (0 B)"},
	} {
		if got := witness.Summary(witness.Packet{Data: c.data}); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
