package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/agentv1/agentv1connect"
	"p2pmodel/core/shard/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is some Agents that do what a test wants, and what they share of one
// session.
type world struct {
	t      *testing.T
	cert   tls.Certificate
	trust  *x509.CertPool
	agents map[string]*fakeAgent

	mu         sync.Mutex
	generation int
	rooms      []*agentv1.Room
	order      []string // which Agents were asked for a session
	refuse     bool     // to resume
}

// fakeAgent serves what a client asks, over pipes.
type fakeAgent struct {
	agentv1connect.UnimplementedAgentServiceHandler
	w      *world
	name   string
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex
	live   []*pipe
	dead   bool // connections are refused
	mute   bool // connections are taken and nothing answered
	access string
	events chan *agentv1.Event
	calls  map[string]int
	fail   map[string]error
	before func(method string) // called first in each method
}

func simulate(t *testing.T, names []string, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, agents: map[string]*fakeAgent{}}
		w.cert, w.trust = certificate(t, names)
		for _, name := range names {
			w.start(name)
		}
		f(t, w)
	})
}

func certificate(t *testing.T, names []string) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func (w *world) start(name string) *fakeAgent {
	a := &fakeAgent{w: w, name: name, conns: make(chan net.Conn), closed: make(chan struct{}), events: make(chan *agentv1.Event, 1000),
		calls: map[string]int{}, fail: map[string]error{}}
	w.agents[name] = a
	_, handler := agentv1connect.NewAgentServiceHandler(a)
	a.server = &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{w.cert}}, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.server.ServeTLS(a, "", "")
	}()
	w.t.Cleanup(func() {
		a.server.Close()
		<-done
	})
	return a
}

// Accept, Close and Addr implement net.Listener.
func (a *fakeAgent) Accept() (net.Conn, error) {
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

func (a *fakeAgent) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

func (a *fakeAgent) Addr() net.Addr { return &net.TCPAddr{} }

// dial reaches Agents by name.
func (w *world) dial(ctx context.Context, _, address string) (net.Conn, error) {
	name, _, _ := net.SplitHostPort(address)
	a := w.agents[name]
	a.mu.Lock()
	dead, mute := a.dead, a.mute
	a.mu.Unlock()
	if dead {
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	p := &pipe{Conn: far}
	if mute {
		p.silence()
	}
	a.mu.Lock()
	a.live = append(a.live, p)
	a.mu.Unlock()
	select {
	case a.conns <- p:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pipe is a connection's end at an Agent.
type pipe struct {
	net.Conn
	mu     sync.Mutex
	silent bool
}

func (p *pipe) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}

func (p *pipe) isSilent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.silent
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.isSilent() {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

func (p *pipe) Read(b []byte) (int, error) {
	for {
		n, err := p.Conn.Read(b)
		if err != nil || !p.isSilent() {
			return n, err
		}
	}
}

// fall makes an Agent's machine lose its power: later connections are refused,
// and nothing comes by those there are.
func (a *fakeAgent) fall() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dead = true
	for _, p := range a.live {
		p.silence()
	}
}

// cut closes the connections that there are.
func (a *fakeAgent) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.live {
		p.Close()
	}
	a.live = nil
}

func (a *fakeAgent) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *fakeAgent) called(method string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[method]
}

// enter counts a call, and refuses it if the test or the access token say so.
func (a *fakeAgent) enter(method string, header http.Header) error {
	a.mu.Lock()
	a.calls[method]++
	err, before := a.fail[method], a.before
	if header != nil && header.Get("Authorization") != "Bearer "+a.access {
		err = connect.NewError(connect.CodeUnauthenticated, errors.New("the access token is not good here"))
	}
	a.mu.Unlock()
	if before != nil {
		before(method)
	}
	return err
}

// attach makes the session this Agent's.
func (a *fakeAgent) attach() *agentv1.Session {
	a.w.mu.Lock()
	a.w.generation++
	n := a.w.generation
	a.w.mu.Unlock()
	for _, other := range a.w.agents {
		other.set(func() { other.access = "" })
	}
	a.set(func() { a.access = fmt.Sprintf("access-%d", n) })
	return &agentv1.Session{Id: "s", Player: "ann", AccessToken: fmt.Sprintf("access-%d", n), ResumeToken: fmt.Sprintf("resume-%d", n), ResumeSeconds: 120}
}

func (a *fakeAgent) asked() {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	a.w.order = append(a.w.order, a.name)
}

func (a *fakeAgent) Login(_ context.Context, r *connect.Request[agentv1.LoginRequest]) (*connect.Response[agentv1.LoginResponse], error) {
	a.asked()
	if err := a.enter("Login", nil); err != nil {
		return nil, err
	}
	if r.Msg.GetToken() == "bad" {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("the login token has expired"))
	}
	return connect.NewResponse(&agentv1.LoginResponse{Session: a.attach()}), nil
}

func (a *fakeAgent) Resume(_ context.Context, r *connect.Request[agentv1.ResumeRequest]) (*connect.Response[agentv1.ResumeResponse], error) {
	a.asked()
	if err := a.enter("Resume", nil); err != nil {
		return nil, err
	}
	a.w.mu.Lock()
	good := r.Msg.ResumeToken == fmt.Sprintf("resume-%d", a.w.generation) && !a.w.refuse
	rooms := a.w.rooms
	a.w.mu.Unlock()
	if !good {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("the resume token is wrong"))
	}
	return connect.NewResponse(&agentv1.ResumeResponse{Session: a.attach(), Rooms: rooms}), nil
}

func (a *fakeAgent) Logout(_ context.Context, r *connect.Request[agentv1.LogoutRequest]) (*connect.Response[agentv1.LogoutResponse], error) {
	return connect.NewResponse(&agentv1.LogoutResponse{}), a.enter("Logout", r.Header())
}

func (a *fakeAgent) GetRoom(_ context.Context, r *connect.Request[agentv1.GetRoomRequest]) (*connect.Response[agentv1.GetRoomResponse], error) {
	if err := a.enter("GetRoom", r.Header()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&agentv1.GetRoomResponse{Room: &agentv1.Room{Id: r.Msg.Room}}), nil
}

func (a *fakeAgent) Chat(_ context.Context, r *connect.Request[agentv1.ChatRequest]) (*connect.Response[agentv1.ChatResponse], error) {
	if err := a.enter("Chat", r.Header()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&agentv1.ChatResponse{}), nil
}

func (a *fakeAgent) Events(ctx context.Context, r *connect.Request[agentv1.EventsRequest], s *connect.ServerStream[agentv1.Event]) error {
	if err := a.enter("Events", r.Header()); err != nil {
		return err
	}
	if err := s.Send(&agentv1.Event{Kind: &agentv1.Event_Hello{Hello: &agentv1.Hello{Session: "s"}}}); err != nil {
		return err
	}
	for {
		select {
		case e := <-a.events:
			if e == nil {
				return nil
			}
			if err := s.Send(e); err != nil {
				return err
			}
			if e.GetGoodbye() != nil {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leaving is how an Agent says that it ends.
func leaving() error {
	e := connect.NewError(connect.CodeUnavailable, errors.New("this server is ending"))
	e.Meta().Set(shard.ElsewhereHeader, "1")
	return e
}

func goodbye(final bool) *agentv1.Event {
	return &agentv1.Event{Kind: &agentv1.Event_Goodbye{Goodbye: &agentv1.Goodbye{Reason: "enough", Final: final}}}
}

func said(text string) *agentv1.Event {
	return &agentv1.Event{Kind: &agentv1.Event_Chat{Chat: &agentv1.ChatMessage{Text: text}}}
}

// changes collects what a client is notified of.
type changes struct {
	mu  sync.Mutex
	all []client.Change
}

func (c *changes) add(x client.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, x)
}

func (c *changes) get() []client.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]client.Change(nil), c.all...)
}

// client makes a client of all Agents named, not logged in.
func (w *world) client(names ...string) (*client.Client, *changes) {
	w.t.Helper()
	seen := &changes{}
	cfg := client.Config{TLS: &tls.Config{RootCAs: w.trust}, Dial: w.dial, Notify: seen.add, Credential: client.Token("good")}
	for _, name := range names {
		cfg.Endpoints = append(cfg.Endpoints, name+":443")
	}
	return w.with(cfg), seen
}

func (w *world) with(cfg client.Config) *client.Client {
	w.t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// player is a client that has logged in and has its stream.
func (w *world) player(names ...string) (*client.Client, *changes) {
	w.t.Helper()
	c, seen := w.client(names...)
	if _, err := c.Login(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return c, seen
}
