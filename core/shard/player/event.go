package player

import (
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/shard/api/agentv1"
)

// Event is what a player tells its owner: one of the types below.
type Event any

// What happens at the Agent.
type (
	// Joined: we are in a room, by our own request or because players were
	// matched.
	Joined struct{ Room *agentv1.Room }
	// RoomChanged: who is in a room, who is ready, its state.
	RoomChanged struct{ Room *agentv1.Room }
	// Left: we are in a room no more, because we left it (Reason is empty) or
	// because it was closed.
	Left struct{ Room, Reason string }
	// Chat: a member of a room has said something.
	Chat struct {
		Room, Player, Text string
		At                 time.Time
	}
	// MatchFailed: the quick match has found nobody, and why.
	MatchFailed struct{ Reason string }
	// Attached: the session is open, at this Agent.
	Attached struct{ Agent string }
	// Disconnected: the Agent cannot be reached, or has ended the connection.
	// The player tries to resume; its peer goes on meanwhile.
	Disconnected struct{ Err error }
	// Resumed: the session goes on, at this Agent, after so long without one.
	Resumed struct {
		Agent string
		After time.Duration
	}
	// Ended: the match is over. Match may be nil where the record did not reach
	// us.
	Ended struct {
		Room, Reason string
		Match        *agentv1.Match
	}
	// Failed: something did not work, and is tried again.
	Failed struct {
		What string
		Err  error
	}
)

// What happens in the mesh.
type (
	// Started: the match runs, and we have a ticket for its mesh.
	Started struct{ Room, Mesh, Rendezvous, Relay string }
	// Listening: the peer's socket is open.
	Listening struct{ Local string }
	// Renewed: we have a fresh ticket for the same mesh.
	Renewed struct{ Expires time.Time }
	// Moved: another shard has the room, and we have a ticket for its mesh. After
	// is the time since we were told.
	Moved struct {
		Room, Reason, Mesh, Rendezvous, Relay string
		After                                 time.Duration
	}
	// PeersChanged: these are the other players of the mesh, with their peers.
	PeersChanged struct{ Peers map[string]identity.ID }
	// PeerUp: there is a path to another player, the first of the session.
	PeerUp struct {
		Player  string
		Peer    identity.ID
		Session peer.SessionID
		Path    peer.Path
	}
	// PathChanged: datagrams to a player go another way; New has the kind NoPath
	// while there is none.
	PathChanged struct {
		Player   string
		Session  peer.SessionID
		Old, New peer.Path
	}
	// PathLost: the path to a player stopped answering so long ago.
	PathLost struct {
		Player string
		Path   peer.Path
		After  time.Duration
	}
	// PeerDown: the session with a player is over.
	PeerDown struct {
		Player  string
		Session peer.SessionID
		Err     error
	}
	// Received: a datagram of a player. The payload is the receiver's.
	Received struct {
		Player  string
		Payload []byte
		Via     peer.PathKind
	}
	// Stopped: our peer has ended: the match is over, we left the room, or Err.
	Stopped struct {
		Room string
		Err  error
	}
)
