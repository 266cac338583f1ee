package virtual

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/sim"
)

// Machine is a machine that runs on a host. It implements sim.RunningMachine, and
// does what sansio.Loop does.
type Machine struct {
	network *Network
	host    *Host
	machine sansio.Machine
	onEvent func(at time.Time, e sansio.Event)
	ctx     context.Context
	number  int32
	sockets []*socket // by the machine's numbers, in order
	closing []sansio.Socket
	began   bool
	ended   bool
	due     instant // when it wants to be called; never: not at all
	alarm   uint64  // seq of the event for that; 0: there is none
	alarmAt instant
}

var _ sim.RunningMachine = (*Machine)(nil)

// Run implements sim.RunningHost. The machine is called first when the caller
// waits, or by Do.
func (h *Host) Run(ctx context.Context, m sansio.Machine, onEvent func(at time.Time, e sansio.Event)) (sim.RunningMachine, error) {
	if err := ctx.Err(); err != nil {
		return nil, h.errorf("run a machine", err)
	}
	n := h.network
	if n.closed {
		return nil, h.errorf("run a machine", errClosed)
	}
	m, _ = sansio.Bare(m)
	r := &Machine{network: n, host: h, machine: m, onEvent: onEvent, ctx: ctx, number: int32(len(n.machines)), due: never}
	n.machines = append(n.machines, r)
	n.schedule(event{at: n.now, what: start, who: r.number})
	return r, nil
}

// begin makes the machine's first call.
func (m *Machine) begin() {
	m.began = true
	m.tellInterfaces()
}

func (m *Machine) tellInterfaces() {
	m.machine.HandleInterfaces(m.network.time, slices.Clone(m.host.addrs))
	m.drain()
}

// call tells the machine that its time has come.
func (m *Machine) call() {
	m.machine.HandleTimeout(m.network.time)
	m.drain()
}

// receive gives the machine a datagram.
func (m *Machine) receive(s *socket, p *packet) {
	m.machine.HandleDatagram(m.network.time, sansio.Datagram{Socket: s.id, Remote: p.src, Local: p.dst.Addr(), Payload: p.payload})
	m.drain()
}

// Do implements sim.RunningMachine.
func (m *Machine) Do(f func(now time.Time)) bool {
	if m.over() {
		return false
	}
	if !m.began {
		m.begin()
	}
	f(m.network.time)
	m.drain()
	return true
}

// Stop implements sim.RunningMachine.
func (m *Machine) Stop() error {
	m.end()
	return nil
}

// over reports whether the machine has stopped, which it does when its context
// ends.
func (m *Machine) over() bool {
	if !m.ended && m.ctx.Err() != nil {
		m.end()
	}
	return m.ended
}

// end stops the machine without a word, as a crash does, and closes its sockets.
func (m *Machine) end() {
	if m.ended {
		return
	}
	m.ended, m.began, m.alarm = true, true, 0
	for _, s := range m.sockets {
		m.host.sockets.remove(s)
	}
	m.sockets = nil
}

// endMachines stops those whose context has ended.
func (n *Network) endMachines() {
	for _, m := range n.machines {
		if !m.ended && m.ctx.Done() != nil {
			m.over()
		}
	}
}

// drain does what the machine wants done, until it wants nothing. Sockets are
// closed last, so that what the machine sent before it closed one still leaves.
func (m *Machine) drain() {
	n := m.network
	n.stirred = true
	for busy := true; busy && !m.ended; {
		busy = false
		for b, ok := m.machine.PollBind(); ok; b, ok = m.machine.PollBind() {
			busy = true
			m.bind(b)
		}
		for d, ok := m.machine.PollTransmit(); ok; d, ok = m.machine.PollTransmit() {
			busy = true
			if i, open := m.find(d.Socket); open {
				m.host.send(m.sockets[i], d.Local, unmapped(d.Remote), d.Payload)
			}
		}
		for _, id := range m.closing {
			m.close(id)
		}
		m.closing = m.closing[:0]
		for e, ok := m.machine.PollEvent(); ok; e, ok = m.machine.PollEvent() {
			busy = true
			if m.onEvent != nil {
				m.onEvent(n.time, e)
			}
		}
	}
	m.due = never
	if at := m.machine.PollTimeout(); !at.IsZero() {
		m.due = max(instantOf(at), n.now)
	}
	m.arm()
}

// arm sets the machine's alarm, if it wants to be called before the one that is
// set: a later one finds out itself that it is too early.
func (m *Machine) arm() {
	if m.due == never || m.ended || m.alarm != 0 && m.alarmAt <= m.due {
		return
	}
	m.alarmAt = m.due
	m.alarm = m.network.schedule(event{at: m.due, what: timeout, who: m.number})
}

func (m *Machine) bind(b sansio.Bind) {
	if b.Close {
		m.closing = append(m.closing, b.Socket)
		return
	}
	if i := slices.Index(m.closing, b.Socket); i >= 0 { // closed and opened anew in one go
		m.close(b.Socket)
		m.closing = slices.Delete(m.closing, i, i+1)
	}
	now := m.network.time
	i, open := m.find(b.Socket)
	if open {
		m.machine.HandleBound(now, b.Socket, b.Local, fmt.Errorf("socket %d is open already", b.Socket))
		return
	}
	if b.Transport != sansio.UDP {
		m.machine.HandleBound(now, b.Socket, b.Local, fmt.Errorf("%s: %w", b.Transport, errNoStreams))
		return
	}
	s, err := m.host.bind(m, b)
	if err != nil {
		m.machine.HandleBound(now, b.Socket, b.Local, fmt.Errorf("bind UDP socket to %v: %w", b.Local, err))
		return
	}
	m.sockets = slices.Insert(m.sockets, i, s)
	m.machine.HandleBound(now, b.Socket, s.local, nil)
}

// find gives the place of a socket by its number, and whether it is there.
func (m *Machine) find(id sansio.Socket) (int, bool) {
	low, high := 0, len(m.sockets)
	for low < high {
		if middle := (low + high) / 2; m.sockets[middle].id < id {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(m.sockets) && m.sockets[low].id == id
}

func (m *Machine) close(id sansio.Socket) {
	if i, open := m.find(id); open {
		m.host.sockets.remove(m.sockets[i])
		m.sockets = slices.Delete(m.sockets, i, i+1)
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is4In6() {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return a
}
