// Package limits says how long, how many and how large what clients send may be,
// and of which characters. The Agent checks every request, and shards check it
// again: an Agent that was taken over is a client too.
//
// Every error is an *rpc.Error of connect.CodeInvalidArgument whose message names
// the field, what it has and what it may have, and may be shown to the client.
package limits

import (
	"time"

	"p2pmodel/core/identity"
)

// Names. Lengths are in characters where characters may be of several bytes.
const (
	// RoomIDLength and RoomIDAlphabet are of the ids that directories draw.
	RoomIDLength   = 12
	RoomIDAlphabet = "abcdefghijklmnopqrstuvwxyz234567"
	// MaxSession is for session ids: letters, digits, - and _.
	MaxSession = 64
	// MaxPlayer is for players' names: no control characters, no space at the
	// ends.
	MaxPlayer = 64
	// MaxMode is for modes, MaxRegion for what latencies were measured to.
	MaxMode   = 32
	MaxRegion = 64
)

// Rooms.
const (
	MaxTitle          = 64
	MinCapacity       = 2
	MaxCapacity       = 64
	MaxPartyCapacity  = 8
	DefaultMinPlayers = 2
	DefaultMatch      = 30 * time.Minute
	MaxMatch          = 24 * time.Hour
	// MaxRoomsSession is in how many rooms a session may be that it has made or
	// joined itself.
	MaxRoomsSession = 8
)

// Requests.
const (
	MaxChat         = 500
	MaxResult       = 4 << 10
	MaxLatency      = 60 * time.Second
	MaxLatencies    = 16
	PeerIDSize      = identity.Size
	DefaultList     = 50
	MaxList         = 100
	MaxCursor       = 256
	MaxToken        = 4 << 10
	MaxResumeToken  = 512
	MaxAccountName  = 64
	MaxPassword     = 256
	DefaultMatching = 2
)
