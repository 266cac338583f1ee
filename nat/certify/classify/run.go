package classify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Listen opens a UDP socket at a local address, with port 0 at any port.
type Listen func(ctx context.Context, local netip.AddrPort) (net.PacketConn, error)

// Run runs a classification over real sockets, until its end or that of ctx. All
// sockets are closed when it returns.
func Run(ctx context.Context, cfg Config, listen Listen) (Result, error) {
	m, err := New(cfg)
	if err != nil {
		return Result{}, err
	}
	d := &driver{machine: m, local: netip.AddrPortFrom(cfg.Local, 0), listen: listen, inbox: make(chan datagram, 256), stop: make(chan struct{})}
	defer d.close()
	m.Start(time.Now())
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		d.drain(ctx)
		if r, done := m.Result(); done {
			return r, r.Err
		}
		var wake <-chan time.Time
		if at := m.PollTimeout(); !at.IsZero() {
			timer.Reset(max(0, time.Until(at)))
			wake = timer.C
		}
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("classify: %w", context.Cause(ctx))
		case g := <-d.inbox:
			m.HandleDatagram(g.at, g.socket, g.from, g.payload)
		case <-wake:
			m.HandleTimeout(time.Now())
		}
	}
}

// driver gives a Machine its sockets and the time.
type driver struct {
	machine *Machine
	local   netip.AddrPort
	listen  Listen
	sockets []net.PacketConn // by number; nil: not open
	inbox   chan datagram
	stop    chan struct{}
	readers sync.WaitGroup
}

type datagram struct {
	at      time.Time
	socket  int
	from    netip.AddrPort
	payload []byte
}

func (d *driver) drain(ctx context.Context) {
	for busy := true; busy; {
		busy = false
		for o, ok := d.machine.PollOpen(); ok; o, ok = d.machine.PollOpen() {
			busy = true
			d.open(ctx, o)
		}
		for s, ok := d.machine.PollSend(); ok; s, ok = d.machine.PollSend() {
			busy = true
			if s.Socket < len(d.sockets) && d.sockets[s.Socket] != nil {
				// What cannot be sent does not arrive.
				_, _ = d.sockets[s.Socket].WriteTo(s.Payload, net.UDPAddrFromAddrPort(s.To))
			}
		}
	}
}

func (d *driver) open(ctx context.Context, o Open) {
	for len(d.sockets) <= o.Socket {
		d.sockets = append(d.sockets, nil)
	}
	if o.Close {
		if conn := d.sockets[o.Socket]; conn != nil {
			_ = conn.Close()
			d.sockets[o.Socket] = nil
		}
		return
	}
	conn, err := d.listen(ctx, d.local)
	if err != nil {
		d.machine.HandleOpened(time.Now(), o.Socket, netip.AddrPort{}, err)
		return
	}
	d.sockets[o.Socket] = conn
	d.readers.Go(func() { d.read(o.Socket, conn) })
	local, _ := endpoint(conn.LocalAddr())
	d.machine.HandleOpened(time.Now(), o.Socket, local, nil)
}

func (d *driver) read(socket int, conn net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		source, ok := endpoint(from)
		if err != nil || !ok {
			continue // an ICMP error, which counts as silence
		}
		select {
		case d.inbox <- datagram{time.Now(), socket, source, append([]byte(nil), buffer[:n]...)}:
		case <-d.stop:
			return
		}
	}
}

func endpoint(a net.Addr) (netip.AddrPort, bool) {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	p := u.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()), true
}

func (d *driver) close() {
	close(d.stop)
	for _, conn := range d.sockets {
		if conn != nil {
			_ = conn.Close()
		}
	}
	d.readers.Wait()
}
