package trial

import (
	"testing"
	"time"
)

// Who rests has little payload, as dense as keeps mappings, and takes besides it what
// it takes while it plays.
func TestRest(t *testing.T) {
	pair := []Player{at(portRestricted), at(symmetric)}
	played := run(t, Setting{Players: pair, Play: 10 * time.Minute, Interval: 500 * time.Millisecond}, 1)
	rested := run(t, Setting{Players: pair, Play: 10 * time.Second, Rest: 10*time.Minute - 10*time.Second, Interval: 500 * time.Millisecond}, 1)
	if rested.Played != 10*time.Second || rested.Played+rested.Rested != played.Played || rested.Pairs[0].Path != played.Pairs[0].Path {
		t.Fatalf("played %v, rested %v: %+v", rested.Played, rested.Rested, rested.Pairs)
	}
	if sent := rested.Pairs[0].Sent; sent < 2*(20+110) || sent > 2*(25+125) {
		t.Errorf("%d datagrams of payload, want two a second for ten seconds, and one each %v", sent, RestInterval)
	}
	if after := rested.Relay.Payload.Datagrams - rested.RelayAtRest.Payload.Datagrams; after < 220 || after > 250 {
		t.Errorf("%d datagrams of payload were relayed while they rest", after)
	}
	busy, lazy := played.Peers[0].Upkeep.Datagrams, rested.Peers[0].Upkeep.Datagrams
	if lazy < busy*95/100 || lazy > busy*105/100 {
		t.Errorf("upkeep of ten minutes: %d datagrams with much payload, %d with little", busy, lazy)
	}
	if _, err := New(Setting{Players: pair, Rest: -1}); err == nil {
		t.Error("a negative rest is taken")
	}
}
