package witness_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

// ipv6With puts extension headers before a UDP packet over IPv6.
func ipv6With(payload []byte, first byte, extensions ...[]byte) []byte {
	plain := udp("[2001:db8::a]:5", "[2001:db8::b]:6", 0, payload)
	b := slices.Clone(plain[:40])
	b[6] = first
	for _, e := range extensions {
		b = append(b, e...)
	}
	b = append(b, plain[40:]...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

func TestParse(t *testing.T) {
	options := udp("10.0.0.2:5", "10.0.0.3:6", 0, []byte("hello"))
	options = slices.Insert(options, 20, 1, 1, 1, 0)
	options[0] = 0x46
	binary.BigEndian.PutUint16(options[2:], uint16(len(options)))
	for _, c := range []struct {
		name     string
		data     []byte
		src, dst string // empty: malformed
		protocol uint8
		payload  string
	}{
		{"IPv4", udp("10.0.0.2:5", "10.0.0.3:6", 0, []byte("hello")), "10.0.0.2:5", "10.0.0.3:6", 17, "hello"},
		{"IPv4 with options", options, "10.0.0.2:5", "10.0.0.3:6", 17, "hello"},
		{"padding of the link is no payload", append(udp("10.0.0.2:5", "10.0.0.3:6", 0, []byte("hello")), 0, 0, 0), "10.0.0.2:5", "10.0.0.3:6", 17, "hello"},
		{"IPv6", udp("[2001:db8::a]:5", "[2001:db8::b]:6", 0, []byte("hello")), "[2001:db8::a]:5", "[2001:db8::b]:6", 17, "hello"},
		{"IPv6 with hop-by-hop and destination options", ipv6With([]byte("hello"), 0, []byte{60, 0, 1, 4, 0, 0, 0, 0}, []byte{17, 0, 1, 4, 0, 0, 0, 0}),
			"[2001:db8::a]:5", "[2001:db8::b]:6", 17, "hello"},
		{"IPv6, later fragment", ipv6With([]byte("hello"), 44, []byte{17, 0, 0, 8, 0, 0, 0, 9}), "[2001:db8::a]:0", "[2001:db8::b]:0", 17, ""},
		{"TCP", ip4(6, "10.0.0.2", "10.0.0.3", tcp(5, 6, 1, 2, "data")), "10.0.0.2:5", "10.0.0.3:6", 6, ""},
		{"ICMP", ip4(1, "10.0.0.2", "10.0.0.3", []byte{8, 0, 0, 0}), "10.0.0.2:0", "10.0.0.3:0", 1, ""},
		{"nothing", nil, "", "", 0, ""},
		{"not IP", []byte{0x15, 0, 0, 0}, "", "", 0, ""},
		{"cut off in the IPv4 header", options[:19], "", "", 0, ""},
		{"cut off in the payload", options[:30], "", "", 0, ""},
		{"a UDP length beyond the packet", func() []byte {
			b := udp("10.0.0.2:5", "10.0.0.3:6", 0, []byte("hello"))
			b[25] = 200
			return b
		}(), "", "", 0, ""},
		{"an extension header beyond the packet", ipv6With(nil, 0, []byte{17, 200, 0, 0, 0, 0, 0, 0}), "", "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := witness.Parse(start, witness.Point{Node: "a"}, witness.Out, c.data)
			if c.src == "" {
				if !errors.Is(err, witness.ErrMalformed) {
					t.Fatalf("%v → %v, error %v; want ErrMalformed", p.Src, p.Dst, err)
				}
				if !p.At.Equal(start) || p.Point.Node != "a" || !bytes.Equal(p.Data, c.data) {
					t.Error("a malformed packet lost its time, place or bytes")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Src.String() != c.src || p.Dst.String() != c.dst || p.Protocol != c.protocol || string(p.Payload) != c.payload {
				t.Errorf("%v → %v protocol %d payload %q", p.Src, p.Dst, p.Protocol, p.Payload)
			}
		})
	}
}

func TestChecksums(t *testing.T) {
	for _, data := range [][]byte{
		udp("10.0.0.2:5", "10.0.0.3:6", 0, []byte("odd")),
		udp("[2001:db8::a]:5", "[2001:db8::b]:6", 0, []byte("even")),
		ip4(6, "10.0.0.2", "10.0.0.3", tcp(5, 6, 1, 2, "data")),
	} {
		if !witness.ChecksumValid(data) {
			t.Errorf("% x: its finished checksum is not valid", data)
		}
		data[len(data)-1] ^= 1
		if witness.ChecksumValid(data) {
			t.Errorf("% x: a changed byte is not noticed", data)
		}
	}
	none := udp("10.0.0.2:5", "10.0.0.3:6", 0, []byte("x"))
	none[26], none[27] = 0, 0
	if !witness.ChecksumValid(none) {
		t.Error("UDP over IPv4 may go without a checksum")
	}
}

func TestSplitUDP(t *testing.T) {
	for _, c := range []struct {
		name     string
		src, dst string
	}{{"IPv4", "10.0.0.2:5", "10.0.0.3:6"}, {"IPv6", "[2001:db8::a]:5", "[2001:db8::b]:6"}} {
		t.Run(c.name, func(t *testing.T) {
			parts := witness.SplitUDP(append(udp(c.src, c.dst, 9, []byte("aaaabbbbcc")), 0, 0), 4)
			var got []string
			for _, b := range parts {
				p, err := witness.Parse(start, witness.Point{}, witness.Out, b)
				if err != nil || !witness.ChecksumValid(b) {
					t.Errorf("part % x: %v, checksum valid: %v", b, err, witness.ChecksumValid(b))
				}
				if p.Src.String() != c.src || p.Dst.String() != c.dst {
					t.Errorf("addresses %v → %v", p.Src, p.Dst)
				}
				got = append(got, string(p.Payload))
			}
			if !slices.Equal(got, []string{"aaaa", "bbbb", "cc"}) {
				t.Errorf("parts %q", got)
			}
		})
	}
	if witness.SplitUDP(udp("10.0.0.2:5", "10.0.0.3:6", 9, nil), 0) != nil {
		t.Error("a size of 0 divides")
	}
}

// FuzzPacket feeds arbitrary bytes to all that reads packets.
func FuzzPacket(f *testing.F) {
	for _, b := range [][]byte{
		udp(aIn, bOut, 1, bindingRequest("x")), udp(aIn, relayServer, 1, channelData(0x4000, bindingRequest("x"))),
		udp("[2001:db8::a]:5", "[2001:db8::b]:6", 0, sendIndication(bOut, payload(1))),
		ipv6With([]byte("hello"), 0, []byte{60, 0, 1, 4, 0, 0, 0, 0}, []byte{17, 0, 1, 4, 0, 0, 0, 0}),
		ipv6With([]byte("hello"), 44, []byte{17, 0, 0, 9, 0, 0, 0, 9}),
		fragmentOf(udp(aIn, bOut, 1, make([]byte, 3000)), 1, 1480),
		ip4(6, "10.0.0.2", "10.0.0.3", tcp(1, 2, 3, 2, "x")), ip4(1, "10.0.0.2", "10.0.0.3", []byte{3, 3, 0, 0, 0, 0, 0, 0, 0x45}),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := witness.Parse(start, witness.Point{Node: "a", Interface: "uplink"}, witness.Out, data)
		q := p
		q.At, q.Point, q.Direction = start.Add(time.Millisecond), witness.Point{Node: "b", Interface: "uplink"}, witness.In
		if err == nil && (p.Src.Addr().Is4() != (data[0]>>4 == 4) || !p.Src.Addr().IsValid()) {
			t.Errorf("addresses %v → %v", p.Src, p.Dst)
		}
		if len(p.Payload) > len(data) {
			t.Error("payload beyond the packet")
		}
		_ = witness.Summary(p)
		packets := []witness.Packet{p, q}
		traces := witness.Traces(packets, scene)
		if err == nil && (len(traces) != 1 || !traces[0].Arrived) {
			t.Errorf("one packet made %d traces", len(traces))
		}
		d, derr := witness.Deliveries(packets, scene, "a", "b")
		if derr != nil || len(d) > 1 {
			t.Errorf("%d deliveries of one packet, %v", len(d), derr)
		}
		if _, err := witness.Checks(packets, scene, "a", "b"); err != nil {
			t.Error(err)
		}
		_ = witness.ChecksumValid(data)
		fixed := slices.Clone(data)
		witness.FinishChecksum(fixed)
		if err == nil && (p.Protocol == 17 && p.Payload != nil && len(p.Data) == len(data)) {
			if parts := witness.SplitUDP(data, 100); len(parts) == 0 {
				t.Error("a UDP packet cannot be divided")
			}
		}
	})
}

// FuzzFraming feeds arbitrary bytes to the readers of STUN and TURN framing, as
// the payload of a packet to and from the relay.
func FuzzFraming(f *testing.F) {
	for _, b := range [][]byte{
		bindingRequest("x"), channelData(0x4000, payload(1)), sendIndication(bOut, payload(2)), dataIndication(bOut, bindingRequest("y")),
		stunMessage(0x0113, "x", attribute(0x0009, []byte{0, 0, 4, 1})), payload(3),
		stunMessage(0x0017, "z", attribute(0x0013, nil)), stunMessage(0x0016, "z", []byte{0, 0x13, 0xff, 0xff}),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 60000 {
			return
		}
		s := &story{tb: t}
		s.way(0, b, "a:uplink out "+aOut+" "+relayServer+";relay:uplink in")
		s.way(10*ms, b, "relay:uplink out "+relayServer+" "+bOut+";b:uplink in")
		d, err := witness.Deliveries(s.packets, scene, "a", "b")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range d {
			// The same framing on both sides carries the same bytes.
			if d.Path != witness.Relay || d.Lost() || len(d.Payload) > len(b) || len(d.Payload) < witness.MinPayload {
				t.Errorf("%v of % x", d, b)
			}
		}
		_ = witness.Summary(s.packets[0])
	})
}
