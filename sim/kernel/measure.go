//go:build linux

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel/afpacket"
	"p2pmodel/sim/kernel/wire"
	"p2pmodel/sim/link"
)

const (
	// measuring is how long probes are sent for, probeInterval how far apart those
	// of one link are at least.
	measuring     = 100 * time.Millisecond
	probeInterval = time.Millisecond
	// leastProbes are sent whatever the link's rate is; allProbes is the most for
	// all links of a lab together.
	leastProbes, allProbes = 3, 20_000
	// probeSize is that of a probe, from behind its link-layer header on.
	probeSize = 50
	// probePatience is how long probes may take beyond what the model gives them.
	probePatience = 2 * time.Second
	probeSeed     = 0x70726f6265
)

// prober measures one link, both ways at once.
type prober struct {
	c        *cable
	up, down link.Impairment
	sockets  [2]int // of the node's end and the parent's
	interval time.Duration
	count    int
	sent     int
	arrived  [2][]time.Duration // delays, by the end at which they arrived
}

// Measure implements sim.Network. Probes are frames of an EtherType of their own
// between the two ends of each impaired link, from a socket to a socket: no node
// answers or forwards them, no rule for IP sees them and captures leave them out.
// Links that are cut or unplugged are left out.
func (n *Network) Measure(ctx context.Context) ([]sim.Measurement, error) {
	var probers []*prober
	defer func() {
		var fds []int
		for _, p := range probers {
			fds = append(fds, p.sockets[:]...)
			_ = p.c.wire.link.EndProbe()
		}
		_ = afpacket.Close(fds...)
	}()
	for _, c := range n.order {
		p, err := c.prober()
		if err != nil {
			return nil, c.errorf("measure", err)
		}
		if p != nil {
			probers = append(probers, p)
		}
	}
	if len(probers) == 0 {
		return nil, nil
	}
	for _, p := range probers {
		p.count = max(min(p.count, allProbes/(2*len(probers))), leastProbes)
	}
	if err := n.sendProbes(ctx, probers); err != nil {
		return nil, err
	}
	var all []sim.Measurement
	for _, p := range probers {
		two, err := p.finish(ctx)
		if err != nil {
			return nil, p.c.errorf("measure", err)
		}
		all = append(all, two...)
	}
	return all, nil
}

// prober opens the sockets at both ends of an impaired link; nil: it is none, or
// nothing passes it at present.
func (c *cable) prober() (*prober, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == nil || c.unplugged || c.cut || c.lifted > 0 || c.wire.up.IsZero() && c.wire.down.IsZero() {
		return nil, nil
	}
	p := &prober{c: c, up: c.wire.up, down: c.wire.down, interval: probeInterval}
	for _, i := range []link.Impairment{p.up, p.down} {
		if rate := max(i.Rate, i.Trace.Rate()); rate > 0 {
			// The line is to be idle again before the next.
			p.interval = max(p.interval, 2*time.Duration(probeSize*8*uint64(time.Second)/rate))
		}
	}
	p.count = int(measuring / p.interval)
	for i, at := range []struct {
		node *node
		end  *iface
	}{{c.child, c.lower}, {c.parent, c.upper}} {
		err := at.node.ns.inside(func() (err error) {
			p.sockets[i], err = openProbe(at.end.index)
			return err
		})
		if err != nil {
			return nil, errors.Join(err, afpacket.Close(p.sockets[:i]...))
		}
	}
	if err := c.wire.link.Probe(c.network.opt.Seed ^ probeSeed); err != nil {
		return nil, errors.Join(err, afpacket.Close(p.sockets[:]...))
	}
	return p, nil
}

// openProbe opens a socket for probes on an interface of the calling thread's
// namespace. It receives nothing else.
func openProbe(ifindex int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w%s", err, hintFor(err))
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bits.ReverseBytes16(wire.ProbeType), Ifindex: ifindex})
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("packet socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// sendProbes sends the probes of all links, in rounds.
func (n *Network) sendProbes(ctx context.Context, probers []*prober) error {
	began := time.Now()
	for left := len(probers); left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		left = 0
		wake := time.Now().Add(measuring)
		for _, p := range probers {
			if p.sent == p.count {
				continue
			}
			left++
			due := began.Add(time.Duration(p.sent) * p.interval)
			if now := time.Now(); due.After(now) {
				wake = earlier(wake, due)
				continue
			}
			if err := p.send(); err != nil {
				return p.c.errorf("measure", err)
			}
			wake = earlier(wake, began.Add(time.Duration(p.sent)*p.interval))
			p.receive()
		}
		if d := time.Until(wake); left > 0 && d > 0 {
			ts := unix.NsecToTimespec(int64(d))
			_ = unix.Nanosleep(&ts, nil) // Go's timers are late
		}
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// send sends a probe each way.
func (p *prober) send() error {
	macs := [2]net.HardwareAddr{p.c.lower.mac, p.c.upper.mac}
	for i, fd := range p.sockets {
		frame := make([]byte, 14+probeSize)
		copy(frame, macs[1-i])
		copy(frame[6:], macs[i])
		binary.BigEndian.PutUint16(frame[12:], wire.ProbeType)
		binary.BigEndian.PutUint64(frame[14:], uint64(time.Now().UnixNano()))
		if _, err := unix.Write(fd, frame); err != nil {
			return fmt.Errorf("send a probe: %w", err)
		}
	}
	p.sent++
	return nil
}

// receive reads the probes that have arrived.
func (p *prober) receive() {
	frame, control := make([]byte, 14+probeSize), make([]byte, 64)
	for i, fd := range p.sockets {
		for {
			n, controlled, _, from, err := unix.Recvmsg(fd, frame, control, 0)
			if err != nil {
				break
			}
			if a, ok := from.(*unix.SockaddrLinklayer); n < 22 || !ok || a.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			at := afpacket.Timestamp(control[:controlled])
			sent := time.Unix(0, int64(binary.BigEndian.Uint64(frame[14:])))
			p.arrived[i] = append(p.arrived[i], at.Sub(sent))
		}
	}
}

// finish waits for the probes on their way and sums up.
func (p *prober) finish(ctx context.Context) ([]sim.Measurement, error) {
	var probed [2]wire.Probes
	for deadline := time.Now().Add(p.longest() + probePatience); ; {
		p.receive()
		up, down, err := p.c.wire.link.Probed()
		if err != nil {
			return nil, err
		}
		probed = [2]wire.Probes{up, down}
		settled := up.Delivered+up.Lost == p.sent && down.Delivered+down.Lost == p.sent
		if settled || time.Now().After(deadline) {
			p.receive()
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	var both []sim.Measurement
	for i, d := range []sim.Direction{sim.Up, sim.Down} {
		promised, arrived := []link.Impairment{p.up, p.down}[i], p.arrived[1-i]
		if promised.IsZero() {
			continue
		}
		both = append(both, sim.Measurement{
			Link: p.c.planned.ID, Direction: d, Promised: promised, Sent: p.sent, Lost: p.sent - len(arrived),
			Expected: median(probed[i].Delays), Achieved: median(arrived),
		})
	}
	return both, nil
}

// longest is the largest delay that the model gives.
func (p *prober) longest() time.Duration {
	var longest time.Duration
	for _, i := range []link.Impairment{p.up, p.down} {
		longest = max(longest, i.Delay+4*i.Jitter+i.Wander.Delay+i.Trace.Period())
	}
	return longest
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)/2]
}
