package directory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
)

// A resume token is SESSION.GENERATION.SECRET: the generation that it brought, and
// 32 random bytes, of which the directory keeps a hash.

// openSession makes a session for a player whom an Agent has authenticated.
func (s *Server) openSession(ctx context.Context, _ *rpc.Request, req *insidev1.OpenSessionRequest) (*insidev1.SessionResponse, error) {
	if err := limits.CheckPlayer("player", req.Player); err != nil {
		return nil, err
	}
	if err := limits.CheckSession("agent", req.Agent); err != nil {
		return nil, err
	}
	s.state.mu.RLock()
	n, own := len(s.state.sessions.rows), s.state.sessionsOf[req.Player]
	s.state.mu.RUnlock()
	if own >= s.cfg.MaxSessionsPlayer {
		return nil, &rpc.Error{Code: connect.CodeResourceExhausted, Message: "the player has as many sessions as one may have; log out of some, or wait until they end", Retry: 30 * time.Second}
	}
	if n >= s.cfg.MaxSessions {
		return nil, &rpc.Error{Code: connect.CodeResourceExhausted, Message: "there are as many sessions as there may be", Retry: 5 * time.Second}
	}
	used, err := s.useToken(ctx, req)
	if err != nil {
		return nil, err
	}
	id := strings.ToLower(rand.Text())
	secret, hash := newSecret()
	session := &insidev1.StoredSession{
		Player: req.Player, Rating: req.Rating, Generation: 1, Agent: req.Agent, Current: hash, ExpiresMs: s.expiry(time.Now()),
	}
	if _, err := s.state.sessions.create(ctx, id, session); err != nil {
		s.returnToken(ctx, used)
		return nil, full(err)
	}
	s.metrics.sessions.WithLabelValues("opened").Inc()
	return s.attach(id, session, secret)
}

// useToken notes that a login token was used. It gives the key.
func (s *Server) useToken(ctx context.Context, req *insidev1.OpenSessionRequest) (string, error) {
	if req.TokenId == "" {
		return "", nil
	}
	switch ends := time.UnixMilli(req.TokenExpiresMs); {
	case len(req.TokenId) > 1024:
		return "", rpc.Errorf(connect.CodeInvalidArgument, "token_id: has %d bytes, at most 1024 are allowed", len(req.TokenId))
	case !time.Now().Before(ends):
		return "", rpc.Errorf(connect.CodeUnauthenticated, "the login token has expired")
	case time.Until(ends) > MaxTokenLife:
		return "", rpc.Errorf(connect.CodeInvalidArgument, "a login token that is good once has to end within %v", MaxTokenLife)
	}
	sum := sha256.Sum256([]byte(req.TokenId))
	key := hex.EncodeToString(sum[:16])
	_, err := s.kv.tokens.Create(ctx, key, []byte{1})
	if errors.Is(err, engine.ErrExists) {
		s.metrics.sessions.WithLabelValues("token_replayed").Inc()
		return "", rpc.Errorf(connect.CodeAlreadyExists, "the login token was used before: ask for another one")
	}
	return key, full(err)
}

// returnToken makes a token usable whose session could not be made.
func (s *Server) returnToken(ctx context.Context, key string) {
	if key == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.kv.tokens.Delete(ctx, key, 0); err != nil {
		s.log.Info("a login token counts as used although it brought no session", "error", err)
	}
}

// resumeSession attaches a session to an Agent by the secret of its last
// attachment, or, as an answer may have got lost, by the one before it as long as
// nothing of the last one was used.
func (s *Server) resumeSession(ctx context.Context, _ *rpc.Request, req *insidev1.ResumeSessionRequest) (*insidev1.SessionResponse, error) {
	if err := limits.CheckSession("agent", req.Agent); err != nil {
		return nil, err
	}
	id, generation, hash, err := parseResumeToken(req.ResumeToken)
	if err != nil {
		return nil, s.refuse("malformed", "the resume token is malformed")
	}
	for i := range attempts {
		present, err := s.state.sessions.get(ctx, id)
		if errors.Is(err, engine.ErrNotFound) || err == nil && time.Now().UnixMilli() >= present.value.ExpiresMs {
			return nil, s.refuse("ended", "the session has ended: log in again")
		} else if err != nil {
			return nil, err
		}
		old := present.value
		next := proto.CloneOf(old)
		switch {
		case same(hash, old.Current):
			next.Previous = old.Current
		case same(hash, old.Previous):
		case generation < old.Generation:
			return nil, s.refuse("replayed", "the resume token was used before, and what it brought was used: log in again")
		default:
			return nil, s.refuse("forged", "the resume token is not one of this session")
		}
		// Only who has the token uses up what the session may.
		if i == 0 && !s.resumed.allow(id, time.Now()) {
			return nil, &rpc.Error{Code: connect.CodeResourceExhausted, Message: "the session was resumed too often lately; wait a little", Retry: resumeEvery}
		}
		secret, hash := newSecret()
		next.Generation, next.Current, next.Agent = old.Generation+1, hash, req.Agent
		next.ExpiresMs = s.expiry(time.Now())
		_, err = s.state.sessions.update(ctx, id, next, present.revision)
		if errors.Is(err, engine.ErrConflict) {
			continue
		} else if err != nil {
			return nil, full(err)
		}
		s.metrics.sessions.WithLabelValues("resumed").Inc()
		return s.attach(id, next, secret)
	}
	return nil, again()
}

func (s *Server) refuse(why, message string) error {
	s.metrics.sessions.WithLabelValues(why).Inc()
	return rpc.Errorf(connect.CodeUnauthenticated, "%s", message)
}

func same(a, b []byte) bool { return len(b) > 0 && subtle.ConstantTimeCompare(a, b) == 1 }

// renewPass gives the Agent that holds a session another pass. While the session
// has long to live it needs no bucket. The pass may have expired, but not the
// session.
func (s *Server) renewPass(ctx context.Context, r *rpc.Request, _ *insidev1.RenewPassRequest) (*insidev1.SessionResponse, error) {
	p, err := s.signed(r)
	if err != nil {
		return nil, err
	}
	present, ok := s.state.sessions.find(p.Session)
	for i := range attempts {
		if i > 0 || !ok || present.value.Generation < p.Generation {
			present, err = s.state.sessions.get(ctx, p.Session)
			if err != nil && !errors.Is(err, engine.ErrNotFound) {
				return nil, err
			}
		}
		now := time.Now()
		if err := holds(present.value, p, now); err != nil {
			return nil, err
		}
		next := proto.CloneOf(present.value)
		// What the last attachment brought is in use: the one before it is over.
		next.Previous = nil
		if len(present.value.Previous) == 0 && time.UnixMilli(next.ExpiresMs).Sub(now) >= s.cfg.SessionLife {
			return s.attach(p.Session, next, "")
		}
		next.ExpiresMs = s.expiry(now)
		_, err = s.state.sessions.update(ctx, p.Session, next, present.revision)
		switch {
		case errors.Is(err, engine.ErrConflict):
			continue
		case err != nil && now.UnixMilli() < present.value.ExpiresMs:
			// The engine has an election, say. The session lives on, and the next
			// renewal will write it.
			s.log.Debug("a session is renewed without its entry", "error", err)
		case err != nil:
			return nil, err
		}
		return s.attach(p.Session, next, "")
	}
	return nil, again()
}

// holds checks that a pass is of a session's present attachment.
func holds(session *insidev1.StoredSession, p *insidev1.Pass, now time.Time) error {
	switch {
	case session == nil || now.UnixMilli() >= session.ExpiresMs:
		return rpc.Errorf(connect.CodeUnauthenticated, "the session has ended: log in again")
	case session.Generation != p.Generation:
		return rpc.Errorf(connect.CodeFailedPrecondition, "another Agent holds the session")
	}
	return nil
}

// closeSession ends a session.
func (s *Server) closeSession(ctx context.Context, r *rpc.Request, _ *insidev1.CloseSessionRequest) (*insidev1.CloseSessionResponse, error) {
	p, err := s.signed(r)
	if err != nil {
		return nil, err
	}
	for range attempts {
		present, err := s.state.sessions.get(ctx, p.Session)
		if errors.Is(err, engine.ErrNotFound) {
			return &insidev1.CloseSessionResponse{}, nil
		} else if err != nil {
			return nil, err
		}
		if present.value.Generation != p.Generation {
			return nil, rpc.Errorf(connect.CodeFailedPrecondition, "another Agent holds the session")
		}
		err = s.state.sessions.remove(ctx, p.Session, present.revision)
		if errors.Is(err, engine.ErrConflict) {
			continue
		} else if err != nil {
			return nil, err
		}
		s.metrics.sessions.WithLabelValues("closed").Inc()
		return &insidev1.CloseSessionResponse{}, nil
	}
	return nil, again()
}

// expiry is when a session ends that lives now. It is written again when less than
// SessionLife is left, so that a session outlives its Agent by that at least, and
// so not at each renewal.
func (s *Server) expiry(now time.Time) int64 {
	return now.Add(s.cfg.SessionLife * 3 / 2).UnixMilli()
}

// attach is the answer that gives a session to its Agent.
func (s *Server) attach(id string, session *insidev1.StoredSession, secret string) (*insidev1.SessionResponse, error) {
	signed, err := s.sign(&insidev1.Pass{
		Session: id, Player: session.Player, Rating: session.Rating, Generation: session.Generation, Agent: session.Agent,
		ExpiresMs: time.Now().Add(s.cfg.PassLife).UnixMilli(),
	})
	if err != nil {
		return nil, err
	}
	resp := &insidev1.SessionResponse{
		Session: id, Player: session.Player, Rating: session.Rating, Generation: session.Generation,
		Pass: signed, PassSeconds: uint32(s.cfg.PassLife / time.Second), ResumeSeconds: uint32(s.cfg.SessionLife / time.Second),
		Rooms: s.roomsOfSession(id),
	}
	if secret != "" {
		resp.ResumeToken = id + "." + strconv.FormatUint(session.Generation, 10) + "." + secret
	}
	return resp, nil
}

func (s *Server) roomsOfSession(id string) []*insidev1.RoomPlace {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	var places []*insidev1.RoomPlace
	for room := range s.state.inRooms[id] {
		places = append(places, placeOf(s.state.rooms.rows[room].value.Record))
	}
	slices.SortFunc(places, func(a, b *insidev1.RoomPlace) int { return strings.Compare(a.Room, b.Room) })
	return places
}

// newSecret draws what a resume token proves itself by.
func newSecret() (secret string, hash []byte) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(raw), sum[:]
}

// parseResumeToken takes a resume token apart.
func parseResumeToken(token string) (id string, generation uint64, hash []byte, err error) {
	malformed := errors.New("malformed resume token")
	parts := strings.Split(token, ".")
	if len(token) > limits.MaxResumeToken || len(parts) != 3 || limits.CheckSession("session", parts[0]) != nil {
		return "", 0, nil, malformed
	}
	generation, err = strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return "", 0, nil, malformed
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) != 32 {
		return "", 0, nil, malformed
	}
	sum := sha256.Sum256(raw)
	return parts[0], generation, sum[:], nil
}

// pass is who calls, by a pass that is good now.
func (s *Server) pass(r *rpc.Request) (*insidev1.Pass, error) {
	p, err := s.verifier.Verify(r.Pass, time.Now())
	return p, unauthenticated(err)
}

// signed is who calls, by a pass that was good some time.
func (s *Server) signed(r *rpc.Request) (*insidev1.Pass, error) {
	p, err := s.verifier.Signed(r.Pass)
	return p, unauthenticated(err)
}

func unauthenticated(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pass.ErrSuperseded):
		return rpc.Errorf(connect.CodeFailedPrecondition, "%v", err)
	}
	return rpc.Errorf(connect.CodeUnauthenticated, "%v", err)
}
