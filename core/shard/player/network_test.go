package player_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"p2pmodel/core/sansio"
)

// network is an internet in memory: datagrams take delay, and none is lost as long
// as somebody listens.
type network struct {
	delay time.Duration
	mu    sync.Mutex
	conns map[netip.AddrPort]*packetConn
	cut   map[netip.Addr]bool
}

func newNetwork() *network {
	return &network{delay: 5 * time.Millisecond, conns: map[netip.AddrPort]*packetConn{}, cut: map[netip.Addr]bool{}}
}

// host is a machine of the network, a sansio.Network.
type host struct {
	net  *network
	addr netip.Addr
}

func (n *network) host(addr string) *host { return &host{n, netip.MustParseAddr(addr)} }

// unplug takes a host off the network, or puts it back.
func (h *host) unplug(off bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.net.cut[h.addr] = off
}

// at is an address of the host.
func (h *host) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.addr, port) }

func (h *host) ListenPacket(_ context.Context, _, address string) (net.PacketConn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	port := at.Port()
	if port == 0 {
		for port = 40000; h.net.conns[netip.AddrPortFrom(h.addr, port)] != nil; port++ {
		}
	}
	local := netip.AddrPortFrom(h.addr, port)
	if h.net.conns[local] != nil {
		return nil, fmt.Errorf("%v is taken", local)
	}
	c := &packetConn{net: h.net, local: local, inbox: make(chan packet, 4096), closed: make(chan struct{})}
	h.net.conns[local] = c
	return c, nil
}

// errNoStreams: players of these tests are behind nothing that blocks UDP.
var errNoStreams = errors.New("no streams on this network")

func (h *host) Listen(context.Context, string, string) (net.Listener, error) {
	return nil, errNoStreams
}

func (h *host) Dial(context.Context, string, string) (net.Conn, error) { return nil, errNoStreams }

func (h *host) Addresses() ([]netip.Addr, error) { return []netip.Addr{h.addr}, nil }

func (h *host) Watch(ctx context.Context) (<-chan struct{}, error) {
	changes := make(chan struct{})
	context.AfterFunc(ctx, func() { close(changes) })
	return changes, nil
}

var _ sansio.Network = (*host)(nil)

type packet struct {
	from    netip.AddrPort
	payload []byte
}

type packetConn struct {
	net    *network
	local  netip.AddrPort
	inbox  chan packet
	once   sync.Once
	closed chan struct{}
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-c.inbox:
		return copy(b, p.payload), net.UDPAddrFromAddrPort(p.from), nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	remote := to.(*net.UDPAddr).AddrPort()
	p := packet{c.local, append([]byte(nil), b...)}
	time.AfterFunc(c.net.delay, func() {
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		there := c.net.conns[remote]
		if there == nil || c.net.cut[remote.Addr()] || c.net.cut[c.local.Addr()] {
			return
		}
		select {
		case there.inbox <- p:
		default:
		}
	})
	return len(b), nil
}

func (c *packetConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		delete(c.net.conns, c.local)
	})
	return nil
}

func (c *packetConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.local) }
func (c *packetConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *packetConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *packetConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
