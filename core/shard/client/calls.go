package client

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/agentv1/agentv1connect"
)

// authorize puts the access token into a request.
func (l *link) authorize(r connect.AnyRequest) {
	r.Header().Set("Authorization", "Bearer "+l.access)
}

// method is one of the service's.
type method[Req, Resp any] = func(context.Context, *connect.Request[Req]) (*connect.Response[Resp], error)

// attempts is by how many attachments of the session a request is tried.
const attempts = 4

// call sends a request by the link that there is. If that breaks, or the Agent
// refuses the token or says to go elsewhere, the session is resumed, and the
// request is sent again: where nobody knows whether it was done, only if it may
// be done twice.
func call[Req, Resp any](ctx context.Context, c *Client, twice bool, of func(agentv1connect.AgentServiceClient) method[Req, Resp], m *Req) (*Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Request)
	defer cancel()
	for attempt := 1; ; attempt++ {
		l, err := c.attached(ctx)
		if err != nil {
			return nil, err
		}
		request := connect.NewRequest(m)
		l.authorize(request)
		resp, err := of(l.rpc)(ctx, request)
		if err == nil {
			return resp.Msg, nil
		}
		switch {
		case ctx.Err() != nil:
			return nil, err
		case refusesToken(err), elsewhere(err): // it was not done
			c.lose(l, err)
		case connect.IsWireError(err), !broken(err, l):
			return nil, err
		default:
			c.lose(l, err)
			if !twice {
				return nil, fmt.Errorf("the connection broke, and the request may have been done or not: %w", err)
			}
		}
		if attempt == attempts {
			return nil, err
		}
	}
}

// broken reports whether an error that no Agent has sent is the connection's. The
// caller's own context has not ended: what is called canceled was so by HTTP, when a
// write failed, and an answer that is cut off is called internal.
func broken(err error, l *link) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeUnknown, connect.CodeCanceled, connect.CodeInternal:
		return true
	}
	return l.ctx.Err() != nil
}

// refusesToken reports whether an Agent does not know the access token.
func refusesToken(err error) bool {
	return connect.IsWireError(err) && connect.CodeOf(err) == connect.CodeUnauthenticated
}

// elsewhere reports whether an Agent is about to end.
func elsewhere(err error) bool {
	var e *connect.Error
	return errors.As(err, &e) && connect.IsWireError(err) && e.Meta().Get(shard.ElsewhereHeader) != ""
}

// Logout ends the session and leaves its rooms. The client is of no more use
// then.
func (c *Client) Logout(ctx context.Context) error {
	_, err := call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.LogoutRequest, agentv1.LogoutResponse] {
		return s.Logout
	}, &agentv1.LogoutRequest{})
	if err == nil || errors.Is(err, ErrEnded) {
		c.end(fmt.Errorf("%w: logged out", ErrEnded))
		return nil
	}
	return err
}

// ListRooms gives rooms, a page at a time.
func (c *Client) ListRooms(ctx context.Context, r *agentv1.ListRoomsRequest) (*agentv1.ListRoomsResponse, error) {
	return call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.ListRoomsRequest, agentv1.ListRoomsResponse] {
		return s.ListRooms
	}, r)
}

// CreateRoom makes a room and enters it.
func (c *Client) CreateRoom(ctx context.Context, settings *agentv1.RoomSettings) (*agentv1.Room, error) {
	resp, err := call(ctx, c, false, func(s agentv1connect.AgentServiceClient) method[agentv1.CreateRoomRequest, agentv1.CreateRoomResponse] {
		return s.CreateRoom
	}, &agentv1.CreateRoomRequest{Settings: settings})
	return resp.GetRoom(), err
}

// JoinRoom enters a room.
func (c *Client) JoinRoom(ctx context.Context, room string) (*agentv1.Room, error) {
	resp, err := call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.JoinRoomRequest, agentv1.JoinRoomResponse] {
		return s.JoinRoom
	}, &agentv1.JoinRoomRequest{Room: room})
	return resp.GetRoom(), err
}

// LeaveRoom leaves a room.
func (c *Client) LeaveRoom(ctx context.Context, room string) error {
	_, err := call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.LeaveRoomRequest, agentv1.LeaveRoomResponse] {
		return s.LeaveRoom
	}, &agentv1.LeaveRoomRequest{Room: room})
	return err
}

// GetRoom gives a room as it is.
func (c *Client) GetRoom(ctx context.Context, room string) (*agentv1.Room, error) {
	resp, err := call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.GetRoomRequest, agentv1.GetRoomResponse] {
		return s.GetRoom
	}, &agentv1.GetRoomRequest{Room: room})
	return resp.GetRoom(), err
}

// SetReady says whether the player is ready.
func (c *Client) SetReady(ctx context.Context, room string, ready bool) (*agentv1.Room, error) {
	resp, err := call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.SetReadyRequest, agentv1.SetReadyResponse] {
		return s.SetReady
	}, &agentv1.SetReadyRequest{Room: room, Ready: ready})
	return resp.GetRoom(), err
}

// Chat says something to all members of a room.
func (c *Client) Chat(ctx context.Context, room, text string) error {
	_, err := call(ctx, c, false, func(s agentv1connect.AgentServiceClient) method[agentv1.ChatRequest, agentv1.ChatResponse] {
		return s.Chat
	}, &agentv1.ChatRequest{Room: room, Text: text})
	return err
}

// QuickMatch asks for a match; the event Matched says which room.
func (c *Client) QuickMatch(ctx context.Context, r *agentv1.QuickMatchRequest) (*agentv1.QuickMatchResponse, error) {
	return call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.QuickMatchRequest, agentv1.QuickMatchResponse] {
		return s.QuickMatch
	}, r)
}

// CancelMatch takes QuickMatch back.
func (c *Client) CancelMatch(ctx context.Context) error {
	_, err := call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.CancelMatchRequest, agentv1.CancelMatchResponse] {
		return s.CancelMatch
	}, &agentv1.CancelMatchRequest{})
	return err
}

// PlayTicket gives what a member of a running room needs to reach the others; the
// peer ID is that of the player's identity, 32 bytes.
func (c *Client) PlayTicket(ctx context.Context, room string, peerID []byte) (*agentv1.PlayTicketResponse, error) {
	return call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.PlayTicketRequest, agentv1.PlayTicketResponse] {
		return s.PlayTicket
	}, &agentv1.PlayTicketRequest{Room: room, PeerId: peerID})
}

// Report tells how the player is connected to the others, and gives what the mesh
// should be.
func (c *Client) Report(ctx context.Context, room string, connections []*agentv1.Connection) (*agentv1.ReportResponse, error) {
	return call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.ReportRequest, agentv1.ReportResponse] {
		return s.Report
	}, &agentv1.ReportRequest{Room: room, Connections: connections})
}

// Finish gives the player's account of the result, at most 4 KiB.
func (c *Client) Finish(ctx context.Context, room string, result []byte) error {
	_, err := call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.FinishRequest, agentv1.FinishResponse] {
		return s.Finish
	}, &agentv1.FinishRequest{Room: room, Result: result})
	return err
}

// GetMatch gives the record of a match, running or ended lately.
func (c *Client) GetMatch(ctx context.Context, room string) (*agentv1.Match, error) {
	resp, err := call(ctx, c, true, func(s agentv1connect.AgentServiceClient) method[agentv1.GetMatchRequest, agentv1.GetMatchResponse] {
		return s.GetMatch
	}, &agentv1.GetMatchRequest{Room: room})
	return resp.GetMatch(), err
}
