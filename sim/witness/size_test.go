package witness_test

import (
	"encoding/binary"
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

// sight is a packet, or a part of one, at a point.
func sight(t *testing.T, after time.Duration, node, intf string, direction witness.Direction, data []byte) witness.Packet {
	t.Helper()
	p, err := witness.Parse(start.Add(after), witness.Point{Node: node, Interface: intf}, direction, data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTracesOfFragments: a packet is followed where it is divided, made whole and
// translated; also where a capture has read what the router had written by then.
func TestTracesOfFragments(t *testing.T) {
	large := make([]byte, 2000)
	inside, outside := udp(aIn, bOut, 7, large), udp(aOut, bOut, 7, large)
	both := func(after time.Duration, node, intf string, d witness.Direction, first, second []byte) []witness.Packet {
		return []witness.Packet{
			sight(t, after, node, intf, d, fragmentOf(first, 0, 1480)), sight(t, after, node, intf, d, fragmentOf(second, 1, 1480)),
		}
	}
	packets := append(both(0, "a", "uplink", witness.Out, inside, inside), both(1*ms, "nat-a", "to a", witness.In, inside, outside)...)
	packets = append(packets, sight(t, 2*ms, "nat-a", "uplink", witness.Out, outside))
	traces := witness.Traces(packets, scene)
	if len(traces) != 1 || len(traces[0].Hops) != 3 || !traces[0].Last().Translated {
		t.Fatalf("%d traces:\n%s", len(traces), traceLines(traces))
	}

	// Of the next one the second part dies on the link.
	part := witness.Drop{At: start.Add(101 * ms), Node: "a", Link: "a", Cause: "loss"}
	inside = udp(aIn, bOut, 8, large)
	part.SetData(fragmentOf(inside, 1, 1480))
	packets = append(both(100*ms, "a", "uplink", witness.Out, inside, inside), sight(t, 102*ms, "nat-a", "to a", witness.In, fragmentOf(inside, 0, 1480)))
	traces = witness.Traces(packets, scene)
	drops := witness.Attribute(traces, []witness.Drop{part}, nil)
	want := []string{"died on the link of a, after a: loss", "died inside nat-a: another fragment died"}
	if len(traces) != 2 || traces[0].Fate() != want[0] || traces[1].Fate() != want[1] || len(drops) != 2 {
		t.Errorf("%d drops, want %q:\n%s", len(drops), want, traceLines(traces))
	}
	// Without a death it is not known.
	traces = witness.Traces(packets[2:], scene)
	if witness.Attribute(traces, nil, nil); traces[0].Drop != nil {
		t.Errorf("a part that waits for the rest %s", traces[0].Fate())
	}
}

// TestTooLarge: what a router told by Fragmentation Needed died there, and nothing
// else did.
func TestTooLarge(t *testing.T) {
	whole := udp(aOut, bOut, 9, make([]byte, 1200))
	told := func(id uint16) []byte {
		quoted := append([]byte(nil), whole[:28]...)
		binary.BigEndian.PutUint16(quoted[4:], id)
		return ip4(1, "198.18.2.1", "198.18.1.1", append([]byte{3, 4, 0, 0, 0, 0, 3, 232}, quoted...))
	}
	for id, want := range map[uint16]string{9: "died inside nat-b: mtu", 10: "died inside nat-b, after it came in at uplink"} {
		traces := witness.Traces([]witness.Packet{
			sight(t, 0, "a", "uplink", witness.Out, whole), sight(t, 1*ms, "nat-b", "uplink", witness.In, whole),
			sight(t, 2*ms, "nat-b", "uplink", witness.Out, told(id)),
		}, scene)
		drops := witness.Attribute(traces, nil, nil)
		if got := traces[0].Fate(); got != want || len(drops) == 1 != (id == 9) {
			t.Errorf("it %s, with %d drops; want: %s", got, len(drops), want)
		}
	}
}
