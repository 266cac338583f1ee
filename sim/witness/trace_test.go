package witness_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

func traceLines(traces []witness.Trace) string {
	s := make([]string, len(traces))
	for i, t := range traces {
		s[i] = t.String()
	}
	return strings.Join(s, "\n")
}

func TestTraces(t *testing.T) {
	const throughBoth = " (10.0.0.2:5000 → 198.18.2.1:50000) a:uplink nat-a:to a (198.18.1.1:40000 → 198.18.2.1:50000) nat-a:uplink" +
		" internet:to nat-a internet:to nat-b nat-b:uplink"
	const entersB = " (198.18.1.1:40000 → 10.0.0.2:6000) nat-b:to b b:uplink; entered b"
	for _, c := range []struct {
		name string
		tell func(s *story)
		want string
	}{
		{"through two NATs", func(s *story) { s.way(0, bindingRequest("x"), directAB) },
			"STUN Binding request:" + throughBoth + entersB},
		{"filtered", func(s *story) { s.way(0, bindingRequest("x"), filteredAB) },
			"STUN Binding request:" + throughBoth + "; died inside nat-b, after it came in at uplink"},
		{"lost on a link", func(s *story) {
			s.way(0, payload(1), "a:uplink out "+aIn+" "+bOut+";nat-a:to-a in;nat-a:uplink out "+aOut+" "+bOut)
		}, "UDP 16 B payload: (10.0.0.2:5000 → 198.18.2.1:50000) a:uplink nat-a:to a (198.18.1.1:40000 → 198.18.2.1:50000) nat-a:uplink" +
			"; died on the link after nat-a:uplink"},
		{"filtered, then repeated and let in", func(s *story) {
			s.way(0, bindingRequest("x"), filteredAB).way(500*ms, bindingRequest("x"), directAB)
		}, "STUN Binding request:" + throughBoth + "; died inside nat-b, after it came in at uplink\n" +
			"STUN Binding request:" + throughBoth + entersB},
		{"lost on the first link, then repeated", func(s *story) {
			s.way(0, bindingRequest("x"), "a:uplink out "+aIn+" "+bOut).way(500*ms, bindingRequest("x"), directAB)
		}, "STUN Binding request: (10.0.0.2:5000 → 198.18.2.1:50000) a:uplink; died on the link after a:uplink\n" +
			"STUN Binding request:" + throughBoth + entersB},
		{"two equal packets on their way at once", func(s *story) {
			s.way(0, payload(1), directAB).way(500*time.Microsecond, payload(1), directAB)
		}, "UDP 16 B payload:" + throughBoth + entersB + "\nUDP 16 B payload:" + throughBoth + entersB},
		{"an echo is a packet of its own", func(s *story) {
			s.way(0, payload(1), "a:uplink out "+aIn+" "+bOut+";b:uplink in "+aIn+" "+bOut).
				way(10*ms, payload(1), "b:uplink out "+bOut+" "+aIn+";a:uplink in "+bOut+" "+aIn)
		}, "UDP 16 B payload: (10.0.0.2:5000 → 198.18.2.1:50000) a:uplink b:uplink; entered b\n" +
			"UDP 16 B payload: (198.18.2.1:50000 → 10.0.0.2:5000) b:uplink a:uplink; entered a"},
		{"hairpin", func(s *story) {
			s.way(0, payload(1), "a:uplink out 10.0.0.2:1 198.18.1.1:2;nat:to-a in;nat:to-b out 198.18.1.1:1 10.0.0.3:2;b:uplink in")
		}, "UDP 16 B payload: (10.0.0.2:1 → 198.18.1.1:2) a:uplink nat:to a (198.18.1.1:1 → 10.0.0.3:2) nat:to b b:uplink; entered b"},
		{"over the relay: two packets", func(s *story) {
			s.way(0, channelData(0x4000, payload(1)), "a:uplink out "+aOut+" "+relayServer+";relay:uplink in").
				way(10*ms, payload(1), "relay:uplink out "+relayedA+" "+bOut+";b:uplink in")
		}, "ChannelData 0x4000 (16 B): (198.18.1.1:40000 → 198.19.0.9:3478) a:uplink relay:uplink; entered relay\n" +
			"UDP 16 B payload: (198.19.0.9:49160 → 198.18.2.1:50000) relay:uplink b:uplink; entered b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &story{tb: t}
			c.tell(s)
			if got := traceLines(witness.Traces(s.sorted(), scene)); got != c.want {
				t.Errorf("traces:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

// ip4 makes an IPv4 packet of any protocol.
func ip4(protocol uint8, src, dst string, transport []byte) []byte {
	b := make([]byte, 20, 20+len(transport))
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(transport)))
	copy(b[12:], ap(src+":0").Addr().AsSlice())
	copy(b[16:], ap(dst+":0").Addr().AsSlice())
	b = append(b, transport...)
	witness.FinishChecksum(b)
	return b
}

// tcp makes a TCP segment.
func tcp(srcPort, dstPort uint16, seq uint32, flags byte, data string) []byte {
	b := make([]byte, 20, 20+len(data))
	binary.BigEndian.PutUint16(b, srcPort)
	binary.BigEndian.PutUint16(b[2:], dstPort)
	binary.BigEndian.PutUint32(b[4:], seq)
	b[12], b[13] = 0x50, flags
	return append(b, data...)
}

func TestTracesOfOtherProtocols(t *testing.T) {
	quote := func(src, dst string, srcPort uint16) []byte {
		return ip4(17, src, dst, append(binary.BigEndian.AppendUint16(nil, srcPort), 0, 9, 0, 16, 0xaa, 0xbb, 'q', 'u', 'o', 't', 'e', 'd', '.', '.'))
	}
	for _, c := range []struct {
		name          string
		inside, after []byte // of the NAT
		summary       string
	}{
		{"TCP: ports change, sequence numbers do not", ip4(6, "10.0.0.2", "198.18.2.1", tcp(5000, 80, 7, 2, "")),
			ip4(6, "198.18.1.1", "198.18.2.1", tcp(40000, 80, 7, 2, "")), "TCP SYN"},
		{"ICMP echo: the identifier changes", ip4(1, "10.0.0.2", "198.18.2.1", []byte{8, 0, 1, 1, 0, 5, 0, 1, 'd', 'a', 't', 'a'}),
			ip4(1, "198.18.1.1", "198.18.2.1", []byte{8, 0, 2, 2, 9, 9, 0, 1, 'd', 'a', 't', 'a'}), "ICMP echo request"},
		{"ICMP error: the quoted packet changes", ip4(1, "10.0.0.2", "198.18.2.1", append([]byte{3, 3, 1, 1, 0, 0, 0, 0}, quote("198.18.2.1", "10.0.0.2", 7)...)),
			ip4(1, "198.18.1.1", "198.18.2.1", append([]byte{3, 3, 7, 7, 0, 0, 0, 0}, quote("198.18.2.1", "198.18.1.1", 7)...)), "ICMP port unreachable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var packets []witness.Packet
			for i, step := range []struct {
				point     witness.Point
				direction witness.Direction
				data      []byte
			}{
				{witness.Point{Node: "a", Interface: "uplink"}, witness.Out, c.inside},
				{witness.Point{Node: "nat-a", Interface: "to a"}, witness.In, c.inside},
				{witness.Point{Node: "nat-a", Interface: "uplink"}, witness.Out, c.after},
				{witness.Point{Node: "b", Interface: "uplink"}, witness.In, c.after},
			} {
				p, err := witness.Parse(start.Add(time.Duration(i)*ms), step.point, step.direction, step.data)
				if err != nil {
					t.Fatal(err)
				}
				packets = append(packets, p)
			}
			traces := witness.Traces(packets, scene)
			if len(traces) != 1 || !traces[0].Arrived || len(traces[0].Hops) != 4 || traces[0].Summary != c.summary {
				t.Fatalf("traces:\n%s\nwant one of four hops, %s", traceLines(traces), c.summary)
			}
			if h := traces[0].Hops; h[1].Translated || !h[2].Translated || h[3].Translated {
				t.Errorf("translation is not where it was: %v", h)
			}
		})
	}
}

func TestChecks(t *testing.T) {
	s := &story{tb: t}
	s.way(0, bindingRequest("to rendezvous"), aToRendezvous)
	s.way(10*ms, bindingRequest("filtered"), filteredAB)
	s.way(20*ms, bindingRequest("from b"), directBA)
	s.way(40*ms, stunMessage(0x0101, "from b"), directAB) // an answer
	s.way(60*ms, bindingRequest("through"), directAB)
	s.way(80*ms, []byte("punch!"), filteredAB)
	s.way(90*ms, channelData(0x4000, bindingRequest("relayed")), aToRelay)
	checks, err := witness.Checks(s.sorted(), scene, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range checks {
		got = append(got, fmt.Sprintf("%v stun=%v entered=%v: %v", c.At.Sub(start), c.STUN, c.Entered, c))
	}
	want := []string{
		"10ms stun=true entered=false: STUN Binding request from a as 10.0.0.2:5000 → 198.18.2.1:50000: died inside nat-b, after it came in at uplink",
		"60ms stun=true entered=true: STUN Binding request from a as 10.0.0.2:5000 → 198.18.2.1:50000: entered b",
		"80ms stun=false entered=false: UDP 6 B payload from a as 10.0.0.2:5000 → 198.18.2.1:50000: died inside nat-b, after it came in at uplink",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("checks:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func BenchmarkTraces(b *testing.B) {
	s := &story{tb: b}
	for i := range 2000 {
		s.way(time.Duration(i)*8*ms, payload(i), directAB)
	}
	b.ReportMetric(float64(len(s.packets)), "packets")
	for b.Loop() {
		witness.Traces(s.packets, scene)
	}
}

func BenchmarkDeliveries(b *testing.B) {
	s := &story{tb: b}
	for i := range 2000 {
		s.way(time.Duration(i)*20*ms, payload(i), directAB).way(time.Duration(i)*20*ms+10*ms, payload(-i-1), directBA)
	}
	for b.Loop() {
		if _, err := witness.Deliveries(s.packets, scene, "a", "b"); err != nil {
			b.Fatal(err)
		}
	}
}

func TestTraceCarries(t *testing.T) {
	s := (&story{tb: t}).
		way(0, payload(1), directAB).
		way(10*ms, channelData(0x4000, payload(2)), aToRelay).
		way(20*ms, sendIndication(bOut, payload(3)), aToRelay).
		way(30*ms, channelData(0x4000, bindingRequest("x")), aToRelay)
	for i, trace := range witness.Traces(s.sorted(), scene) {
		for n := range 5 {
			if got, want := trace.Carries(payload(n)), n == i+1 && n <= 3; got != want {
				t.Errorf("%s carries payload number %d: %v, want %v", trace.Summary, n, got, want)
			}
		}
	}
}

func TestTracesTellDamage(t *testing.T) {
	s := (&story{tb: t}).way(0, payload(1), directAB)
	for i, damaged := range []int{2, 3} { // on the link to the router's neighbour: in the checksum, which is no part of what a packet is known by
		p := &s.packets[damaged]
		p.Data = append([]byte(nil), p.Data...)
		p.Data[26+i] ^= 0x10
	}
	traces := witness.Traces(s.packets, scene)
	if len(traces) != 1 {
		t.Fatalf("%d traces, want 1:\n%s", len(traces), traceLines(traces))
	}
	for i, h := range traces[0].Hops {
		if want := i == 2 || i == 3; h.Damaged != want {
			t.Errorf("hop %d, %v: damaged is %v, want %v", i, h, h.Damaged, want)
		}
	}
}
