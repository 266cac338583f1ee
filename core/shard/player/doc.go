// Package player is a client with a peer: it is in rooms of a shard, by an Agent,
// and, while a match runs, in the mesh of its players, by core/peer.
//
// A Player keeps the two together. When a match starts it asks for a play ticket
// and starts a peer with it; it renews the ticket in time; when another shard
// takes the room it goes to that one's servers, and sessions with other players
// live on; when the Agent is lost the peer goes on, and whatever was missed is
// asked for when the session has been resumed. It tells the game server how it is
// connected to whom.
//
// What a game says to other players is its own affair: Send and Received carry
// datagrams, which may be lost or reordered.
package player
