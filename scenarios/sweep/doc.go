// Package sweep measures how punching depends on who comes first: two hosts send
// each other probes, one of them later than the other by an offset from −RTT to
// +RTT, and what matters is whether the first packet at a NAT comes from inside or
// from outside. Some NATs do not care; on Linux it depends on what the router does
// with packets that nobody expects.
package sweep
