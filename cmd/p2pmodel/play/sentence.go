package play

import (
	"errors"
	"fmt"
	"time"

	"p2pmodel/core/peer"
	"p2pmodel/core/shard/player"
)

// sentence is what the log says of an event; empty: nothing.
func sentence(e player.Event) (string, lineKind) {
	switch e := e.(type) {
	case player.Attached:
		return "logged in at " + e.Agent, lineInfo
	case player.Joined:
		return fmt.Sprintf("in room %s: %s", e.Room.GetId(), e.Room.GetSettings().GetTitle()), lineInfo
	case player.Left:
		if e.Reason == "" {
			return "left room " + e.Room, lineInfo
		}
		return fmt.Sprintf("out of room %s: %s", e.Room, e.Reason), lineBad
	case player.Chat:
		return e.Player + " says: " + e.Text, lineChat
	case player.MatchFailed:
		return "nobody to play with: " + e.Reason, lineBad
	case player.Disconnected:
		return "the Agent is lost: " + reason(e.Err) + "; play goes on", lineBad
	case player.Resumed:
		return fmt.Sprintf("the session goes on at %s after %s", e.Agent, short(e.After)), lineGood
	case player.Ended:
		if e.Reason == "" {
			return "the match is over", lineInfo
		}
		return "the match is over: " + e.Reason, lineInfo
	case player.Failed:
		if errors.Is(e.Err, peer.ErrUnknownPeer) {
			return "", lineInfo // one who is coming, or has just left
		}
		return e.What + ": " + reason(e.Err), lineBad
	case player.Started:
		if e.Relay == "" {
			return "the match runs: rendezvous " + e.Rendezvous + ", no relay", lineInfo
		}
		return "the match runs: rendezvous " + e.Rendezvous + ", relay " + e.Relay, lineInfo
	case player.Moved:
		return fmt.Sprintf("another shard has the room (%s): rendezvous %s after %s", e.Reason, e.Rendezvous, short(e.After)), lineGood
	case player.PeerUp:
		return e.Player + ": " + pathKind(e.Path) + " " + pathPair(e.Path), lineGood
	case player.PathChanged:
		if e.New.Kind == peer.NoPath {
			return e.Player + ": no path at present", lineBad
		}
		return e.Player + ": now " + pathKind(e.New) + " " + pathPair(e.New), lineGood
	case player.PathLost:
		return fmt.Sprintf("%s: the %s path answered last %s ago", e.Player, pathKind(e.Path), short(e.After)), lineBad
	case player.PeerDown:
		if e.Err == nil || errors.Is(e.Err, peer.ErrClosedByPeer) || errors.Is(e.Err, peer.ErrNotAllowed) {
			return e.Player + " has left", lineInfo
		}
		return e.Player + ": " + e.Err.Error(), lineInfo
	case player.Stopped:
		if e.Err != nil {
			return "the peer has ended: " + e.Err.Error(), lineBad
		}
	}
	return "", lineInfo
}

func reason(err error) string {
	if err == nil {
		return "unknown"
	}
	return err.Error()
}

// attr is a name and a value of a record.
type attr struct {
	name  string
	value any
}

// record is an event as a line of JSON has it; an empty name: none.
func record(e player.Event) (event string, attrs []attr) {
	switch e := e.(type) {
	case player.Attached:
		return "attached", []attr{{"agent", e.Agent}}
	case player.Joined:
		return "joined", roomAttrs(e.Room)
	case player.RoomChanged:
		return "room_changed", roomAttrs(e.Room)
	case player.Left:
		return "left", []attr{{"room", e.Room}, {"reason", text(e.Reason)}}
	case player.Chat:
		return "chat", []attr{{"room", e.Room}, {"player", e.Player}, {"text", e.Text}}
	case player.MatchFailed:
		return "match_failed", []attr{{"reason", e.Reason}}
	case player.Disconnected:
		return "disconnected", []attr{{"error", reason(e.Err)}}
	case player.Resumed:
		return "resumed", []attr{{"agent", e.Agent}, {"after_ms", milliseconds(e.After)}}
	case player.Ended:
		return "ended", endedAttrs(e)
	case player.Failed:
		return "failed", []attr{{"what", e.What}, {"error", reason(e.Err)}}
	case player.Started:
		return "started", []attr{{"room", e.Room}, {"mesh", e.Mesh}, {"rendezvous", e.Rendezvous}, {"relay", text(e.Relay)}}
	case player.Listening:
		return "listening", []attr{{"local", e.Local}}
	case player.Renewed:
		return "renewed", []attr{{"expires", e.Expires.UTC().Format(time.RFC3339)}}
	case player.Moved:
		return "moved", []attr{
			{"room", e.Room}, {"mesh", e.Mesh}, {"rendezvous", e.Rendezvous}, {"relay", text(e.Relay)}, {"reason", text(e.Reason)}, {"after_ms", milliseconds(e.After)},
		}
	case player.PeersChanged:
		return "peers_changed", []attr{{"peers", e.Peers}}
	case player.PeerUp:
		return "peer_up", []attr{{"player", e.Player}, {"peer", e.Peer}, {"session", e.Session.String()}, {"path", jsonPath(e.Path)}}
	case player.PathChanged:
		return "path_changed", []attr{{"player", e.Player}, {"session", e.Session.String()}, {"old", jsonPath(e.Old)}, {"new", jsonPath(e.New)}}
	case player.PathLost:
		return "path_lost", []attr{{"player", e.Player}, {"path", jsonPath(e.Path)}, {"after_ms", milliseconds(e.After)}}
	case player.PeerDown:
		return "peer_down", []attr{{"player", e.Player}, {"session", e.Session.String()}, {"error", errorText(e.Err)}}
	case player.Stopped:
		return "stopped", []attr{{"room", e.Room}, {"error", errorText(e.Err)}}
	}
	return "", nil
}

// text is nil for none, which is left out.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func errorText(err error) any {
	if err == nil {
		return nil
	}
	return err.Error()
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// pathJSON is a path as records have it, the same as of p2pmodel peer.
type pathJSON struct {
	Kind   string `json:"kind"`
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	Mapped string `json:"mapped,omitempty"`
}

func jsonPath(p peer.Path) pathJSON {
	j := pathJSON{Kind: pathKind(p)}
	if p.Kind != peer.NoPath {
		j.Local, j.Remote = p.Local.String(), p.Remote.String()
	}
	if p.Mapped.IsValid() {
		j.Mapped = p.Mapped.String()
	}
	return j
}
