// Package punch opens and keeps a UDP path between two peers: an ICE agent
// (RFC 8445) for one session with one component, without I/O. It pairs local
// with remote candidates, proves pairs by authenticated STUN checks sent from
// both sides at once, lets the controlling side nominate one, keeps the
// nominated path alive with consent checks (RFC 7675), notices when it dies and
// moves to another one under the same session.
//
// It differs from a plain ICE agent in four ways, none of which a foreign agent
// has to know of:
//
//   - A relayed pair that works is nominated at once and replaced when a direct
//     pair succeeds later; the order of nominations is carried by the
//     NOMINATION attribute (draft-thatcher-ice-renomination).
//   - No pair is ever frozen (RFC 8445 section 6.1.2.6): with one component,
//     freezing only delays.
//   - Each retransmission of a check is a transaction of its own, so that every
//     answer gives a round-trip time. They follow each other at a multiple of
//     the measured round-trip time instead of doubling: a link that loses one
//     packet in ten costs a retransmission, not seconds.
//   - "Settled" has a bound that is derived from the round-trip time, see
//     SettleAfter.
//
// It does not gather candidates, speak to servers, carry the application's data
// or decide when to introduce the peers again: package peer does.
//
// An Agent is driven like a sansio.Machine, except that it owns no socket: what
// it sends names a Base, which its owner maps to a socket or to a relay
// allocation. It is not safe for concurrent use.
package punch
