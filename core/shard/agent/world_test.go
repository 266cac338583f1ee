package agent_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/agentv1/agentv1connect"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/login"
)

// world is the inside with one or more Agents, and a way to them: real TCP on
// loopback, or pipes, which work in simulated time.
type world struct {
	*inside
	t     testing.TB
	pipes map[string]*pipeListener // by endpoint; nil: TCP
	died  map[string]bool          // Agents whose end is a test's
	issue ed25519.PrivateKey       // signs login tokens
	trust *x509.CertPool
	cert  tls.Certificate
	logs  slog.Handler
}

// running is an Agent that runs.
type running struct {
	*agent.Server
	endpoint string
	engine   *memory.Engine
	stop     context.CancelFunc
	ended    chan struct{}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	hub := memory.NewHub()
	own := hub.Connect("inside")
	t.Cleanup(func() { own.Close() })
	w := &world{t: t, inside: newInside(t, hub, own), logs: slog.DiscardHandler}
	_, w.issue, _ = ed25519.GenerateKey(rand.Reader)
	w.cert, w.trust = certificate(t)
	return w
}

// simulated makes Agents be reached by pipes.
func (w *world) simulated() *world {
	w.pipes = map[string]*pipeListener{}
	return w
}

// certificate is one for 127.0.0.0/30 and agent names, good in simulated time
// (which begins in 2000) and in ours.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "agent"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		DNSNames: []string{"agent-1", "agent-2", "agent-3"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
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
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// run starts an Agent; change may alter its configuration.
func (w *world) run(name string, change func(*agent.Config)) *running {
	w.t.Helper()
	tokens, err := login.NewTokens(login.TokensConfig{Keys: []login.Key{{Public: w.issue.Public().(ed25519.PublicKey)}}})
	if err != nil {
		w.t.Fatal(err)
	}
	r := &running{engine: w.hub.Connect(name, memory.Permissions{
		Call: []string{"directory.*", "shard.*.lobby.*", "shard.*.game.*"}, Serve: []string{"shard.*.event.*"}, Buckets: []string{},
	})}
	cfg := agent.Config{
		Name: name, Engine: r.engine, Login: tokens, Log: slog.New(w.logs),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			cert := w.cert
			return &cert, nil
		},
	}
	if w.pipes != nil {
		l := newPipeListener(name)
		w.pipes[name+":443"] = l
		cfg.Listener, r.endpoint = l, name+":443"
	} else {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		cfg.Listener, r.endpoint = l, l.Addr().String()
	}
	if change != nil {
		change(&cfg)
	}
	if r.Server, err = agent.New(cfg); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.ended = cancel, make(chan struct{})
	go func() {
		defer close(r.ended)
		if err := r.Run(ctx); err != nil && !w.died[name] {
			w.t.Errorf("agent %s: %v", name, err)
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		<-r.ended
		r.engine.Close()
	})
	return r
}

// token signs a login token for a player.
func (w *world) token(player string) string {
	w.t.Helper()
	token, err := login.Sign(w.issue, login.Grant{Player: player, Rating: 1500, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// clientConfig is for a client that logs in with fresh tokens.
func (w *world) clientConfig(player string, agents ...*running) client.Config {
	cfg := client.Config{
		TLS: &tls.Config{RootCAs: w.trust}, Dial: w.dial, Log: slog.New(w.logs),
		Credential: func(context.Context) (*agentv1.LoginRequest, error) {
			return &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: w.token(player)}}, nil
		},
	}
	for _, a := range agents {
		cfg.Endpoints = append(cfg.Endpoints, a.endpoint)
	}
	return cfg
}

// client makes a client that has not logged in.
func (w *world) client(cfg client.Config) *client.Client {
	w.t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// player is a client that has logged in.
func (w *world) player(name string, agents ...*running) *client.Client {
	w.t.Helper()
	c := w.client(w.clientConfig(name, agents...))
	if _, err := c.Login(w.t.Context()); err != nil {
		w.t.Fatalf("%s logs in: %v", name, err)
	}
	return c
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if w.pipes == nil {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	l := w.pipes[address]
	if l == nil {
		return nil, errors.New("connection refused")
	}
	return l.dial(ctx)
}

// settings are a room's.
func settings() *agentv1.RoomSettings {
	return &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "a room", Mode: "field", Capacity: 4}
}

// next takes an event of a kind, skipping others.
func next[K any](t testing.TB, c *client.Client, within time.Duration) (k K) {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-c.Events():
			if !ok {
				t.Fatalf("events ended (%v) before %T came", c.Err(), k)
			}
			if got, is := e.Kind.(any).(K); is {
				return got
			}
		case <-timer.C:
			t.Fatalf("no %T within %v", k, within)
		}
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, within time.Duration, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func wantCode(t testing.TB, err error, want connect.Code) {
	t.Helper()
	if connect.CodeOf(err) != want || err == nil {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// pipeListener accepts net.Pipes.
type pipeListener struct {
	name  string
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}

	mu   sync.Mutex
	from byte
	live []*pipe // ends of the server
}

func newPipeListener(name string) *pipeListener {
	return &pipeListener{name: name, conns: make(chan net.Conn), done: make(chan struct{})}
}

// pipe is the server's end of a pipe, with addresses, that can fall silent.
type pipe struct {
	net.Conn
	local, remote net.Addr
	mu            sync.Mutex
	silent        bool
}

// silence swallows what is written, and what comes is never read.
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

func (p *pipe) LocalAddr() net.Addr  { return p.local }
func (p *pipe) RemoteAddr() net.Addr { return p.remote }

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	l.mu.Lock()
	l.from++
	client := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, l.from}), 40000))
	l.mu.Unlock()
	server := &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443}
	a, b := net.Pipe()
	far := &pipe{Conn: b, local: server, remote: client}
	select {
	case l.conns <- far:
	case <-l.done:
		return nil, fmt.Errorf("%s: connection refused", l.name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live = append(l.live, far)
	return &pipe{Conn: a, local: client, remote: server}, nil
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443} }

// die is an Agent whose machine has lost its power: its listener goes, and what
// comes by its connections is swallowed.
func (w *world) die(name string) {
	w.died = map[string]bool{name: true}
	l := w.pipes[name+":443"]
	l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.live {
		p.silence()
	}
}

// raw is a client of the service without anything that mends.
func (w *world) raw(a *running, options ...connect.ClientOption) agentv1connect.AgentServiceClient {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.trust},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return w.dial(ctx, network, a.endpoint)
		},
		ForceAttemptHTTP2: true,
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return agentv1connect.NewAgentServiceClient(&http.Client{Transport: transport}, "https://"+a.endpoint, options...)
}

func (w *world) login(c agentv1connect.AgentServiceClient, player string) *agentv1.Session {
	w.t.Helper()
	resp, err := c.Login(w.t.Context(), connect.NewRequest(&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: w.token(player)}}))
	if err != nil {
		w.t.Fatalf("%s logs in: %v", player, err)
	}
	return resp.Msg.Session
}

// bearer is a request with a session's access token.
func bearer[M any](s *agentv1.Session, m *M) *connect.Request[M] {
	r := connect.NewRequest(m)
	r.Header().Set("Authorization", "Bearer "+s.AccessToken)
	return r
}
