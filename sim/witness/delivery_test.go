package witness_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

const ms = time.Millisecond

// line says a delivery in a few words: "a→b 1 direct 7ms", "… lost", with
// "x2" for copies and "again" for repeats.
func line(d witness.Delivery) string {
	s := fmt.Sprintf("%s→%s %v %v", d.From, d.To, d.Sent.Sub(start), d.Path)
	if d.Lost() {
		s += " lost"
	} else {
		s += fmt.Sprintf(" +%v", d.Arrived.Sub(d.Sent))
	}
	if d.Copies > 1 {
		s += fmt.Sprintf(" x%d", d.Copies)
	}
	if d.Repeat {
		s += " again"
	}
	return s
}

func lines(d []witness.Delivery) string {
	s := make([]string, len(d))
	for i := range d {
		s[i] = line(d[i])
	}
	return strings.Join(s, "\n")
}

func TestDeliveries(t *testing.T) {
	for _, c := range []struct {
		name string
		tell func(s *story)
		want string
	}{
		{"direct, both ways", func(s *story) {
			s.way(0, payload(1), directAB).way(20*ms, payload(2), directBA)
		}, "a→b 0s direct +7ms\nb→a 20ms direct +7ms"},
		{"over the relay: ChannelData in, plain out, and back", func(s *story) {
			s.way(0, channelData(0x4000, payload(1)), aToRelay).way(10*ms, payload(1), relayedToB)
			s.way(30*ms, payload(2), bToRelayed).way(40*ms, channelData(0x4000, payload(2)), relayToA)
		}, "a→b 0s relay +15ms\nb→a 30ms relay +15ms"},
		{"over the relay: indications, and both sides wrapped", func(s *story) {
			s.way(0, sendIndication("198.19.0.9:49999", payload(1)), aToRelay)
			s.way(10*ms, dataIndication("198.19.0.9:49160", payload(1)), relayToB)
		}, "a→b 0s relay +15ms"},
		{"padded ChannelData", func(s *story) {
			odd := []byte("odd size!")
			s.way(0, append(channelData(0x4001, odd), 0, 0, 0), aToRelay).way(10*ms, odd, relayedToB)
		}, "a→b 0s relay +15ms"},
		{"sent plainly to the relayed address, and lost there", func(s *story) {
			s.way(0, payload(1), bToRelayed).way(50*ms, bindingRequest("x"), directAB)
		}, "b→a 0s relay lost"},
		{"died in the NAT", func(s *story) {
			s.way(0, payload(1), filteredAB).way(20*ms, payload(2), directBA)
		}, "a→b 0s direct lost\nb→a 20ms direct +7ms"},
		{"STUN is no payload, plain or in frames; nor are short datagrams", func(s *story) {
			s.way(0, bindingRequest("one"), directAB)
			s.way(20*ms, channelData(0x4000, bindingRequest("two")), aToRelay).way(30*ms, bindingRequest("two"), relayedToB)
			s.way(40*ms, sendIndication(bOut, bindingRequest("three")), aToRelay).way(50*ms, bindingRequest("three"), relayedToB)
			s.way(60*ms, []byte("ping"), directBA)
			s.way(70*ms, nil, directBA)
		}, ""},
		{"what goes to the rendezvous is not payload", func(s *story) {
			s.way(0, []byte("register me please"), aToRendezvous).way(20*ms, payload(1), directBA)
		}, "b→a 20ms direct +7ms"},
		{"equal bytes, each once", func(s *story) {
			for i := range 3 {
				s.way(time.Duration(i)*20*ms, payload(1), directAB)
			}
			s.way(100*ms, payload(2), directBA)
		}, "a→b 0s direct +7ms\na→b 20ms direct +7ms again\na→b 40ms direct +7ms again\nb→a 100ms direct +7ms"},
		{"equal bytes, the first lost: the arrival is of the later one", func(s *story) {
			s.way(0, payload(1), filteredAB).way(500*ms, payload(1), directAB).way(900*ms, payload(2), directBA)
		}, "a→b 0s direct lost\na→b 500ms direct +7ms again\nb→a 900ms direct +7ms"},
		{"doubled by the network", func(s *story) {
			s.way(0, payload(1), directAB).way(9*ms, payload(1), "b:uplink in "+aOut+" "+bIn).way(20*ms, payload(2), directBA)
		}, "a→b 0s direct +7ms x2\nb→a 20ms direct +7ms"},
		{"sent both ways at once: one each", func(s *story) {
			s.way(0, payload(1), directAB)
			s.way(0, channelData(0x4000, payload(1)), aToRelay).way(10*ms, payload(1), relayedToB)
			s.way(60*ms, payload(2), directBA)
		}, "a→b 0s direct +7ms\na→b 0s relay +15ms again\nb→a 60ms direct +7ms"},
		{"relay-shaped payload on a direct path is not unwrapped", func(s *story) {
			s.way(0, channelData(0x4000, payload(1)), directAB).way(20*ms, payload(1), directBA)
		}, "a→b 0s direct +7ms\nb→a 20ms direct +7ms"},
		{"both hosts send the same bytes", func(s *story) {
			s.way(0, payload(1), directAB).way(1*ms, payload(1), directBA)
		}, "a→b 0s direct +7ms\nb→a 1ms direct +7ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &story{tb: t}
			// Both hosts are seen in every story.
			s.way(-time.Second, bindingRequest("hello a"), "a:uplink out "+aIn+" "+rendezvousAddr)
			s.way(-time.Second, bindingRequest("hello b"), "b:uplink out "+bIn+" "+rendezvousAddr)
			c.tell(s)
			got, err := witness.Deliveries(s.sorted(), scene, "a", "b")
			if err != nil {
				t.Fatal(err)
			}
			if lines(got) != c.want {
				t.Errorf("deliveries:\n%s\nwant:\n%s", lines(got), c.want)
			}
		})
	}
}

func TestDeliveryTellsBothSidesAddresses(t *testing.T) {
	s := &story{tb: t}
	s.way(0, channelData(0x4000, payload(1)), aToRelay).way(10*ms, payload(1), relayedToB)
	got, err := witness.Deliveries(s.sorted(), scene, "a", "b")
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	d := got[0]
	if d.Sender != (witness.Addresses{Src: ap(aIn), Dst: ap(relayServer)}) || d.Receiver != (witness.Addresses{Src: ap(relayedA), Dst: ap(bIn)}) {
		t.Errorf("sender %v, receiver %v", d.Sender, d.Receiver)
	}
	if !bytes.Equal(d.Payload, payload(1)) {
		t.Errorf("payload %q, want %q without framing", d.Payload, payload(1))
	}
}

func TestDeliveriesOfAMesh(t *testing.T) {
	// a, b and c: what a sends to c is neither b's nor lost to b.
	mesh := scene
	mesh.Hosts = append([]string{"c"}, scene.Hosts...)
	const cOut = "198.18.3.1:7000"
	s := &story{tb: t}
	s.way(0, payload(1), directAB)
	s.way(10*ms, payload(2), "a:uplink out "+aIn+" "+cOut+";c:uplink in "+aOut+" "+cOut)
	s.way(20*ms, payload(3), "a:uplink out "+aIn+" "+cOut+";nat-a:to-a in") // lost, meant for c
	s.way(30*ms, payload(4), filteredAB)                                    // lost, meant for b
	s.way(40*ms, payload(5), directBA)
	s.way(50*ms, channelData(0x4000, payload(6)), aToRelay).way(60*ms, payload(6), relayedToB)
	s.way(70*ms, channelData(0x4000, payload(7)), aToRelay) // lost on b's channel
	s.way(80*ms, channelData(0x4001, payload(8)), aToRelay) // lost on another channel
	got, err := witness.Deliveries(s.sorted(), mesh, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	want := "a→b 0s direct +7ms\na→b 30ms direct lost\nb→a 40ms direct +7ms\na→b 50ms relay +15ms\na→b 70ms relay lost"
	if lines(got) != want {
		t.Errorf("deliveries:\n%s\nwant:\n%s", lines(got), want)
	}
}

func TestABlindWitnessSaysSo(t *testing.T) {
	s := &story{tb: t}
	s.way(0, payload(1), "a:uplink out "+aIn+" "+bOut)
	for name, packets := range map[string][]witness.Packet{"of everything": nil, "of one host": s.packets} {
		if _, err := witness.Deliveries(packets, scene, "a", "b"); !errors.Is(err, witness.ErrBlind) {
			t.Errorf("blind %s: deliveries give %v", name, err)
		}
		if _, err := witness.Checks(packets, scene, "a", "b"); !errors.Is(err, witness.ErrBlind) {
			t.Errorf("blind %s: checks give %v", name, err)
		}
	}
	if _, err := witness.Deliveries(s.packets, scene, "a", "nobody"); err == nil {
		t.Error("a host that is not of the scene is accepted")
	}
}

func TestDeliveriesOverIPv6AndFragments(t *testing.T) {
	big := make([]byte, 3000)
	for i := range big {
		big[i] = byte(i)
	}
	const a6, b6 = "[2001:db8::a]:5000", "[2001:db8::b]:6000"
	s := &story{tb: t}
	s.way(0, payload(1), "a:uplink out "+a6+" "+b6+";b:uplink in")
	s.way(10*ms, payload(2), "b:uplink out "+b6+" "+a6+";a:uplink in")
	// A large datagram in fragments, arriving in another order than sent.
	whole := udp(aIn, bOut, 77, big)
	for i, order := range [][]int{{0, 1, 2}, {2, 0, 1, 1}} {
		point := []witness.Point{{Node: "a", Interface: "uplink"}, {Node: "b", Interface: "uplink"}}[i]
		for j, part := range order {
			p, err := witness.Parse(start.Add(time.Duration(100+10*i+j)*ms), point, witness.Direction(1-i), fragmentOf(whole, part, 1480))
			if err != nil {
				t.Fatal(err)
			}
			if p.Payload != nil {
				t.Error("a fragment has a payload")
			}
			s.packets = append(s.packets, p)
		}
	}
	got, err := witness.Deliveries(s.sorted(), scene, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	want := "a→b 0s direct +1ms\nb→a 10ms direct +1ms\na→b 102ms direct +10ms"
	if lines(got) != want {
		t.Errorf("deliveries:\n%s\nwant:\n%s", lines(got), want)
	}
}

// fragmentOf gives the fragment at an index of an IPv4 packet.
func fragmentOf(whole []byte, index, size int) []byte {
	body := whole[20:]
	from := index * size
	to := min(from+size, len(body))
	b := append(append([]byte(nil), whole[:20]...), body[from:to]...)
	b[2], b[3] = byte(len(b)>>8), byte(len(b))
	place := uint16(from / 8)
	if to < len(body) {
		place |= 0x2000
	}
	b[6], b[7] = byte(place>>8), byte(place)
	return b
}
