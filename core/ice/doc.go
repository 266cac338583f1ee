// Package ice is a standard ICE endpoint without I/O (RFC 8445): what talks to
// agents that others wrote, such as a browser's, pion/ice or aioice. It has one
// stream with one component, which carries plain datagrams.
//
// A Machine opens a UDP socket for each address of its host, gathers host,
// server-reflexive and relayed candidates (RFC 8489, RFC 8656) and tells of each
// as it finds it (trickle, RFC 8838) and of the end of them; whoever does not
// trickle waits for that. What it is told of the other side it gives to a
// punch.Agent, which checks and nominates; it waits with a verdict as RFC 8863
// says, asks for consent as RFC 7675 says, and restarts (RFC 8445 section 9) with
// the path in use until another one works.
//
// How the descriptions of the two sides get to each other is their owners'
// business. Description and Candidate have the text that RFC 8839 gives them in
// SDP.
//
// What it is not: it has no TCP candidates, resolves no mDNS names and is no lite
// implementation, though it talks to one. What a description has of those is
// left out, not refused.
//
// Everything between two peers of our own (relay first, split paths, identities,
// encryption) is package peer's: nothing of it is on the wire here. Agent runs a
// Machine on a network.
package ice
