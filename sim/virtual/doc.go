// Package virtual is the fabric that builds labs in memory and plays them in a time
// of their own: an event loop over hosts, routers, links and machines, with the
// models of nat/table and sim/link in the place of a kernel. Nothing waits, minutes
// of silence cost nothing, and equal labs, seeds and players give equal packets,
// byte by byte. It needs no rights and no particular system.
//
// Packets are seen at the same points as on the kernel's fabric, die for the same
// causes in the same words, and meet hooks in the kernel's order. What there is not:
// programs, sockets of others than machines, streams of TCP, fragments (what is
// larger than an MTU passes as one, or dies as one).
package virtual
