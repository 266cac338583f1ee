//go:build linux

package kernel

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"p2pmodel/nat/certify"
)

// probeDriver gives a probe its sockets, its datagrams and the time.
type probeDriver struct {
	probe           *certify.Probe
	inside, outside *namespace
	reset           func() error // empties the NAT
	sockets         map[int]proberSocket
	raw             *rawSender    // nil until something is sent that no UDP socket can
	inbox           chan func()   // what came, to be told to the probe
	stop            chan struct{} // closed when nobody reads the inbox any more
	readers         sync.WaitGroup
}

func (d *probeDriver) run(ctx context.Context) (certify.Result, error) {
	d.probe.Start(time.Now())
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		d.drain(ctx)
		if result, done := d.probe.Result(); done {
			return result, nil
		}
		wake := d.probe.PollTimeout()
		if wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(0, time.Until(wake)))
		}
		select {
		case <-ctx.Done():
			return certify.Result{}, context.Cause(ctx)
		case tell := <-d.inbox:
			tell()
		case <-timer.C:
			if time.Since(wake) > stoodStill {
				d.catchUp()
			}
			d.probe.HandleTimeout(time.Now())
		}
	}
}

// stoodStill is how late a timer is when the machine must have stood still.
const stoodStill = 5 * time.Millisecond

// catchUp takes what arrived while the machine stood still, before silence is
// concluded from the time that has passed meanwhile: the sockets' readers need a
// moment, too.
func (d *probeDriver) catchUp() {
	moment := time.After(stoodStill)
	for {
		select {
		case tell := <-d.inbox:
			tell()
		case <-moment:
			return
		}
	}
}

// drain does what the probe wants done, until it wants nothing.
func (d *probeDriver) drain(ctx context.Context) {
	for busy := true; busy; {
		busy = false
		if d.probe.PollReset() {
			busy = true
			d.probe.HandleReset(time.Now(), d.reset())
		}
		for o, ok := d.probe.PollOpen(); ok; o, ok = d.probe.PollOpen() {
			busy = true
			d.open(ctx, o)
		}
		for s, ok := d.probe.PollSend(); ok; s, ok = d.probe.PollSend() {
			busy = true
			// What cannot be sent does not arrive.
			if socket := d.sockets[s.Socket]; socket != nil {
				_ = socket.send(s)
			}
		}
		d.probe.HandleSent(time.Now())
	}
}

func (d *probeDriver) open(ctx context.Context, o certify.Open) {
	if o.Close {
		if s := d.sockets[o.Socket]; s != nil {
			_ = s.close()
			delete(d.sockets, o.Socket)
		}
		return
	}
	ns := d.outside
	if o.Inside {
		ns = d.inside
	}
	var s proberSocket
	var err error
	switch o.Protocol {
	case certify.TCP:
		s, err = d.openStream(ctx, ns, o)
	case certify.ICMP:
		s, err = d.openEcho(ctx, ns, o)
	default:
		s, err = d.openDatagrams(ctx, ns, o)
	}
	if err != nil {
		d.probe.HandleOpened(time.Now(), o.Socket, o.Local, err)
		return
	}
	d.sockets[o.Socket] = s
	d.probe.HandleOpened(time.Now(), o.Socket, o.Local, nil)
}

// proberSocket is a socket of the probe. What it reads goes to the driver's inbox.
type proberSocket interface {
	send(s certify.Send) error
	close() error
}

// arrived tells the probe of a datagram, unless nobody listens any more.
func (d *probeDriver) arrived(socket int, from netip.AddrPort, payload []byte) {
	at, payload := time.Now(), append([]byte(nil), payload...)
	d.tell(func() { d.probe.HandleDatagram(at, socket, plain(from), payload) })
}

func (d *probeDriver) tell(what func()) {
	select {
	case d.inbox <- what:
	case <-d.stop:
	}
}

func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (d *probeDriver) close() error {
	close(d.stop)
	for _, s := range d.sockets {
		_ = s.close()
	}
	d.readers.Wait()
	if d.raw != nil {
		return d.raw.close()
	}
	return nil
}
