package relay

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/ci/bench/load"
	"p2pmodel/ci/bench/network"
	"p2pmodel/ci/bench/packet"
	"p2pmodel/ci/bench/turn"
)

// Run is what is to be measured.
type Run struct {
	Systems []System
	Loads   []Load
	Flows   int
	Rounds  int
	// Each is how long one measurement takes.
	Each time.Duration
	// Window is how many datagrams may be on the way at once.
	Window int
	// CommonRate is at which the latency of all is compared.
	CommonRate float64
	// Allocations is how many are made to see what they cost; 0: none.
	Allocations int
	// Curve is at how many allocations, or clients of a forwarder, all active in turn, systems are
	// measured, in ascending order; nil: at none.
	Curve []int
	// SystemCPU and LoadCPU are the processors.
	SystemCPU, LoadCPU int
	// Whole has each side's processor receive its packets, and counts all that the system's processor
	// does: of what passes in the kernel no process has the time.
	Whole bool
	// Say is told what is going on.
	Say func(string)
}

// peer is who is relayed to.
var peer = netip.AddrPortFrom(network.Peers, 9000)

const channel = 0x4000

// Do measures all.
func (r *Run) Do(ctx context.Context, result *Result) error {
	pair, err := network.New(r.LoadCPU, r.SystemCPU)
	if err != nil {
		return err
	}
	defer pair.Close()
	if r.Whole {
		if err := pair.Receive(r.LoadCPU, r.SystemCPU); err != nil {
			return err
		}
	}
	restore, err := largeBuffers()
	if err != nil {
		return err
	}
	defer restore()
	result.Schema, result.At, result.Flows, result.Seconds = 1, time.Now(), r.Flows, r.Each.Seconds()
	for _, l := range r.Loads {
		for _, s := range r.Systems {
			if s.Turn || !l.Down {
				result.Cells = append(result.Cells, Cell{System: s.Name, Load: l})
			}
		}
	}
	for round := range r.Rounds {
		for i := range r.Systems {
			s := r.Systems[(i+round)%len(r.Systems)] // nobody is always first
			if err := ctx.Err(); err != nil {
				return err
			}
			r.Say(fmt.Sprintf("round %d of %d: %s", round+1, r.Rounds, s.Name))
			if err := r.measure(pair, s, result); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
		}
		result.Rounds = round + 1
	}
	if err := r.curve(ctx, pair, result); err != nil {
		return err
	}
	if r.Allocations > 0 {
		for _, s := range r.Systems {
			if !s.Turn {
				continue
			}
			r.Say(fmt.Sprintf("%d allocations: %s", r.Allocations, s.Name))
			m, err := r.memory(pair, s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			result.Memory = append(result.Memory, m)
		}
	}
	return nil
}

// largeBuffers gives sockets that ask for nothing a large receive buffer, so that no
// system loses what another one's buffer would have held. What was set comes back.
func largeBuffers() (restore func(), err error) {
	const file = "/proc/sys/net/core/rmem_default"
	was, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte("8388608"), 0)
	}
	if err != nil {
		return nil, fmt.Errorf("receive buffers: %w", err)
	}
	return func() { _ = os.WriteFile(file, was, 0) }, nil
}

// measure is one system's turn in a round.
func (r *Run) measure(pair *network.Pair, s System, result *Result) error {
	p, err := start(s, pair.System)
	if err != nil {
		return err
	}
	defer p.stop()
	var out int
	err = pair.Load.Do(func() (err error) { out, err = packet.Listen(peer, true); return err })
	if err != nil {
		return err
	}
	defer unix.Close(out)
	clients, err := r.clients(pair, s, r.Flows)
	if err != nil {
		return err
	}
	defer closeAll(clients)
	return pair.Load.Do(func() error {
		frames, err := packet.NewFrames(load.MostFrames, network.LoadInterface, pair.SystemHardware)
		if err != nil {
			return err
		}
		defer frames.Close()
		for _, l := range r.Loads {
			c := result.cell(s.Name, l)
			if c == nil {
				continue
			}
			sample, err := r.sample(p, clients, out, frames, l)
			if err != nil {
				return err
			}
			c.Samples = append(c.Samples, sample)
		}
		return nil
	})
}

// load prepares one.
func (r *Run) load(clients []client, out int, frames *packet.Frames, kind Load) (*load.Load, error) {
	l := &load.Load{Size: kind.Size, Burst: kind.Burst}
	header := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, channel), uint16(kind.Size))
	for _, c := range clients {
		if kind.Down {
			l.Flows = append(l.Flows, load.Flow{Socket: out, To: c.relayed})
			l.Out, l.Skip = append(l.Out, c.socket), len(header)
		} else {
			l.Flows = append(l.Flows, load.Flow{Socket: c.socket, Header: header})
			l.Out = []int{out}
		}
	}
	if kind.Burst == 1 && !kind.Down {
		l.Frames = frames
	}
	if err := l.Prepare(); err != nil {
		return nil, err
	}
	return l, nil
}

// sample measures one load.
func (r *Run) sample(p *running, clients []client, out int, frames *packet.Frames, kind Load) (s Sample, err error) {
	l, err := r.load(clients, out, frames, kind)
	if err != nil {
		return s, err
	}
	// First of all: nothing is left of any overload.
	single := *l
	single.Burst = 1
	if err := single.Prepare(); err != nil {
		return s, err
	}
	common, used, err := r.during(p, func() *load.Result { return single.Paced(r.Each, r.CommonRate) })
	if err != nil {
		return s, err
	}
	s.P50, s.P99 = microseconds(common.Latency, 0.5), microseconds(common.Latency, 0.99)
	s.NanosecondsCommon = float64(used) / float64(max(common.Received, 1))
	l.Saturate(r.Each/5, r.Window) // warm
	var most *load.Result
	// A machine that gives the system nothing for so long says nothing about it.
	for try := 0; most == nil || most.Received == 0 && try < 20; try++ {
		if most, used, err = r.during(p, func() *load.Result { return l.Saturate(r.Each, r.Window) }); err != nil {
			return s, err
		}
	}
	if most.Received == 0 {
		return s, fmt.Errorf("%d bytes, bursts of %d: nothing of %d datagrams came out", l.Size, l.Burst, most.Sent)
	}
	s.Rate = most.Rate()
	s.Nanoseconds = float64(used) / float64(most.Received)
	s.Busy = float64(used) / float64(most.Elapsed)
	s.LoadLimited = most.Waited < 0.02 && s.Busy < 0.98

	at70 := l.Paced(r.Each, 0.7*s.Rate)
	s.Lost, s.Loss = at70.Lost, float64(at70.Lost)/float64(at70.Sent)
	s.P50At, s.P99At = microseconds(at70.Latency, 0.5), microseconds(at70.Latency, 0.99)
	return s, nil
}

// during gives the processor time that the system has used meanwhile, too.
func (r *Run) during(p *running, f func() *load.Result) (*load.Result, time.Duration, error) {
	used := p.processorTime
	if r.Whole {
		used = func() (time.Duration, error) { return busyTime(r.SystemCPU) }
	}
	before, err := used()
	if err != nil {
		return nil, 0, err
	}
	result := f()
	after, err := used()
	return result, after - before, err
}

func microseconds(h *load.Histogram, share float64) float64 {
	return float64(h.Quantile(share)) / float64(time.Microsecond)
}

// client is one of the load's: its socket, and its relayed address where the system is a
// relay.
type client struct {
	socket  int
	relayed netip.AddrPort
}

// clients makes so many, with an allocation and a channel each where
// the system is a relay.
func (r *Run) clients(pair *network.Pair, s System, n int) (all []client, err error) {
	server := netip.AddrPortFrom(network.System, port)
	err = pair.Load.Do(func() error {
		for range n {
			fd, err := packet.Listen(netip.AddrPortFrom(network.Clients, 0), true)
			if err != nil {
				return err
			}
			all = append(all, client{socket: fd})
			if err := packet.Connect(fd, server); err != nil {
				return err
			}
			if !s.Turn {
				continue
			}
			if all[len(all)-1].relayed, err = allocate(fd); err != nil {
				return fmt.Errorf("client %d: %w", len(all), err)
			}
		}
		return nil
	})
	if err != nil {
		closeAll(all)
		return nil, err
	}
	return all, nil
}

func allocate(fd int) (relayed netip.AddrPort, err error) {
	copied, err := unix.Dup(fd)
	if err != nil {
		return relayed, err
	}
	f := os.NewFile(uintptr(copied), "client")
	conn, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return relayed, err
	}
	defer conn.Close()
	c := turn.Client{Conn: conn, Username: user, Password: user}
	if err := c.Allocate(); err != nil {
		return relayed, err
	}
	return c.Relayed, c.Bind(channel, peer)
}

func closeAll(clients []client) {
	for _, c := range clients {
		_ = unix.Close(c.socket)
	}
}

// memory is what many allocations cost a relay.
func (r *Run) memory(pair *network.Pair, s System) (m Memory, err error) {
	m = Memory{System: s.Name, Allocations: r.Allocations}
	p, err := start(s, pair.System)
	if err != nil {
		return m, err
	}
	defer p.stop()
	few, err := r.clients(pair, s, 8) // what is made once is there then
	if err != nil {
		return m, err
	}
	defer closeAll(few)
	if m.Before, err = p.resident(); err != nil {
		return m, err
	}
	many, err := r.clients(pair, s, r.Allocations)
	if err != nil {
		return m, err
	}
	defer closeAll(many)
	m.With, err = p.resident()
	return m, err
}
