package virtual

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"

	"p2pmodel/sim"
)

// Host is a host of a lab that stands. It implements sim.RunningHost, but for
// sockets of others than machines and for programs, which have no place in a time
// that is not the machine's own.
type Host struct {
	network *Network
	node    *node
	lab     *sim.Host
	uplinks []*cable // in the lab's order
	active  int      // of uplinks; -1 in the gap of a handover
	addrs   []netip.Addr
	sockets sockets
	wall    *wall // nil: it has no firewall
	ports   *rand.PCG
	sent    uint16
	mtus    map[netip.Addr]learnt // of paths that are narrower than the host's link
	told    map[netip.Addr]tokens // errors to whom
	moved   chan struct{}         // of a handover under way, closed when it is over
	restriction
}

var _ sim.RunningHost = (*Host)(nil)

// errNoStreams is what machines are told that ask for TCP or TLS.
var errNoStreams = errors.New("the virtual fabric carries no streams: they need the kernel fabric (--fabric kernel)")

// errMachinesOnly is what hosts say that are asked for more.
var errMachinesOnly = errors.New("the virtual fabric runs machines only: programs and sockets need the kernel fabric (--fabric kernel)")

func newHost(n *Network, at *node, i int) (*Host, error) {
	h := &Host{network: n, node: at, lab: &n.plans.lab.Hosts[i]}
	for _, j := range n.plans.nodes[at.number].uplinks {
		c := &n.cables[j]
		if c.plugged {
			h.active = len(h.uplinks)
		}
		h.uplinks = append(h.uplinks, c)
	}
	h.readAddresses()
	if h.lab.Firewall != nil {
		w, err := newWall(n, at, *h.lab.Firewall)
		if err != nil {
			return nil, h.errorf("install its firewall", err)
		}
		h.wall = w
	}
	return h, nil
}

func (h *Host) errorf(doing string, err error) error {
	return fmt.Errorf("host %s: %s: %w", h.node.name, doing, err)
}

// Name implements sim.RunningHost.
func (h *Host) Name() string { return h.node.name }

// Active implements sim.RunningHost.
func (h *Host) Active() string {
	if h.active < 0 {
		return ""
	}
	return h.lab.Uplinks[h.active].Name
}

// Addresses implements sansio.Network.
func (h *Host) Addresses() ([]netip.Addr, error) { return slices.Clone(h.addrs), nil }

// readAddresses notes the addresses of the uplinks that are plugged in.
func (h *Host) readAddresses() {
	h.addrs = nil
	for _, c := range h.uplinks {
		if c.plugged {
			h.addrs = append(h.addrs, c.addrs...)
		}
	}
}

// readdressed tells all machines that the host has other addresses.
func (h *Host) readdressed() {
	h.readAddresses()
	n := h.network
	for i, m := range n.machines {
		if m.host == h && !m.ended {
			n.schedule(event{at: n.now, what: interfaces, who: int32(i)})
		}
	}
}

// has reports whether an address is one of the host's present ones.
func (h *Host) has(a netip.Addr) bool {
	for _, o := range h.addrs {
		if o == a {
			return true
		}
	}
	return false
}

// way is the uplink by which a packet with this source leaves; nil: there is none.
// With two of them, what has an address of the former one goes on by that.
func (h *Host) way(source netip.Addr) *cable {
	for i, c := range h.uplinks {
		if i != h.active && c.plugged && slices.Contains(c.addrs, source) {
			return c
		}
	}
	if h.active < 0 {
		return nil
	}
	return h.uplinks[h.active]
}

// source is the address of what chooses none.
func (h *Host) source() netip.Addr {
	if h.active < 0 {
		return netip.Addr{}
	}
	return h.uplinks[h.active].addrs[0]
}

// send sends a datagram of a socket, with the local address as its source where one
// is given. What cannot be sent is lost, as it is for a
// machine on a kernel.
func (h *Host) send(s *socket, local netip.Addr, remote netip.AddrPort, payload []byte) {
	n := h.network
	source := s.local.Addr()
	if local.IsValid() && source.IsUnspecified() {
		source = local
	}
	switch {
	case remote.Port() == 0 || !remote.Addr().Is4() || len(payload) > maxPayload:
		return
	case !source.IsUnspecified():
		if !h.has(source) {
			return
		}
	case h.has(remote.Addr()):
		source = remote.Addr()
	default:
		if source = h.source(); !source.IsValid() {
			return
		}
	}
	p := n.take()
	p.protocol, p.ttl = protocolUDP, defaultTTL
	p.src, p.dst = netip.AddrPortFrom(source, s.local.Port()), remote
	p.fill(payload)
	p.size = sizeIP + sizeUDP + len(payload)
	if w := n.opt.Watcher; w != nil {
		w.Sent(n.time, int(h.node.index), p.src, p.dst, payload)
	}
	h.emit(p)
}

// maxPayload is the largest UDP payload.
const maxPayload = 65535 - sizeIP - sizeUDP

// emit sends a packet of the host's own.
func (h *Host) emit(p *packet) {
	n := h.network
	if !p.src.IsValid() {
		p.src = netip.AddrPortFrom(h.source(), 0)
	}
	h.sent++
	p.id = h.sent
	if h.has(p.dst.Addr()) {
		n.schedule(event{at: n.now, what: loopback, who: h.node.index, packet: p})
		return
	}
	c := h.way(p.src.Addr())
	if c == nil || !p.src.Addr().IsValid() {
		n.put(p)
		return
	}
	// What is known to be too large leaves in fragments, and without DF.
	p.whole = p.protocol != protocolICMP && p.size <= min(c.up.mtu, h.pathMTU(p.dst.Addr()))
	if h.wall != nil && !h.wall.judge(p, leaving) {
		return
	}
	c.up.send(n, p)
}

// receive takes a packet that came in by a lane.
func (h *Host) receive(p *packet) {
	if !h.has(p.dst.Addr()) {
		h.network.put(p)
		return
	}
	if h.wall != nil && !h.wall.judge(p, entering) {
		return
	}
	h.deliver(p)
}

// deliver gives a packet to whom it is for.
func (h *Host) deliver(p *packet) {
	n := h.network
	switch {
	case p.damaged:
	case p.protocol == protocolUDP:
		if s := h.sockets.find(p.dst); s != nil {
			if w := n.opt.Watcher; w != nil {
				w.Delivered(n.time, int(h.node.index), p.src, p.dst, p.payload)
			}
			s.machine.receive(s, p)
		} else if h.mayTell(p.src.Addr()) {
			n.reply(h.node, p)
		}
	case p.isError():
		h.learn(p)
	default:
		n.reply(h.node, p)
	}
	n.put(p)
}

// ListenPacket implements sansio.Network: there are machines only.
func (h *Host) ListenPacket(_ context.Context, network, address string) (net.PacketConn, error) {
	return nil, h.errorf("listen on "+network+" "+address, errMachinesOnly)
}

// Listen implements sim.RunningHost: there are machines only.
func (h *Host) Listen(_ context.Context, network, address string) (net.Listener, error) {
	return nil, h.errorf("listen on "+network+" "+address, errMachinesOnly)
}

// Dial implements sim.RunningHost: there are machines only.
func (h *Host) Dial(_ context.Context, network, address string) (net.Conn, error) {
	return nil, h.errorf("dial "+network+" "+address, errMachinesOnly)
}

// Start implements sim.RunningHost: there are machines only.
func (h *Host) Start(_ context.Context, p sim.Program) (sim.RunningProgram, error) {
	return nil, h.errorf("start "+p.Path, errMachinesOnly)
}

// Programs implements sim.RunningHost: there are none.
func (h *Host) Programs() []sim.RunningProgram { return nil }

// Watch implements sansio.Network. Machines are told of changes without it.
func (h *Host) Watch(context.Context) (<-chan struct{}, error) {
	return nil, h.errorf("watch its addresses", errMachinesOnly)
}

// Bound implements sim.RunningHost.
func (h *Host) Bound(protocol string, port uint16) (bool, error) {
	switch protocol {
	case "udp":
		return h.sockets.bound(port), nil
	case "tcp":
		return false, nil // nobody listens here
	}
	return false, h.errorf("look for a bound port", fmt.Errorf("unknown protocol %q: it is udp or tcp", protocol))
}
