// Package relay measures relays beside each other: ours, coturn, pion/turn, and
// forwarders that do nothing but forward, each on one processor, the load on another, in
// one laboratory and in alternating rounds.
package relay
