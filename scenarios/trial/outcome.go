package trial

import (
	"time"

	"p2pmodel/nat/oracle"
)

// Outcome is what became of a trial. All times are virtual.
type Outcome struct {
	// Pairs are all pairs of players: 0 and 1, 0 and 2, 1 and 2, 0 and 3…
	Pairs []Pair
	// Peers is what each player sent.
	Peers []Peer
	// Relay is what entered and left the relay; RelayAtDecision and RelayAtRest what of
	// it there had been when all pairs were decided, and at the end of play.
	Relay, RelayAtDecision, RelayAtRest Relay
	// Took is how long the trial was, from the start of the players; Decided when the
	// last pair was, Played how long payload went on from then, Rested how long the
	// players stayed after that.
	Took, Decided, Played, Rested time.Duration
}

// Pair is what became of two players.
type Pair struct {
	A, B int
	// Path is how payload went that each sent since it had said that its checks are
	// over, by the wires: direct if the last datagrams of both went without the relay,
	// none if nothing of one of them arrived, else relay. Where those of one went over
	// the relay and those of the other did not, the trial went on, at most to its limit.
	Path oracle.Path
	// Predicted says that a port was foretold for the direct path, Searched that it was
	// found by a search; by the peers' own word. Probes is
	// how many ports were probed for it by the side that looks.
	Predicted, Searched bool
	Probes              int
	// Hit is which of them met the open port, from 1; 0: none, or it was foretold.
	Hit int
	// Introduced is when the later of both had been introduced, from the start of the
	// players. FirstByte is from then until the first datagram of payload arrived at
	// one of them, whatever its path, Direct until one arrived without the relay;
	// Settled until both had said that their checks are over. -1: never.
	Introduced, FirstByte, Direct, Settled time.Duration
	// Sent and the others are datagrams of payload, of both players: those that were
	// sent, and that arrived by way of the relay or without it.
	Sent, Relayed, Directly uint64
}

// Traffic is what was sent, as datagrams and as bytes of IP packets.
type Traffic struct{ Datagrams, Bytes uint64 }

// add counts a packet.
func (t *Traffic) add(size int) {
	t.Datagrams++
	t.Bytes += uint64(size)
}

// Peer is what one player sent.
type Peer struct {
	// Payload is the application's, with the frames and the relay's framing around it.
	Payload Traffic
	// Setup is everything else until all pairs were decided, Upkeep what came after
	// that: keepalives, consent, refreshed registrations and allocations.
	Setup, Upkeep Traffic
}

// Relay is the traffic of the relay: In came to it, Out left it; of these Payload
// are frames of payload that it passed on to peers.
type Relay struct{ In, Out, Payload Traffic }
