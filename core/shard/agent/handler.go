package agent

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1/agentv1connect"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

// call is one request in work.
type call struct {
	method    string
	address   *address
	session   *session // nil for Login and Resume
	deadlines *http.ResponseController
	counted   bool   // among the requests in work
	code      string // of the answer
	streaming bool
}

// callKey is the context's key of a call.
type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// framing is what the forms of gRPC put before a message.
const framing = 5

// serveHTTP takes a request, bounds it and passes it to Connect.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	began, l := time.Now(), s.cfg.Limits
	deadlines := http.NewResponseController(w)
	// They hold until the next request of the connection sets its own, or, by
	// HTTP/2, for the stream.
	_ = deadlines.SetReadDeadline(began.Add(l.BodyTimeout))
	_ = deadlines.SetWriteDeadline(began.Add(l.BodyTimeout + l.RequestTimeout + l.WriteTimeout))
	method, ours := strings.CutPrefix(r.URL.Path, "/"+agentv1connect.AgentServiceName+"/")
	if !ours {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("There is nothing here. The service is at /" + agentv1connect.AgentServiceName + "/METHOD.\n"))
		return
	}
	c := &call{method: method, deadlines: deadlines, code: "malformed"}
	if conn, ok := r.Context().Value(connKey{}).(*conn); ok && conn != nil {
		c.address = conn.of()
	}
	if c.address == nil {
		c.address = s.addresses.crowd
	}
	r.Body = http.MaxBytesReader(w, r.Body, int64(l.BodyBytes+framing))
	if err := s.enter(c); err != nil {
		s.refuse(w, r, err)
		return
	}
	defer s.leave(c, began)
	s.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
}

// enter counts a request among those in work.
func (s *Server) enter(c *call) error {
	switch {
	case s.draining.Load():
		return errLeaving
	case s.requests.Add(1) > int64(s.cfg.Limits.Requests):
		s.requests.Add(-1)
		s.metrics.reject("requests")
		return busy(time.Second, "the server has too many requests in work; try again in a second")
	case c.address.requests.Add(1) > int64(s.cfg.Limits.RequestsPerAddress):
		c.address.requests.Add(-1)
		s.requests.Add(-1)
		s.metrics.reject("requests_per_address")
		return busy(time.Second, "there are too many requests from your address in work; try again in a second")
	}
	c.counted = true
	return nil
}

// uncount takes a request out of those in work; event streams are bounded by
// sessions.
func (s *Server) uncount(c *call) {
	if c.counted {
		c.counted = false
		s.requests.Add(-1)
		c.address.requests.Add(-1)
	}
}

func (s *Server) leave(c *call, began time.Time) {
	s.uncount(c)
	if c.session != nil {
		s.done(c.session)
	}
	if !known[c.method] {
		c.method, c.code = "other", "unimplemented"
	}
	s.metrics.request(c.method, c.code, time.Since(began), c.streaming)
}

// refuse answers a request that is not worth more, in the client's own form.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := s.public(err)
	if s.errors.IsSupported(r) {
		_ = s.errors.Write(w, r, e)
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, e.Message(), http.StatusServiceUnavailable)
}

// known are the methods of the service.
var known = func() map[string]bool {
	m := map[string]bool{}
	for _, procedure := range []string{
		agentv1connect.AgentServiceLoginProcedure, agentv1connect.AgentServiceResumeProcedure, agentv1connect.AgentServiceLogoutProcedure,
		agentv1connect.AgentServiceEventsProcedure, agentv1connect.AgentServiceListRoomsProcedure, agentv1connect.AgentServiceCreateRoomProcedure,
		agentv1connect.AgentServiceJoinRoomProcedure, agentv1connect.AgentServiceLeaveRoomProcedure, agentv1connect.AgentServiceGetRoomProcedure,
		agentv1connect.AgentServiceSetReadyProcedure, agentv1connect.AgentServiceChatProcedure, agentv1connect.AgentServiceQuickMatchProcedure,
		agentv1connect.AgentServiceCancelMatchProcedure, agentv1connect.AgentServicePlayTicketProcedure, agentv1connect.AgentServiceReportProcedure,
		agentv1connect.AgentServiceFinishProcedure, agentv1connect.AgentServiceGetMatchProcedure,
	} {
		m[methodOf(procedure)] = true
	}
	return m
}()

func methodOf(procedure string) string { return procedure[strings.LastIndexByte(procedure, '/')+1:] }

// options are how Connect serves.
func (s *Server) options() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithReadMaxBytes(s.cfg.Limits.BodyBytes),
		// Messages are small, and nobody sends a bomb to who does not unpack.
		connect.WithCompression("gzip", nil, nil),
		connect.WithRequestGate(s.authorize),
		connect.WithInterceptors(interceptor{s}),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, broken any) error {
			s.log.Error("agent: a handler broke", "method", methodOf(spec.Procedure), "panic", broken)
			return connect.NewError(connect.CodeInternal, errors.New(internal))
		}),
	}
}

// authorize says whose a request is and whether it is too much, before its body
// is looked at.
func (s *Server) authorize(ctx context.Context, spec connect.Spec, _ connect.Peer, header http.Header) (context.Context, error) {
	c := callOf(ctx)
	err := s.permit(c, spec.Procedure, header)
	if err != nil {
		e := s.public(err)
		c.code = e.Code().String()
		return nil, e
	}
	return ctx, nil
}

func (s *Server) permit(c *call, procedure string, header http.Header) error {
	switch procedure {
	case agentv1connect.AgentServiceLoginProcedure:
		return s.permitStranger(c.address.logins, "login_rate", "these are more logins than one address may try; wait a second")
	case agentv1connect.AgentServiceResumeProcedure:
		return s.permitStranger(c.address.resumes, "resume_rate", tooManyResumes)
	}
	token, bearer := strings.CutPrefix(header.Get("Authorization"), "Bearer ")
	x := s.sessions.find(token)
	if !bearer || x == nil || !x.use() {
		if err := s.permitStranger(c.address.resumes, "resume_rate", tooManyResumes); err != nil {
			return err
		}
		if !bearer {
			return rpc.Errorf(connect.CodeUnauthenticated, "the request has no access token; log in, then send it as Authorization: Bearer TOKEN")
		}
		return rpc.Errorf(connect.CodeUnauthenticated, "the access token is not good here, or no more; resume the session, or log in")
	}
	c.session = x // the end of the request gives it back
	if !x.limiter.Allow() {
		s.metrics.reject("session_rate")
		return busy(time.Second, "these are more requests than one session may send; send fewer than %g a second", s.cfg.Limits.RequestRate)
	}
	return nil
}

const tooManyResumes = "these are more requests without a session than one address may send; wait a second"

// permitStranger bounds what an address may try without a session.
func (s *Server) permitStranger(l *rate.Limiter, reason, message string) error {
	if l.Allow() {
		return nil
	}
	s.metrics.reject(reason)
	return busy(time.Second, "%s", message)
}

// interceptor is what all methods have in common.
type interceptor struct{ s *Server }

// WrapUnary implements connect.Interceptor: the request is checked, gets its time
// and its place, and errors are made public.
func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		c := callOf(ctx)
		resp, err := i.unary(ctx, r, next)
		if err != nil {
			if ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				err = ctx.Err()
			}
			e := i.s.public(err)
			c.code = e.Code().String()
			return nil, e
		}
		c.code = "ok"
		return resp, nil
	}
}

func (i interceptor) unary(ctx context.Context, r connect.AnyRequest, next connect.UnaryFunc) (connect.AnyResponse, error) {
	if err := check(r.Any()); err != nil {
		return nil, err
	}
	// The client's own deadline ends the work as if it had gone: a short one must
	// not look as if a server of the inside had not answered.
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), i.s.cfg.Limits.RequestTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	return next(inner, r)
}

// WrapStreamingHandler implements connect.Interceptor, for Events.
func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, stream connect.StreamingHandlerConn) error {
		c := callOf(ctx)
		c.streaming = true
		if err := next(ctx, stream); err != nil {
			e := i.s.public(err)
			c.code = e.Code().String()
			return e
		}
		c.code = "ok"
		return nil
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// check refuses a message that breaks a limit of the protocol.
func check(m any) error {
	message, ok := m.(proto.Message)
	if !ok {
		return errors.New("a request is no protobuf message")
	}
	return limits.Check(message)
}
