package play

import (
	"context"
	"errors"
	"sync"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/player"
)

// measures counts what players ask and what comes of it. It may be used from any
// goroutine.
type measures struct {
	mu       sync.Mutex
	requests map[string]*histogram // that were answered, by method
	failures map[string]uint64     // by method and kind
	resumes  histogram             // how long sessions were without an Agent
	lost     uint64                // Agents that were lost
	moves    histogram             // from RoomMoved to the other servers
	// farewells are how long players took to end.
	farewells histogram
}

func newMeasures() *measures {
	return &measures{requests: map[string]*histogram{}, failures: map[string]uint64{}}
}

// done counts a request.
func (m *measures) done(method string, took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failures[method+": "+kind(err)]++
		return
	}
	h := m.requests[method]
	if h == nil {
		h = &histogram{}
		m.requests[method] = h
	}
	h.add(took)
}

// failed is how many requests failed.
func (m *measures) failed() (n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.failures {
		n += c
	}
	return n
}

// event counts what happens to a player.
func (m *measures) event(e player.Event) {
	switch e := e.(type) {
	case player.Disconnected:
		m.mu.Lock()
		m.lost++
		m.mu.Unlock()
	case player.Resumed:
		m.mu.Lock()
		m.resumes.add(e.After)
		m.mu.Unlock()
	case player.Moved:
		m.mu.Lock()
		m.moves.add(e.After)
		m.mu.Unlock()
	}
}

// kind is a word for an error.
func kind(err error) string {
	var coded *connect.Error
	switch {
	case errors.As(err, &coded):
		return coded.Code().String()
	case errors.Is(err, context.DeadlineExceeded):
		return connect.CodeDeadlineExceeded.String()
	case errors.Is(err, context.Canceled):
		return connect.CodeCanceled.String()
	case errors.Is(err, client.ErrEnded), errors.Is(err, client.ErrClosed):
		return "session ended"
	}
	return "other"
}

// measured is a client whose requests are measured, waiting for a lost Agent
// included.
type measured struct {
	*client.Client
	measures *measures
}

var _ player.Agent = (*measured)(nil)

// timed counts a request that began at a time.
func timed[A any](m *measured, method string, f func() (A, error)) (A, error) {
	begun := time.Now()
	a, err := f()
	m.measures.done(method, time.Since(begun), err)
	return a, err
}

// login opens the session and gives the player's name.
func (m *measured) login(ctx context.Context) (string, error) {
	s, err := timed(m, "Login", func() (*agentv1.Session, error) { return m.Client.Login(ctx) })
	return s.GetPlayer(), err
}

func (m *measured) logout(ctx context.Context) error {
	_, err := timed(m, "Logout", func() (struct{}, error) { return struct{}{}, m.Client.Logout(ctx) })
	return err
}

// CreateRoom implements player.Agent, as all below do.
func (m *measured) CreateRoom(ctx context.Context, settings *agentv1.RoomSettings) (*agentv1.Room, error) {
	return timed(m, "CreateRoom", func() (*agentv1.Room, error) { return m.Client.CreateRoom(ctx, settings) })
}

func (m *measured) JoinRoom(ctx context.Context, room string) (*agentv1.Room, error) {
	return timed(m, "JoinRoom", func() (*agentv1.Room, error) { return m.Client.JoinRoom(ctx, room) })
}

func (m *measured) LeaveRoom(ctx context.Context, room string) error {
	_, err := timed(m, "LeaveRoom", func() (struct{}, error) { return struct{}{}, m.Client.LeaveRoom(ctx, room) })
	return err
}

func (m *measured) GetRoom(ctx context.Context, room string) (*agentv1.Room, error) {
	return timed(m, "GetRoom", func() (*agentv1.Room, error) { return m.Client.GetRoom(ctx, room) })
}

func (m *measured) SetReady(ctx context.Context, room string, ready bool) (*agentv1.Room, error) {
	return timed(m, "SetReady", func() (*agentv1.Room, error) { return m.Client.SetReady(ctx, room, ready) })
}

func (m *measured) QuickMatch(ctx context.Context, r *agentv1.QuickMatchRequest) (*agentv1.QuickMatchResponse, error) {
	return timed(m, "QuickMatch", func() (*agentv1.QuickMatchResponse, error) { return m.Client.QuickMatch(ctx, r) })
}

func (m *measured) PlayTicket(ctx context.Context, room string, peer []byte) (*agentv1.PlayTicketResponse, error) {
	return timed(m, "PlayTicket", func() (*agentv1.PlayTicketResponse, error) { return m.Client.PlayTicket(ctx, room, peer) })
}

func (m *measured) Report(ctx context.Context, room string, c []*agentv1.Connection) (*agentv1.ReportResponse, error) {
	return timed(m, "Report", func() (*agentv1.ReportResponse, error) { return m.Client.Report(ctx, room, c) })
}

func (m *measured) Finish(ctx context.Context, room string, result []byte) error {
	_, err := timed(m, "Finish", func() (struct{}, error) { return struct{}{}, m.Client.Finish(ctx, room, result) })
	return err
}
