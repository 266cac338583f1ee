package agent

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/rpc"
)

// service implements the methods of agentv1. Requests have been checked when they
// come here, and all but Login and Resume have their session in their call.
type service struct{ *Server }

// Login implements agentv1connect.AgentServiceHandler.
func (s *service) Login(ctx context.Context, r *connect.Request[agentv1.LoginRequest]) (*connect.Response[agentv1.LoginResponse], error) {
	if !s.sessions.reserve() {
		return nil, s.full()
	}
	defer s.sessions.free()
	who, err := s.cfg.Login.Authenticate(ctx, r.Msg)
	if err != nil {
		return nil, loginError(err)
	}
	if err := s.gate.enter(ctx); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	open := &insidev1.OpenSessionRequest{Player: who.Player, Rating: who.Rating, Agent: s.cfg.Name, TokenId: who.TokenID}
	if who.TokenID != "" {
		open.TokenExpiresMs = who.Expires.UnixMilli()
	}
	given, err := rpc.Call[insidev1.SessionResponse](ctx, s.inside, shard.DirectorySubject("OpenSession"), open)
	if rpc.CodeOf(err) == connect.CodeAlreadyExists {
		return nil, rpc.Errorf(connect.CodeUnauthenticated, "the login token was used before; get a new one from the account service")
	}
	if err != nil {
		return nil, err
	}
	x, token, err := s.attach(given)
	if err != nil {
		return nil, err
	}
	callOf(ctx).session = x
	s.log.Debug("agent: logged in", "session", x.id, "player", x.player)
	return connect.NewResponse(&agentv1.LoginResponse{Session: sessionOf(given, token)}), nil
}

// Resume implements agentv1connect.AgentServiceHandler.
func (s *service) Resume(ctx context.Context, r *connect.Request[agentv1.ResumeRequest]) (*connect.Response[agentv1.ResumeResponse], error) {
	if !s.sessions.reserve() {
		return nil, s.full()
	}
	defer s.sessions.free()
	if err := s.gate.enter(ctx); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	given, err := rpc.Call[insidev1.SessionResponse](ctx, s.inside, shard.DirectorySubject("ResumeSession"),
		&insidev1.ResumeSessionRequest{ResumeToken: r.Msg.ResumeToken, Agent: s.cfg.Name})
	switch rpc.CodeOf(err) {
	case 0:
	case connect.CodeUnauthenticated, connect.CodeNotFound, connect.CodePermissionDenied, connect.CodeInvalidArgument:
		return nil, rpc.Errorf(connect.CodeUnauthenticated, "the resume token is wrong, was replaced by a newer one, or its session has ended; log in again")
	default:
		return nil, err
	}
	x, token, err := s.attach(given)
	if err != nil {
		return nil, err
	}
	callOf(ctx).session = x
	s.log.Debug("agent: resumed", "session", x.id, "player", x.player, "generation", given.Generation)
	return connect.NewResponse(&agentv1.ResumeResponse{Session: sessionOf(given, token), Rooms: s.returnTo(ctx, x)}), nil
}

func (s *Server) full() error {
	s.metrics.reject("sessions")
	return busy(5*time.Second, "the server is full; try another one, or this one in some seconds")
}

func sessionOf(given *insidev1.SessionResponse, token string) *agentv1.Session {
	return &agentv1.Session{
		Id: given.Session, Player: given.Player, Rating: given.Rating,
		AccessToken: token, ResumeToken: given.ResumeToken, ResumeSeconds: given.ResumeSeconds,
	}
}

// presencePatience is how long a resumption waits for a room: a client is back soon,
// whatever its rooms do.
const presencePatience = 500 * time.Millisecond

// returnTo tells the rooms of a resumed session that it is back, and gives them as
// they are. One that cannot be asked at present is given as moving.
func (s *Server) returnTo(ctx context.Context, x *session) []*agentv1.Room {
	ids := x.inRooms()
	rooms := make([]*agentv1.Room, len(ids))
	var asked sync.WaitGroup
	for i, id := range ids {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, presencePatience)
			defer cancel()
			_, err := inRoom[insidev1.PresenceResponse](ctx, s, x, nil, id, shard.LobbySubject, "Presence", &insidev1.PresenceRequest{Room: id, Online: true})
			var got *agentv1.GetRoomResponse
			if err == nil {
				got, err = inRoom[agentv1.GetRoomResponse](ctx, s, x, nil, id, shard.LobbySubject, "GetRoom", &agentv1.GetRoomRequest{Room: id})
			}
			switch {
			case err == nil:
				rooms[i] = got.Room
			case rpc.CodeOf(err) == connect.CodeNotFound:
				x.leave(id)
			default:
				rooms[i] = &agentv1.Room{Id: id, State: agentv1.RoomState_ROOM_STATE_MOVING}
			}
		})
	}
	asked.Wait()
	present := rooms[:0]
	for _, r := range rooms {
		if r != nil {
			present = append(present, r)
		}
	}
	return present
}

// Logout implements agentv1connect.AgentServiceHandler.
func (s *service) Logout(ctx context.Context, _ *connect.Request[agentv1.LogoutRequest]) (*connect.Response[agentv1.LogoutResponse], error) {
	x := callOf(ctx).session
	if err := s.gate.enter(ctx); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	var left sync.WaitGroup
	for _, id := range x.inRooms() {
		left.Go(func() {
			// What fails here ends with the session.
			_, err := inRoom[agentv1.LeaveRoomResponse](ctx, s.Server, x, nil, id, shard.LobbySubject, "LeaveRoom", &agentv1.LeaveRoomRequest{Room: id})
			if err != nil && rpc.CodeOf(err) != connect.CodeNotFound {
				s.log.Debug("agent: a room was not left", "session", x.id, "room", id, "error", err)
			}
		})
	}
	left.Wait()
	_, err := asSession[insidev1.CloseSessionResponse](ctx, s.Server, x, shard.DirectorySubject("CloseSession"), &insidev1.CloseSessionRequest{})
	switch rpc.CodeOf(err) {
	case 0, connect.CodeNotFound:
	case connect.CodeFailedPrecondition:
		if err := s.renewPass(ctx, x, x.currentPass()); err != nil {
			return nil, err // it is held elsewhere, as a rule
		}
		return nil, rpc.Errorf(connect.CodeUnavailable, "the session changes at present; try again in a second")
	default:
		return nil, err
	}
	s.end(x, loggedOut)
	return connect.NewResponse(&agentv1.LogoutResponse{}), nil
}

// Events implements agentv1connect.AgentServiceHandler.
func (s *service) Events(ctx context.Context, _ *connect.Request[agentv1.EventsRequest], to *connect.ServerStream[agentv1.Event]) error {
	c := callOf(ctx)
	st, err := s.open(c.session)
	if err != nil {
		return err
	}
	defer s.close(c.session, st)
	s.uncount(c)
	// The body has been read; a deadline that passes would end the stream.
	_ = c.deadlines.SetReadDeadline(time.Time{})
	return s.run(ctx, c.session, st, to, c.deadlines)
}

// ListRooms implements agentv1connect.AgentServiceHandler.
func (s *service) ListRooms(ctx context.Context, r *connect.Request[agentv1.ListRoomsRequest]) (*connect.Response[agentv1.ListRoomsResponse], error) {
	return inDirectory[agentv1.ListRoomsResponse](ctx, s.Server, "ListRooms", r.Msg, rpc.Idempotent())
}

// CreateRoom implements agentv1connect.AgentServiceHandler.
func (s *service) CreateRoom(ctx context.Context, r *connect.Request[agentv1.CreateRoomRequest]) (*connect.Response[agentv1.CreateRoomResponse], error) {
	// With a key, an answer that got lost costs no room.
	placed, err := inDirectory[insidev1.PlaceRoomResponse](ctx, s.Server, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: r.Msg.Settings, Key: rand.Text()}, rpc.Idempotent())
	if err != nil {
		return nil, err
	}
	if _, ok := s.places.put(placed.Msg.GetPlace()); ok {
		callOf(ctx).session.enter(placed.Msg.Place.Room)
	}
	return connect.NewResponse(&agentv1.CreateRoomResponse{Room: placed.Msg.Room}), nil
}

// JoinRoom implements agentv1connect.AgentServiceHandler.
func (s *service) JoinRoom(ctx context.Context, r *connect.Request[agentv1.JoinRoomRequest]) (*connect.Response[agentv1.JoinRoomResponse], error) {
	resp, err := inLobby[agentv1.JoinRoomResponse](ctx, s.Server, r.Msg.Room, "JoinRoom", r.Msg)
	if err == nil {
		callOf(ctx).session.enter(r.Msg.Room)
	}
	return resp, err
}

// LeaveRoom implements agentv1connect.AgentServiceHandler.
func (s *service) LeaveRoom(ctx context.Context, r *connect.Request[agentv1.LeaveRoomRequest]) (*connect.Response[agentv1.LeaveRoomResponse], error) {
	resp, err := inLobby[agentv1.LeaveRoomResponse](ctx, s.Server, r.Msg.Room, "LeaveRoom", r.Msg)
	if err == nil || rpc.CodeOf(err) == connect.CodeNotFound {
		callOf(ctx).session.leave(r.Msg.Room)
	}
	return resp, err
}

// GetRoom implements agentv1connect.AgentServiceHandler.
func (s *service) GetRoom(ctx context.Context, r *connect.Request[agentv1.GetRoomRequest]) (*connect.Response[agentv1.GetRoomResponse], error) {
	return inLobby[agentv1.GetRoomResponse](ctx, s.Server, r.Msg.Room, "GetRoom", r.Msg)
}

// SetReady implements agentv1connect.AgentServiceHandler.
func (s *service) SetReady(ctx context.Context, r *connect.Request[agentv1.SetReadyRequest]) (*connect.Response[agentv1.SetReadyResponse], error) {
	return inLobby[agentv1.SetReadyResponse](ctx, s.Server, r.Msg.Room, "SetReady", r.Msg)
}

// Chat implements agentv1connect.AgentServiceHandler.
func (s *service) Chat(ctx context.Context, r *connect.Request[agentv1.ChatRequest]) (*connect.Response[agentv1.ChatResponse], error) {
	return inLobby[agentv1.ChatResponse](ctx, s.Server, r.Msg.Room, "Chat", r.Msg)
}

// QuickMatch implements agentv1connect.AgentServiceHandler.
func (s *service) QuickMatch(ctx context.Context, r *connect.Request[agentv1.QuickMatchRequest]) (*connect.Response[agentv1.QuickMatchResponse], error) {
	return inDirectory[agentv1.QuickMatchResponse](ctx, s.Server, "QuickMatch", r.Msg, rpc.Idempotent())
}

// CancelMatch implements agentv1connect.AgentServiceHandler.
func (s *service) CancelMatch(ctx context.Context, r *connect.Request[agentv1.CancelMatchRequest]) (*connect.Response[agentv1.CancelMatchResponse], error) {
	return inDirectory[agentv1.CancelMatchResponse](ctx, s.Server, "CancelMatch", r.Msg, rpc.Idempotent())
}

// PlayTicket implements agentv1connect.AgentServiceHandler.
func (s *service) PlayTicket(ctx context.Context, r *connect.Request[agentv1.PlayTicketRequest]) (*connect.Response[agentv1.PlayTicketResponse], error) {
	return inGame[agentv1.PlayTicketResponse](ctx, s.Server, r.Msg.Room, "PlayTicket", r.Msg)
}

// Report implements agentv1connect.AgentServiceHandler.
func (s *service) Report(ctx context.Context, r *connect.Request[agentv1.ReportRequest]) (*connect.Response[agentv1.ReportResponse], error) {
	return inGame[agentv1.ReportResponse](ctx, s.Server, r.Msg.Room, "Report", r.Msg)
}

// Finish implements agentv1connect.AgentServiceHandler.
func (s *service) Finish(ctx context.Context, r *connect.Request[agentv1.FinishRequest]) (*connect.Response[agentv1.FinishResponse], error) {
	return inGame[agentv1.FinishResponse](ctx, s.Server, r.Msg.Room, "Finish", r.Msg)
}

// GetMatch implements agentv1connect.AgentServiceHandler.
func (s *service) GetMatch(ctx context.Context, r *connect.Request[agentv1.GetMatchRequest]) (*connect.Response[agentv1.GetMatchResponse], error) {
	resp, err := inGame[agentv1.GetMatchResponse](ctx, s.Server, r.Msg.Room, "GetMatch", r.Msg)
	if err != nil {
		return nil, err
	}
	if m := resp.Msg.GetMatch(); m != nil {
		m.EndReason = s.discreetText(m.EndReason, "the match was ended by the server")
	}
	return resp, nil
}

// inDirectory passes a session's request to a directory.
func inDirectory[Resp any, P interface {
	*Resp
	proto.Message
}](ctx context.Context, s *Server, method string, req proto.Message, opts ...rpc.Option) (*connect.Response[Resp], error) {
	if err := s.gate.enter(ctx); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	resp, err := asSession[Resp, P](ctx, s, callOf(ctx).session, shard.DirectorySubject(method), req, opts...)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse((*Resp)(resp)), nil
}

// inLobby passes a session's request to the lobby of the shard that has a room.
func inLobby[Resp any, P interface {
	*Resp
	proto.Message
}](ctx context.Context, s *Server, room, method string, req proto.Message) (*connect.Response[Resp], error) {
	return passOn[Resp, P](ctx, s, room, shard.LobbySubject, method, req)
}

// inGame passes a session's request to the game server of the shard that has a
// room.
func inGame[Resp any, P interface {
	*Resp
	proto.Message
}](ctx context.Context, s *Server, room, method string, req proto.Message) (*connect.Response[Resp], error) {
	return passOn[Resp, P](ctx, s, room, shard.GameSubject, method, req)
}

func passOn[Resp any, P interface {
	*Resp
	proto.Message
}](ctx context.Context, s *Server, room string, subject func(id, method string) string, method string, req proto.Message) (*connect.Response[Resp], error) {
	c := callOf(ctx)
	t := &turn{s: s, address: c.address}
	if err := t.enter(ctx); err != nil {
		return nil, err
	}
	defer t.leave()
	resp, err := inRoom[Resp, P](ctx, s, c.session, t, room, subject, method, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse((*Resp)(resp)), nil
}
