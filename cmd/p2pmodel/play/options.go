// Package play is a small game in a terminal, which shows a shard and a mesh at
// work: a field on which players move, and how each of them is reached. It runs
// one player, to be looked at or as lines for scripts, or many bots, which measure.
package play

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/player"
)

// Mode is what is played, unless something else is asked for.
const Mode = "field"

// Options are what the commands have in common.
type Options struct {
	// Agents are HOST:PORTs, TLS says whom to trust.
	Agents []string
	TLS    *tls.Config
	// Account gives the name and the credential of the i-th player.
	Account func(i int) Account
	// Dial gives how the i-th player connects to Agents; nil: as the system does.
	Dial func(i int) func(ctx context.Context, network, address string) (net.Conn, error)
	// Where to play. Room: in this one; Create: in a new one; Quick: with whoever
	// is matched. None of them: in any room of the mode that has a place, or else
	// in a new one.
	Room          string
	Create, Quick bool
	// Settings are those of rooms that are created; their Mode and Capacity also
	// count for Quick.
	Settings *agentv1.RoomSettings
	// Ready says whether to be ready in a room, so that its match can start.
	Ready bool
	// Peer is what peers' configurations do not take from tickets. Key is the
	// first player's; zero: a new one. Start is as in player.Config.
	Peer  peer.Config
	Key   identity.Key
	Start player.Start
	// LoginTimeout is how long logging in is tried; it has to be set.
	LoginTimeout time.Duration
	// Duration ends it after so long; 0: never.
	Duration time.Duration
	// JSON prints objects, not sentences.
	JSON bool
	Out  io.Writer
}

// Account is who a player is.
type Account struct {
	Name       string
	Credential func(ctx context.Context) (*agentv1.LoginRequest, error)
}

// Settings are those of a room for so many players of a mode.
func Settings(title, mode string, players int) (*agentv1.RoomSettings, error) {
	if players < 2 || players > 64 {
		return nil, fmt.Errorf("%d players: want 2 to 64", players)
	}
	return &agentv1.RoomSettings{
		Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: title, Mode: mode, Capacity: uint32(players), MinPlayers: 2, DropIn: true,
	}, nil
}
