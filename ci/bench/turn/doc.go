// Package turn is as much of a TURN client as a load needs: it allocates, binds a
// channel and leaves the rest to its caller. It speaks RFC 5389's credentials, which
// all servers that are measured know, and shares no code with ours.
package turn
