package witness_test

import (
	"bytes"
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

func TestVolumes(t *testing.T) {
	of := func(n byte, size int) []byte { return bytes.Repeat([]byte{n}, size) }
	s := &story{tb: t}
	s.way(0, of(1, 20), directAB)
	s.way(time.Second, of(2, 30), directAB)
	// Of this one only the arrival fits: a segment of a flow that something divided.
	s.way(2*time.Second, of(3, 40), "b:uplink in "+aOut+" "+bIn)
	// One that dies at b's NAT, and one of a flow that a never sent.
	s.way(3*time.Second, of(4, 50), filteredAB)
	s.way(4*time.Second, of(5, 60), "b:uplink in 198.18.9.9:1 "+bIn)
	// And one over the relay.
	s.way(5*time.Second, channelData(0x4000, of(9, 100)), aToRelay)
	s.way(5*time.Second+50*time.Millisecond, of(9, 100), relayedToB)
	packets := s.sorted()
	for _, c := range []struct {
		name         string
		from, to     string
		since, until time.Time
		want         witness.Volume
	}{
		{"all", "a", "b", time.Time{}, time.Time{}, witness.Volume{Sent: 4, Direct: 90, Relay: 100}},
		{"from the second on", "a", "b", start.Add(500 * time.Millisecond), time.Time{}, witness.Volume{Sent: 3, Direct: 70, Relay: 100}},
		{"before the third", "a", "b", time.Time{}, start.Add(1500 * time.Millisecond), witness.Volume{Sent: 2, Direct: 50}},
		{"the other way", "b", "a", time.Time{}, time.Time{}, witness.Volume{}},
		{"to the relay", "a", "relay", start.Add(5 * time.Second), time.Time{}, witness.Volume{Sent: 1, Direct: 104}},
		{"from a host that saw nothing", "rendezvous", "b", time.Time{}, time.Time{}, witness.Volume{}},
	} {
		if got := witness.Volumes(packets, scene, c.from, c.to, c.since, c.until); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
