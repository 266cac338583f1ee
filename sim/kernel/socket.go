//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
	"weak"

	"golang.org/x/sys/unix"
)

// ListenPacket implements sim.RunningHost. The socket is made in the host's
// network and can be used from any goroutine.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := h.open(network, address, "udp", func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, h.errorf("listen on "+network+" "+address, err)
	}
	if !keep(&h.sockets, conn) {
		return nil, h.errorf("listen on "+network+" "+address, errClosed)
	}
	return conn, nil
}

// Listen implements sim.RunningHost, for TCP.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var l net.Listener
	err := h.open(network, address, "tcp", func() (err error) {
		var config net.ListenConfig
		config.SetMultipathTCP(false) // a lab's segments are plain TCP
		l, err = config.Listen(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, h.errorf("listen on "+network+" "+address, err)
	}
	tcp := &listener{l.(*net.TCPListener), h}
	if !keep(&h.sockets, tcp.TCPListener) {
		return nil, h.errorf("listen on "+network+" "+address, errClosed)
	}
	return tcp, nil
}

// listener remembers the connections it accepts, so that the lab can close
// those that are still open in the end.
type listener struct {
	*net.TCPListener
	host *Host
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	if !keep(&l.host.sockets, conn) {
		return nil, net.ErrClosed
	}
	return conn, nil
}

// Dial implements sim.RunningHost, for TCP and UDP. Names are not resolved: a
// lab has no DNS, and the machine's own resolver must not be asked on its
// behalf.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	kind := "udp"
	if strings.HasPrefix(network, "tcp") {
		kind = "tcp"
	}
	// A connection that is being made holds the namespace, too.
	ctx, cancel := h.network.whileOpen(ctx)
	defer cancel()
	var conn net.Conn
	err := h.open(network, address, kind, func() (err error) {
		var dialer net.Dialer
		dialer.SetMultipathTCP(false)
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, h.errorf("dial "+network+" "+address, err)
	}
	if !keep(&h.sockets, conn) {
		return nil, h.errorf("dial "+network+" "+address, errClosed)
	}
	return conn, nil
}

// open runs f in the host's network after a look at what it will be asked for.
func (h *Host) open(network, address, kind string, f func() error) error {
	if network != kind && network != kind+"4" && network != kind+"6" {
		return fmt.Errorf("network %q: only %s, %s4 and %s6 are possible here", network, kind, kind, kind)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q is a name, and a lab has no DNS: give an IP address (Network.Plan tells those of the lab)", host)
		}
	}
	return h.node.ns.inside(f)
}

// sockets are those that were opened on a host and may be open still. They are
// known weakly: what the program has dropped, the runtime closes.
type sockets struct {
	mu     sync.Mutex
	closed bool
	open   []func() (closer, bool)
	prune  int // when the list is this long, it is looked through
}

type closer interface{ Close() error }

// keep remembers a socket; if the lab is closed already, it closes it and
// returns false.
func keep(s *sockets, c closer) bool {
	var get func() (closer, bool)
	switch c := c.(type) {
	case *net.UDPConn:
		get = remember(c)
	case *net.TCPConn:
		get = remember(c)
	case *net.TCPListener:
		get = remember(c)
	case *os.File:
		get = remember(c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	if len(s.open) >= max(64, s.prune) {
		kept := s.open[:0]
		for _, g := range s.open {
			if _, ok := g(); ok {
				kept = append(kept, g)
			}
		}
		clear(s.open[len(kept):])
		s.open = kept
		s.prune = 2 * len(kept)
	}
	s.open = append(s.open, get)
	return true
}

func remember[T any, P interface {
	*T
	closer
}](c P) func() (closer, bool) {
	w := weak.Make((*T)(c))
	return func() (closer, bool) {
		if p := w.Value(); p != nil {
			return P(p), true
		}
		return nil, false
	}
}

// closeSockets closes what is still open on the host: a socket holds its
// namespace.
func (h *Host) closeSockets() {
	h.sockets.mu.Lock()
	defer h.sockets.mu.Unlock()
	h.sockets.closed = true
	for _, get := range h.sockets.open {
		if c, ok := get(); ok {
			_ = c.Close() // closed already, most often
		}
	}
	h.sockets.open = nil
}

// Addresses implements sansio.Network: the addresses of the host's interfaces
// that are up.
func (h *Host) Addresses() ([]netip.Addr, error) {
	var addrs []netip.Addr
	err := h.node.ns.inside(func() error {
		interfaces, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, i := range interfaces {
			if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
				continue
			}
			found, err := i.Addrs()
			if err != nil {
				return err
			}
			for _, a := range found {
				prefix, ok := a.(*net.IPNet)
				if !ok {
					continue
				}
				addr, ok := netip.AddrFromSlice(prefix.IP)
				if addr = addr.Unmap(); ok && addr.IsGlobalUnicast() {
					addrs = append(addrs, addr)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, h.errorf("read its addresses", err)
	}
	return addrs, nil
}

// Watch implements sansio.Network: the kernel says when an address comes or
// goes, or when an interface goes up or down.
func (h *Host) Watch(ctx context.Context) (<-chan struct{}, error) {
	var file *os.File
	err := h.node.ns.inside(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		groups := uint32(1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) | 1<<(unix.RTNLGRP_LINK-1))
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
			_ = unix.Close(fd)
			return err
		}
		file = os.NewFile(uintptr(fd), "netlink")
		return nil
	})
	if err != nil {
		return nil, h.errorf("watch its addresses", err)
	}
	if !keep(&h.sockets, file) {
		return nil, h.errorf("watch its addresses", errClosed)
	}
	changes := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	go func() {
		defer close(changes)
		defer func() { _ = file.Close() }()
		defer stop()
		buffer := make([]byte, 16<<10)
		for {
			// What changed does not matter, nor does a buffer that ran over:
			// whoever watches reads the addresses anew.
			if _, err := file.Read(buffer); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			select {
			case changes <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return changes, nil
}
