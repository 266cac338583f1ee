// Package forward is the ceiling of a relay: programs that take the header off each
// datagram that a client sends, pass it on to a peer, and do nothing else. Each client
// has a socket towards the peer, as a relay's clients have, unless one is to serve all.
package forward
