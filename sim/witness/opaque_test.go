package witness_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

// TestOpaque: what the relay carries in TLS is judged by where packets went and how
// much, and a program that lies is found out.
func TestOpaque(t *testing.T) {
	sealed := func(n byte) []byte { return bytes.Repeat([]byte{n}, 120) } // 100 bytes and what TLS adds
	told := witness.Word{AToB: 100, BToA: 100}
	carried := func() *story {
		s := &story{tb: t}
		s.way(0, sealed(1), aToRelay)
		s.way(50*time.Millisecond, sealed(2), relayToB)
		s.way(100*time.Millisecond, sealed(3), bToRelayed)
		s.way(150*time.Millisecond, sealed(4), relayToA)
		s.way(200*time.Millisecond, sealed(5), aToRendezvous)
		return s
	}
	for _, c := range []struct {
		name  string
		story *story
		word  witness.Word
		since time.Time
		want  witness.Path
	}{
		{"over the relay", carried(), told, time.Time{}, witness.Relay},
		{"checks that a NAT dropped carry nothing", carried().way(time.Second, sealed(6), filteredAB), told, time.Time{}, witness.Relay},
		{"a packet from one to the other", carried().way(time.Second, sealed(6), directAB), told, time.Time{}, witness.Direct},
		{"a packet the other way", carried().way(time.Second, sealed(6), directBA), told, time.Time{}, witness.Direct},
		{"one before the time that counts", carried().way(-time.Second, sealed(6), directAB), told, start, witness.Relay},
		{"more than the relay carried", carried(), witness.Word{AToB: 100, BToA: 1000}, time.Time{}, witness.None},
		{"a word alone", (&story{tb: t}).way(0, sealed(1), aToRendezvous).way(50*time.Millisecond, sealed(1), "b:uplink out "+bIn+" "+rendezvousAddr), told, time.Time{}, witness.None},
		{"nothing said to have arrived", carried(), witness.Word{}, time.Time{}, witness.None},
	} {
		got, why, err := witness.Opaque(c.story.sorted(), scene, "a", "b", c.word, c.since, time.Time{})
		if err != nil || got != c.want || why == "" {
			t.Errorf("%s: %v (%s), %v; want %v", c.name, got, why, err, c.want)
		}
	}
	blind := (&story{tb: t}).way(0, sealed(1), aToRelay)
	if _, _, err := witness.Opaque(blind.sorted(), scene, "a", "b", told, time.Time{}, time.Time{}); !errors.Is(err, witness.ErrBlind) {
		t.Errorf("nothing was seen of b: %v", err)
	}
}
