package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/agentv1/agentv1connect"
)

// link is the connections to one Agent, by HTTP/2, for one attachment of the
// session. It does not mend: what is broken is replaced.
type link struct {
	endpoint  string
	access    string // set before others see it
	rpc       agentv1connect.AgentServiceClient
	transport *http.Transport
	ctx       context.Context // ends with close
	cancel    context.CancelFunc
	heard     atomic.Int64 // when the last byte came, Unix nanoseconds

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{}
}

// maxAnswer bounds what an Agent may send in one message: a list of 100 rooms, or
// the record of a match of 64 players with their results.
const maxAnswer = 1 << 20

func (c *Client) newLink(endpoint string) *link {
	l := &link{endpoint: endpoint, conns: map[*conn]struct{}{}}
	l.ctx, l.cancel = context.WithCancel(c.ctx)
	l.heard.Store(time.Now().UnixNano())
	t := c.cfg.Timeouts
	l.transport = &http.Transport{
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.dial(ctx, l, network, address)
		},
		Protocols:          new(http.Protocols),
		DisableCompression: true,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: t.Ping, PingTimeout: t.PingAnswer, WriteByteTimeout: t.Ping + t.PingAnswer,
			// One connection: requests beyond the Agent's limit wait.
			StrictMaxConcurrentRequests: true,
		},
	}
	l.transport.Protocols.SetHTTP2(true)
	l.rpc = agentv1connect.NewAgentServiceClient(&http.Client{Transport: l.transport}, "https://"+endpoint,
		connect.WithReadMaxBytes(maxAnswer), connect.WithAcceptCompression("gzip", nil, nil))
	return l
}

// dial makes a connection of a link.
func (c *Client) dial(ctx context.Context, l *link, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Connect)
	defer cancel()
	stop := context.AfterFunc(l.ctx, cancel)
	defer stop()
	raw, err := c.cfg.Dial(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	counted := &conn{Conn: raw, link: l}
	if !l.add(counted) {
		raw.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, net.ErrClosed)
	}
	cfg := c.cfg.TLS.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS13)
	cfg.NextProtos = []string{"h2"}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address)
	}
	secure := tls.Client(counted, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		counted.Close()
		return nil, fmt.Errorf("TLS with %s: %w", address, err)
	}
	if secure.ConnectionState().NegotiatedProtocol != "h2" {
		counted.Close()
		return nil, fmt.Errorf("%s does not speak HTTP/2: %w", address, errors.ErrUnsupported)
	}
	return secure, nil
}

func (l *link) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[c] = struct{}{}
	}
	return !l.closed
}

// close ends all that goes by the link, at once.
func (l *link) close() {
	l.cancel()
	l.mu.Lock()
	l.closed = true
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	l.transport.CloseIdleConnections()
}

// lastHeard is when the last byte came.
func (l *link) lastHeard() time.Time { return time.Unix(0, l.heard.Load()) }

// conn is a connection of a link.
type conn struct {
	net.Conn
	link *link
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.link.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}
