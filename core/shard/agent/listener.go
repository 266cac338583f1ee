package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// listener counts connections and turns away those beyond the limits, before
// they cost a handshake.
type listener struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.server.admit(raw); c != nil {
			return c, nil
		}
	}
}

// admit makes a connection of ours, or resets it.
func (s *Server) admit(raw net.Conn) *conn {
	if !s.addresses.enter() {
		s.metrics.reject("connections")
		reset(raw)
		return nil
	}
	c := &conn{Conn: raw, server: s}
	c.mu.Lock()
	c.began = time.AfterFunc(s.cfg.Limits.HandshakeTimeout, func() {
		s.metrics.reject("handshake_timeout")
		c.Close()
	})
	c.mu.Unlock()
	ip := addrOf(raw.RemoteAddr())
	for _, p := range s.cfg.Proxies {
		if p.Contains(ip) {
			c.proxied = true
		}
	}
	if !c.proxied && c.belong(ip) != nil {
		reset(raw)
		c.Close()
		return nil
	}
	return c
}

// reset closes without a word and without keeping anything of the connection.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	at, _ := netip.ParseAddrPort(a.String())
	return at.Addr().Unmap()
}

// conn is a client's connection.
type conn struct {
	net.Conn
	server *Server
	// proxied connections begin with who the client is, which the first Read
	// finds out.
	proxied  bool
	announce sync.Once
	refused  error

	mu      sync.Mutex
	began   *time.Timer // stopped by the first byte of a request
	address *address
	closed  bool
}

var errRefused = errors.New("agent: the connection is beyond the limits of its address")

// belong counts the connection to its address.
func (c *conn) belong(ip netip.Addr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	x, why := c.server.addresses.admit(ip)
	if x == nil {
		c.server.metrics.reject(why)
		return errRefused
	}
	c.address = x
	return nil
}

// of is the address that the connection counts to.
func (c *conn) of() *address {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.address
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if c.proxied {
		c.announce.Do(func() {
			ip, err := readProxyHeader(c.Conn)
			if err == nil {
				err = c.belong(ip)
			} else {
				c.server.metrics.reject("proxy_header")
			}
			c.refused = err
		})
		if c.refused != nil {
			return 0, c.refused
		}
	}
	return c.Conn.Read(b)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return err
	}
	c.closed = true
	c.began.Stop()
	if c.address != nil {
		c.server.addresses.release(c.address)
	}
	c.server.addresses.leave()
	return err
}

// connKey is the context's key of a connection.
type connKey struct{}

func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, connOf(c))
}

func connOf(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	ours, _ := c.(*conn)
	return ours
}

// connState ends the time for the handshake: a connection is active from the
// first byte of a request by HTTP/1.1, and from HTTP/2's preface.
func connState(c net.Conn, state http.ConnState) {
	if state == http.StateActive {
		if ours := connOf(c); ours != nil {
			ours.mu.Lock()
			ours.began.Stop()
			ours.mu.Unlock()
		}
	}
}
